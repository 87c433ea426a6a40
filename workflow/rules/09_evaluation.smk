rule evaluate:
    """Score cells and the plain controls against the truth that the slide sheet names."""
    input:
        tiles=per_slide("tiles.zarr"),
        cells=per_slide("{model}/cells.parquet"),
        truth=[path for path in TRUTH if path],
        encoder="<results>/models/encoder.pt",
        checkpoint="<results>/models/{model}.pt",
    output:
        scores="<results>/evaluation/{model}.json",
    log:
        "<results>/logs/evaluation/{model}.log",
    benchmark:
        "<results>/benchmarks/evaluation/{model}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        products=lambda wildcards, input: options(
            tiles=input.tiles,
            cells=input.cells,
            encoder=input.encoder,
            checkpoint=input.checkpoint,
        ),
        truth=options(truth=[path or "-" for path in TRUTH]),
        settings=flags("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "wsipsm evaluate {output.scores:q} {params.products} {params.truth}"
        " {params.settings} --seed {params.seed} --workers {threads} > {log:q} 2>&1"
