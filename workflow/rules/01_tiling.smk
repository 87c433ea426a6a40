rule tile:
    """Cut the tissue of a slide into tiles on one grid, at the working resolution."""
    input:
        slide=lambda wildcards: SLIDES[wildcards.slide].path,
    output:
        tiles=directory("<results>/slides/{slide}/tiles.zarr"),
    log:
        "<results>/logs/tiling/{slide}.log",
    benchmark:
        "<results>/benchmarks/tiling/{slide}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: share()
    resources:
        mem_mb=growing(4000, per_gb=1000),
        runtime=growing(120, per_gb=120),
    params:
        facts=facts,
        settings=flags("tiling"),
    shell:
        "wsipsm tile {input.slide:q} {output.tiles:q} {params.facts} {params.settings}"
        " --workers {threads} --quarantine > {log:q} 2>&1"
