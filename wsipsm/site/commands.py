"""Commands about a run as a whole: lay it out, what it can be set to, how far it is, look at it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wsipsm.config import Config, Stain
from wsipsm.options import EXISTING, TARGET
from wsipsm.sections import settings_table

CONFIGFILE = Path("config/config.yaml")


@click.command()
@click.option("--configfile", type=TARGET, default=CONFIGFILE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
@click.option("--all", "every", is_flag=True, help="Show the slides that are done, too.")
@click.option("--quarantined", type=TARGET, help="Table of the slides set aside, to write.")
def status(configfile: Path, as_json: bool, every: bool, quarantined: Path | None) -> None:
    """Say how far the cohort is: done, running, queued, failed and where, set aside and why."""
    from wsipsm.site import status as site
    from wsipsm.site.settings import read_run

    found = site.status_of(read_run(Path(), configfile))
    if quarantined:
        site.write_quarantined(found, quarantined)
    if as_json:
        click.echo(json.dumps(site.with_runs(found).as_dict(), indent=1))
    else:
        click.echo("\n".join(site.table_of(found, every=every)))


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--wait", is_flag=True, help="Let jobs that still run end, rather than end them.")
@click.option("--configfile", type=TARGET, default=CONFIGFILE, show_default=True)
@click.option("--directory", type=EXISTING, default=".", help="Working folder of the workflow.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def resume(wait: bool, configfile: Path, directory: Path, words: tuple[str, ...]) -> None:
    """Go on with a run that was killed: end its jobs, unlock, and run snakemake with WORDS.

    Such as: wsipsm resume --workflow-profile workflow/profiles/slurm
    """
    from wsipsm.site import resume as site
    from wsipsm.site.settings import read_run

    run = read_run(directory, configfile)
    site.settle(run, wait=wait, say=lambda line: click.echo(f"wsipsm: {line}", err=True))
    where = [] if directory == Path() else [f"--directory={directory}"]
    where += [] if configfile == CONFIGFILE else [f"--configfile={directory / configfile}"]
    site.snakemake([*words, *where], folder=directory)


@click.command()
@click.option("--profile", type=EXISTING, help="[default: workflow/profiles/slurm]")
@click.option("--results", type=TARGET, default="results", show_default=True)
@click.option("--nodes", is_flag=True, help="Send a job of seconds to each partition, and ask it.")
def doctor(profile: Path | None, results: Path, nodes: bool) -> None:
    """Check a machine or cluster before a run, and say what to change."""
    from wsipsm.site import doctor as site

    checks = site.examine(profile or Path("workflow/profiles/slurm"), results, nodes=nodes)
    for check in checks:
        click.echo(check)
    if any(check.level == "wrong" for check in checks):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("folder", type=TARGET)
@click.argument("slides", nargs=-1, type=TARGET)
@click.option("--stain", type=click.Choice(["he", "ihc"]), default="he", show_default=True)
def init(folder: Path, slides: tuple[Path, ...], stain: Stain) -> None:
    """Lay out a project in FOLDER, with a row in its slide sheet for each of SLIDES.

    Opens each slide, says which cannot be used as they are, and sets the working resolution by
    the finest of the others.
    """
    from wsipsm import layout
    from wsipsm.site.survey import survey

    mpp, doubts = survey(path for path in slides if path.exists())
    for path in layout.lay_out(folder, slides, stain=stain, mpp=mpp):
        click.echo(path)
    for doubt in doubts:
        click.echo(f"not usable yet: {doubt}", err=True)
    chosen = [] if mpp is None else [f"the slides are worked on at {mpp:g} microns per pixel"]
    fill = "" if slides else "write your slides into config/slides.tsv, "
    for line in (
        *chosen,
        "the trainings in config/config.yaml are short, for a first look: see its remarks",
        f"next, in {folder}: {fill}look through config/config.yaml, then run",
        "snakemake --workflow-profile workflow/profiles/local",
    ):
        click.echo(line, err=True)


@click.command()
@click.argument("cells", type=EXISTING)
@click.option("--slide", type=EXISTING, help="The slide file. [default: where it was]")
@click.option("--port", type=click.IntRange(1, 65534), default=5006, show_default=True)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page.")
@click.option("--colours", multiple=True, help="Colours of the classes, such as #009e73.")
def view(
    cells: Path, *, slide: Path | None, port: int, browser: bool, colours: tuple[str, ...]
) -> None:
    """Show CELLS (cells.parquet) on their slide in a browser, with tiatoolbox's viewer."""
    from wsipsm import view as viewer

    seen = viewer.find(cells, slide=slide)
    viewer.view(seen, port=port, browser=browser, colours=colours)


@click.command()
@click.argument("results", type=EXISTING)
@click.option("--slides", multiple=True, required=True, help="Names of the slides, in order.")
@click.option("--models", multiple=True, required=True, help="Names of the models, in order.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def summary(results: Path, *, as_json: bool, **names: tuple[str, ...]) -> None:
    """Say in a few lines what the finished run in RESULTS came to."""
    from wsipsm.report.summary import facts
    from wsipsm.report.summary import summary as lines_of

    if as_json:
        click.echo(json.dumps(facts(results, **names), indent=1))
        return
    for line in lines_of(results, **names):
        click.echo(line)


@click.command()
@click.argument("target", type=click.Choice(["schema", "table"]))
def settings_of(target: str) -> None:
    """Print the schema (JSON) or the table (Markdown) of all settings."""
    schema = json.dumps(Config.model_json_schema(), indent=1)
    click.echo(schema if target == "schema" else settings_table(Config))
