"""How long the report of many slides takes to open in Chromium, beside an empty page and a floor.

`python -m tests.benchmarks.page results` takes the slides of a finished run again and again until
there are `--slides` of them, writes their page, and opens it.
"""

from __future__ import annotations

import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from wsipsm.config import Report
from wsipsm.report import numbers, page
from wsipsm.report.parts import slide_parts
from wsipsm.report.products import Cohort, open_cohort

MODEL = "unet"
DOUBT = "its cells show the borders of the tiles"
EMPTY = "<!DOCTYPE html><html lang=en><title>empty</title><p>empty</p></html>"


def write(cohort: Cohort, target: Path, *, slides: int, settings: Report) -> None:
    """Write the page of so many slides, those of a cohort by turns; each seventh is in doubt."""
    known = [
        numbers.slide_numbers(slide, anchor=f"slide-{i}", models=(MODEL,))
        for i, slide in enumerate(cohort.slides)
    ]
    parts = {
        full: list(slide_parts(cohort, known, settings, full={s.anchor for s in known if full}))
        for full in (True, False)
    }
    turns = [
        replace(known[i % len(known)], name=f"slide {i}", anchor=f"slide-{i}")
        for i in range(slides)
    ]
    shown = [
        replace(parts[i < settings.full_slides][i % len(known)], numbers=slide)
        for i, slide in enumerate(turns)
    ]
    doubts = {slide.anchor: [DOUBT] if i % 7 == 0 else [] for i, slide in enumerate(turns)}
    with target.open("w", encoding="utf-8") as file:
        file.writelines(page.fill(cohort, turns, shown, doubts=doubts, command="wsipsm report"))


def table(slides: int) -> str:
    """The floor: a plain table of as many rows and columns, and nothing else."""
    row = "<tr>" + "<td>0.123</td>" * 9 + "</tr>\n"
    return f"{EMPTY.removesuffix('</html>')}<table>{row * slides}</table></html>"


@click.command()
@click.argument("results", type=click.Path(exists=True, path_type=Path))
@click.option("--slides", default=1000, show_default=True)
@click.option("--full", default=Report().full_slides, show_default=True, help="with all pictures")
@click.option("--rounds", default=5, show_default=True, help="of which the median counts")
def main(results: Path, slides: int, full: int, rounds: int) -> None:
    """Print size, time until the page is loaded, and what the browser was busy with."""
    from playwright.sync_api import sync_playwright

    names = tuple(sorted(path.name for path in (results / "slides").iterdir()))
    cohort = open_cohort(results, slides=names, models=(MODEL,))
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        pages = {name: Path(folder) / f"{name}.html" for name in ("empty page", "floor", "report")}
        pages["empty page"].write_text(EMPTY)
        pages["floor"].write_text(table(slides))
        write(cohort, pages["report"], slides=slides, settings=Report(full_slides=full))
        options: dict[str, Any] = {"executable_path": shutil.which("chromium")}
        browser = driver.chromium.launch(**options, args=["--no-sandbox"])
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in pages}
        for _ in range(rounds):
            for name, path in pages.items():
                taken[name].append(opened(browser, path))
        browser.close()
        sizes = {name: path.stat().st_size / 1e6 for name, path in pages.items()}
    click.echo("| page | MB | s | of the empty page | s of the renderer |")
    click.echo("| --- | --: | --: | --: | --: |")
    least = statistics.median(seconds for seconds, _ in taken["empty page"])
    for name, rows in taken.items():
        seconds, busy = (statistics.median(column) for column in zip(*rows, strict=True))
        line = f"{sizes[name]:.1f} | {seconds:.2f} | {seconds / least:.1f} | {busy:.2f}"
        click.echo(f"| {name} | {line} |")


def opened(browser: Any, path: Path) -> tuple[float, float]:
    """Seconds from the start of navigation to the first frame after the load, and of tasks."""
    tab = browser.new_page()
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable")
    tab.goto(path.as_uri(), wait_until="load", timeout=0)
    frame = "new Promise((done) => requestAnimationFrame(() => done(performance.now())))"
    seconds = float(tab.evaluate(frame)) / 1000
    found = session.send("Performance.getMetrics")["metrics"]
    metrics = {one["name"]: float(one["value"]) for one in found}
    tab.close()
    return seconds, metrics["TaskDuration"]


if __name__ == "__main__":
    main()
