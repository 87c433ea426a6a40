rule activate:
    """Compute the prior self-activation map of a slide."""
    input:
        tiles="<results>/slides/{slide}/tiles.zarr",
        encoder="<results>/models/encoder.pt",
    output:
        activation=directory("<results>/slides/{slide}/activation.zarr"),
    log:
        "<results>/logs/activation/{slide}.log",
    benchmark:
        "<results>/benchmarks/activation/{slide}.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: share()
    resources:
        mem_mb=growing(6000, per_gb=500),
        runtime=growing(240, per_gb=240),
        gpu=1,
    params:
        settings=flags("activation"),
    shell:
        "wsipsm activate {input.tiles:q} {input.encoder:q} {output.activation:q} {params.settings}"
        " --workers {threads} --quarantine > {log:q} 2>&1"
