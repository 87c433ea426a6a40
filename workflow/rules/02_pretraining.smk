rule pretrain:
    """Train the activation network on the unlabelled tiles of the cohort."""
    input:
        tiles=per_slide("tiles.zarr", split="train"),
    output:
        encoder="<results>/models/encoder.pt",
    log:
        "<results>/logs/pretraining/encoder.log",
    benchmark:
        "<results>/benchmarks/pretraining/encoder.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: 4
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
        gpu=1,
    params:
        tiles=lambda wildcards, input: arguments(input.tiles),
        settings=flags("pretraining"),
        seed=SETTINGS.seed,
    shell:
        "wsipsm pretrain {params.tiles} {output.encoder:q} {params.settings}"
        " --seed {params.seed} --workers {threads} > {log:q} 2>&1"
