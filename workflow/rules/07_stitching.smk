rule stitch:
    """Give each cell of a slide one owner."""
    input:
        tile_cells="<results>/slides/{slide}/{model}/tile_cells",
    output:
        cells="<results>/slides/{slide}/{model}/cells.parquet",
    log:
        "<results>/logs/stitching/{slide}_{model}.log",
    benchmark:
        "<results>/benchmarks/stitching/{slide}_{model}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000, per_gb=4000),
        runtime=growing(60, per_gb=60),
    params:
        settings=flags("stitching"),
    shell:
        "wsipsm stitch {input.tile_cells:q} {output.cells:q} {params.settings}"
        " --quarantine > {log:q} 2>&1"
