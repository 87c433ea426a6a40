"""What a cohort of many slides costs the coordinator: a dry run of the workflow, and `status`.

Run from the root of the repository: `python -m tests.benchmarks.cohort`. The slides are empty
files, of which `--done` of each hundred have all products of a slide that was set aside.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import yaml

from wsipsm.io.product import quarantine
from wsipsm.site.settings import read_run
from wsipsm.site.status import products_of

REPOSITORY = Path(__file__).parents[2]
SIZES = (100, 1_000, 10_000)
MEASURED = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    print("MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


@click.command()
@click.option("--slides", "sizes", type=int, multiple=True, default=SIZES, show_default=True)
@click.option("--done", default=50, show_default=True, help="slides of each hundred that are done")
def main(sizes: tuple[int, ...], done: int) -> None:
    """Print a table of seconds and memory against the number of slides."""
    click.echo("| slides | jobs | dry run, s | CPU s | MB | status, s | CPU s | MB |")
    click.echo("| --: | --: | --: | --: | --: | --: | --: | --: |")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder), size)
            words = ["-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
            words += ["--directory", folder, "--dry-run", "--quiet", "rules", "--cores", "8"]
            dry, said = spent(words, Path(folder))
            jobs = next(line.split()[1] for line in said.splitlines() if line.startswith("total"))
            finish(Path(folder), size * done // 100)
            seen, _ = spent(["-m", "wsipsm.cli", "status"], Path(folder))
            click.echo(f"| {size:,} | {int(jobs):,} | {dry} | {seen} |")


def draw(folder: Path, size: int) -> None:
    """Write a slide sheet of so many slides, each an empty file."""
    (folder / "config").mkdir()
    (folder / "slides").mkdir()
    names = [f"slide_{number:05d}" for number in range(size)]
    for name in names:
        (folder / f"slides/{name}.tiff").touch()
    rows = "".join(f"{name}\tslides/{name}.tiff\n" for name in names)
    (folder / "config/slides.tsv").write_text(f"slide\tpath\n{rows}")
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"results": "results"}))


def finish(folder: Path, size: int) -> None:
    """Write the products of the first slides."""
    run = read_run(folder)
    wanted = {f"slide_{number:05d}" for number in range(size)}
    for product in products_of(run):
        if wanted & set(product.parts):
            product.parent.mkdir(parents=True, exist_ok=True)
            quarantine(product, stage="tile", reason="drawn for a benchmark")


def spent(words: list[str], folder: Path) -> tuple[str, str]:
    """Run Python in `folder`; returns cells of seconds, CPU seconds and MB, and what it said."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        raise click.ClickException(done.stdout + done.stderr)
    memory = next(line for line in reversed(done.stderr.splitlines()) if line.startswith("MB"))
    return f"{seconds:.0f} | {cpu:.0f} | {memory.split()[1]}", done.stdout


if __name__ == "__main__":
    main()
