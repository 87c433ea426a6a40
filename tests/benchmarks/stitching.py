"""Stitching beside its peers: seconds, mistakes, time per cell and memory.

Run from the root of the repository: `python -m tests.benchmarks.stitching`, with `--scale` for
time and memory against the number of cells. Each way runs in a process of its own on the same
views; `--peers-python` names an interpreter that has sopa, if this one has not. Ratios are of CPU
seconds, which other work on the machine changes less.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import pandas as pd  # noqa: F401  # pyarrow imports it when first used: not to be timed
import pyarrow.parquet as pq

from tests.benchmarks.cells import Polygons, mistakes, true_cells, write_product
from wsipsm.config import Stitching
from wsipsm.io.parquet import parts_of, polygons_of
from wsipsm.io.product import read_record
from wsipsm.stitching.stitch import stitch

PEERS = Path(__file__).with_name("stitching_peers.py")
SIZES = (30_000, 100_000, 300_000, 1_000_000)


@click.command()
@click.option("--cells", default=100_000, show_default=True, help="true cells")
@click.option("--repeat", default=3, show_default=True, help="runs, of which the least counts")
@click.option("--without", multiple=True, help="way to leave out, such as tiatoolbox")
@click.option("--peers-python", default=sys.executable, help="interpreter that has sopa")
@click.option("--scale", is_flag=True, help="only the stage, on 30,000 to 1,000,000 cells")
@click.option("--stage", type=click.Path(path_type=Path), hidden=True)
def main(
    cells: int,
    repeat: int,
    without: tuple[str, ...],
    peers_python: str,
    scale: bool,
    stage: Path | None,
) -> None:
    """Print a table."""
    if stage:
        print(json.dumps(_timed_stage(stage)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if scale:
            _scale(Path(folder), repeat)
        else:
            _compare(Path(folder), cells, repeat, without, peers_python)


def _compare(
    folder: Path, cells: int, repeat: int, without: tuple[str, ...], peers_python: str
) -> None:
    tile_cells, result = folder / "tile_cells", folder / "result.parquet"
    truth = true_cells(cells)
    write_product(tile_cells, truth)
    views = sum(pq.read_metadata(path).num_rows for path in parts_of(tile_cells).values())
    click.echo(f"{cells:,} true cells, {views:,} views\n")
    ways = {
        "floor": (sys.executable, repeat),
        "wsipsm": (sys.executable, repeat),
        "sopa": (peers_python, 1),
        "tiatoolbox": (sys.executable, 1),
    }
    rows: dict[str, tuple[dict[str, float], dict[str, int]]] = {}
    for way, (python, times) in ways.items():
        if way not in without:
            command = [python, str(PEERS), way, str(tile_cells), str(result)]
            best = _best(_answer(command) for _ in range(times))
            rows[way] = best, mistakes(_outlines(result), truth)
    best = _best(_stage(tile_cells) for _ in range(repeat))
    product = tile_cells.with_name("cells.parquet")
    rows["wsipsm, whole stage"] = best, mistakes(_outlines(product), truth)
    _print(rows)
    click.echo(f"\nCounts of the stage: {read_record(product)['counts']}")


def _best(runs: Iterable[dict[str, float]]) -> dict[str, float]:
    return min(runs, key=lambda run: run["cpu"])


def _print(rows: dict[str, tuple[dict[str, float], dict[str, int]]]) -> None:
    floor, ours = rows["floor"][0]["cpu"], rows["wsipsm"][0]["cpu"]
    click.echo("| | s | CPU s | of the floor | of wsipsm | missing | doubled | spurious |")
    click.echo("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for way, (run, wrong) in rows.items():
        times = f"{run['seconds']:.2f} | {run['cpu']:.2f}"
        ratios = f"{run['cpu'] / floor:.1f} | {run['cpu'] / ours:.1f}"
        faults = " | ".join(f"{number:,}" for number in wrong.values())
        click.echo(f"| {way} | {times} | {ratios} | {'| | |' if way == 'floor' else faults + ' |'}")


def _scale(folder: Path, repeat: int) -> None:
    click.echo("| cells | s | CPU s | CPU µs a cell | peak memory, MB | of it imports |")
    click.echo("| --: | --: | --: | --: | --: | --: |")
    for cells in SIZES:
        tile_cells = folder / f"{cells}" / "tile_cells"
        _prepare(tile_cells, cells)
        best = _best(_stage(tile_cells) for _ in range(repeat))
        times = f"{best['seconds']:.2f} | {best['cpu']:.2f} | {best['cpu'] / cells * 1e6:.1f}"
        click.echo(f"| {cells:,} | {times} | {best['peak_mb']:.0f} | {best['before_mb']:.0f} |")


def _prepare(tile_cells: Path, cells: int) -> None:
    """Write the views in a process of its own: a child's peak is no less than its parent's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_write, tile_cells, cells).result()


def _write(tile_cells: Path, cells: int) -> None:
    write_product(tile_cells, true_cells(cells))


def _stage(tile_cells: Path) -> dict[str, float]:
    """The whole stage, reading and writing included, in a process of its own."""
    return _answer([sys.executable, "-m", __spec__.name, "--stage", str(tile_cells)])


def _timed_stage(tile_cells: Path) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, begun = time.perf_counter(), time.process_time()
    stitch(tile_cells, tile_cells.with_name("cells.parquet"), settings=Stitching())
    seconds, cpu = time.perf_counter() - start, time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak / 1024, "before_mb": before / 1024}


def _answer(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr.strip().splitlines()[-1])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _outlines(path: Path) -> Polygons:
    return polygons_of(pq.read_table(path, columns=["geometry"]))


if __name__ == "__main__":
    main()
