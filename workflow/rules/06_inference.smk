rule segment:
    """Segment every tile of a slide into cells."""
    input:
        tiles="<results>/slides/{slide}/tiles.zarr",
        model=adapter,
        prompts=prompts,
    output:
        tile_cells=directory("<results>/slides/{slide}/{model}/tile_cells"),
    log:
        "<results>/logs/inference/{slide}_{model}.log",
    benchmark:
        "<results>/benchmarks/inference/{slide}_{model}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: share()
    resources:
        mem_mb=growing(6000, per_gb=1000),
        runtime=growing(240, per_gb=240, times=networks),
        gpu=1,
    params:
        settings=flags("inference"),
        asking=asking,
    shell:
        "wsipsm segment {input.tiles:q} {input.model:q} {output.tile_cells:q} {params.settings}"
        " {params.asking} --workers {threads} --quarantine > {log:q} 2>&1"
