rule train:
    """Train a segmenter on the pseudo masks of the cohort, and on its annotations."""
    input:
        tiles=per_slide("tiles.zarr", split="train"),
        pseudomasks=per_slide("pseudomasks.zarr", split="train"),
        annotations=[path for path in LESSONS if path],
        encoder=start,
    output:
        model="<results>/models/{model}.pt",
    log:
        "<results>/logs/training/{model}.log",
    benchmark:
        "<results>/benchmarks/training/{model}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: 4
    resources:
        mem_mb=growing(8000),
        runtime=growing(480, times=networks),
        gpu=1,
    params:
        products=lambda wildcards, input: options(tiles=input.tiles, pseudomasks=input.pseudomasks),
        annotations=options(annotations=[path or "-" for path in LESSONS]),
        settings=learning,
        seed=SETTINGS.seed,
    shell:
        "wsipsm train {output.model:q} {params.products} {params.annotations}"
        " --model {wildcards.model} {params.settings} --seed {params.seed} --workers {threads} > {log:q} 2>&1"
