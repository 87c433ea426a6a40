"""Commands about a run as a whole: is the place fit for it, how far is it, go on with it."""

from __future__ import annotations

import json
from pathlib import Path

import click

_EXISTING = click.Path(exists=True, path_type=Path)
_TARGET = click.Path(path_type=Path)
CONFIGFILE = Path("config/config.yaml")


@click.command()
@click.option("--configfile", type=_TARGET, default=CONFIGFILE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
@click.option("--all", "every", is_flag=True, help="Show the slides that are done, too.")
@click.option("--quarantined", type=_TARGET, help="Table of the slides set aside, to write.")
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
@click.option("--configfile", type=_TARGET, default=CONFIGFILE, show_default=True)
@click.option("--directory", type=_EXISTING, default=".", help="Working folder of the workflow.")
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
@click.option("--profile", type=_EXISTING, help="[default: workflow/profiles/slurm]")
@click.option("--results", type=_TARGET, default="results", show_default=True)
@click.option("--nodes", is_flag=True, help="Send a job of seconds to each partition, and ask it.")
def doctor(profile: Path | None, results: Path, nodes: bool) -> None:
    """Check a machine or cluster before a run, and say what to change."""
    from wsipsm.site import doctor as site

    checks = site.examine(profile or Path("workflow/profiles/slurm"), results, nodes=nodes)
    for check in checks:
        click.echo(check)
    if any(check.level == "wrong" for check in checks):
        raise click.exceptions.Exit(1)
