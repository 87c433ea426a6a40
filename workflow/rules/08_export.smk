FILES = {
    "qupath": "geojson.zip",
    "table": "tsv",
    "points": "points.geojson",
    "annotation_store": "db",
}
STORES = {"spatialdata": "spatialdata.zarr", "labels": "labels.zarr"}
SUFFIXES = {**FILES, **STORES}


rule export:
    """Write the cells of a slide for another program; the suffix says for which."""
    input:
        cells="<results>/slides/{slide}/{model}/cells.parquet",
    output:
        file="<results>/slides/{slide}/{model}/cells.{suffix}",
    log:
        "<results>/logs/export/{slide}_{model}_{suffix}.log",
    benchmark:
        "<results>/benchmarks/export/{slide}_{model}_{suffix}.tsv"
    wildcard_constraints:
        suffix="|".join(FILES.values()),
    conda:
        "../../envs/wsipsm.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000, per_gb=4000),
        runtime=growing(60, per_gb=60),
    params:
        settings=flags("export"),
    shell:
        "wsipsm export {input.cells:q} {output.file:q} {params.settings}"
        " --quarantine > {log:q} 2>&1"


rule export_store:
    """Write the cells of a slide as a Zarr store beside its tiles; the suffix says which."""
    input:
        cells="<results>/slides/{slide}/{model}/cells.parquet",
        tiles="<results>/slides/{slide}/tiles.zarr",
    output:
        store=directory("<results>/slides/{slide}/{model}/cells.{suffix}"),
    log:
        "<results>/logs/export/{slide}_{model}_{suffix}.log",
    benchmark:
        "<results>/benchmarks/export/{slide}_{model}_{suffix}.tsv"
    wildcard_constraints:
        suffix="|".join(STORES.values()),
    conda:
        "../../envs/wsipsm.yaml"
    threads: 1
    resources:
        mem_mb=growing(16000, per_gb=4000),
        runtime=growing(60, per_gb=60),
    params:
        settings=flags("export"),
    shell:
        "wsipsm export {input.cells:q} {output.store:q} --tiles {input.tiles:q}"
        " {params.settings} --quarantine > {log:q} 2>&1"


rule project:
    """Write a QuPath project of the cohort."""
    input:
        tiles=per_slide("tiles.zarr"),
        cells=per_slide("{model}/cells.parquet"),
        zips=per_slide("{model}/cells.geojson.zip"),
    output:
        project=directory("<results>/qupath/{model}"),
    log:
        "<results>/logs/export/project_{model}.log",
    benchmark:
        "<results>/benchmarks/export/project_{model}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        products=lambda wildcards, input: options(
            tiles=input.tiles, cells=input.cells, zips=input.zips
        ),
    shell:
        "wsipsm project {output.project:q} {params.products}" " > {log:q} 2>&1"
