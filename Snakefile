"""From a folder of whole-slide images to cells in QuPath: the stages, in their order."""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/machine.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/01_tiling.smk"
include: "workflow/rules/02_pretraining.smk"
include: "workflow/rules/03_activation.smk"
include: "workflow/rules/04_pseudomasks.smk"
include: "workflow/rules/05_training.smk"
include: "workflow/rules/06_inference.smk"
include: "workflow/rules/07_stitching.smk"
include: "workflow/rules/08_export.smk"
include: "workflow/rules/09_evaluation.smk"
include: "workflow/rules/10_report.smk"


rule all:
    default_target: True
    input:
        exports(),
        "<results>/report/index.html",
        "<results>/summary.txt",


# Held while this runs, so that `wsipsm resume` does not start a second one beside it.
onstart:
    hold(Path(".snakemake/wsipsm.lock"))


# What failed and where, and the table of the slides that were set aside, though no report came.
onerror:
    asked = Path(".snakemake/wsipsm.json")
    asked.write_text(SETTINGS.model_dump_json())
    table = Path(SETTINGS.results, "quarantine.tsv")
    shell("wsipsm status --configfile {asked:q} --quarantined {table:q} >&2")


# The last lines of a whole run, and exit code 1 if it set a slide aside.
onsuccess:
    if "summary" in {job.rule.name for job in workflow.dag.jobs}:
        lines = Path(SETTINGS.results, "summary.txt").read_text()
        print(lines, end="", file=sys.stderr, flush=True)
        raise SystemExit(1 if any_quarantined() else 0)
