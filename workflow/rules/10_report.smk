rule report:
    """Write one page about the cohort, and the table of the slides that were set aside."""
    input:
        pseudomasks=per_slide("pseudomasks.zarr"),
        cells=per_model("cells.parquet"),
        exported=exports(),
        scores=evaluations(),
    output:
        page=report(
            "<results>/report/index.html",
            caption="../report/cohort.rst",
            category="Cohort",
        ),
        quarantined="<results>/quarantine.tsv",
    log:
        "<results>/logs/report/report.log",
    benchmark:
        "<results>/benchmarks/report/report.tsv"
    conda:
        "../../envs/wsipsm.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        results=subpath(output.quarantined, parent=True),
        cohort=options(slides=list(SLIDES), models=SETTINGS.models),
        settings=flags("report"),
    shell:
        "wsipsm report {params.results:q} {output.page:q} {params.cohort} {params.settings}"
        " --quarantined {output.quarantined:q} > {log:q} 2>&1"


rule summary:
    """Say in a few lines how the run ended; again in each run while a slide is set aside."""
    input:
        page="<results>/report/index.html",
        quarantined="<results>/quarantine.tsv",
        scores=evaluations(),
    output:
        lines="<results>/summary.txt",
    log:
        "<results>/logs/report/summary.log",
    localrule: True
    conda:
        "../../envs/wsipsm.yaml"
    params:
        results=subpath(output.lines, parent=True),
        cohort=options(slides=list(SLIDES), models=SETTINGS.models),
        again=time.time() if any_quarantined() else 0,
    shell:
        "wsipsm summary {params.results:q} {params.cohort} > {output.lines:q} 2> {log:q}"
