rule pseudomask:
    """Cluster stain and activation of a slide into background, classes and objects."""
    input:
        tiles="<results>/slides/{slide}/tiles.zarr",
        activation="<results>/slides/{slide}/activation.zarr",
    output:
        pseudomasks=directory("<results>/slides/{slide}/pseudomasks.zarr"),
    log:
        "<results>/logs/pseudomasks/{slide}.log",
    benchmark:
        "<results>/benchmarks/pseudomasks/{slide}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: share()
    resources:
        mem_mb=growing(6000, per_gb=500),
        runtime=growing(240, per_gb=240),
    params:
        settings=flags("pseudomasks"),
        seed=SETTINGS.seed,
    shell:
        "wsipsm pseudomask {input.tiles:q} {input.activation:q} {output.pseudomasks:q}"
        " {params.settings} --seed {params.seed} --workers {threads} --quarantine > {log:q} 2>&1"
