"""The transcript of docs/first-run.md: from an empty folder and the wheel to a QuPath project.

`python -m tests.benchmarks.first_run SLIDE` builds the wheel, and runs what a new user would type
in a new environment; it prints what was said, and what each command took. `--folder` is kept.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

REPOSITORY = Path(__file__).parents[2]
TYPED = (
    "uv venv --quiet --python 3.11 .venv",
    "uv pip install --quiet {wheel}",
    ". .venv/bin/activate",
    "wsipsm",
    "wsipsm init study {slide}",
    "cd study",
    "snakemake --workflow-profile workflow/profiles/local",
    "wsipsm",
    "ls results/qupath/unet",
)
LONGEST = 12
"""Lines of a longer answer are left out but the last; Snakemake tells of every job."""

LAST = 7


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--folder", type=click.Path(path_type=Path), help="Empty; to work in and to keep.")
def main(slide: Path, folder: Path | None) -> None:
    """Print the transcript of a first run on SLIDE."""
    with TemporaryDirectory() as temporary:
        work = (folder or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work)]
        subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
        (wheel,) = work.glob("*.whl")
        (work / slide.name).symlink_to(slide.absolute())
        for line in TYPED:
            work = typed(line.format(wheel=wheel.name, slide=slide.name), work)


def typed(line: str, folder: Path) -> Path:
    """Run a line in a folder as a shell would, print the transcript, and return the new folder."""
    click.echo(f"$ {line}")
    if line.startswith("cd "):
        return folder / line.removeprefix("cd ")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    places = [folder / ".venv/bin", folder.parent / ".venv/bin", Path(sys.executable).parent]
    environment["PATH"] = os.pathsep.join([*map(str, places), environment["PATH"]])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = [text for text in done.stdout.splitlines() if text]
    shown = said if len(said) <= LONGEST else ["...", *said[-LAST:]]
    if done.returncode:
        raise click.ClickException(done.stdout)
    click.echo("\n".join([*shown, f"({seconds:.1f} s, {processor:.1f} s of processor)"]))
    sys.stdout.flush()
    return folder


if __name__ == "__main__":
    main()
