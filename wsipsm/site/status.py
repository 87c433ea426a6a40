"""How far a cohort is: each stage of each slide is done, running, failed, set aside or waiting."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from wsipsm.errors import DataError, QuarantinedError
from wsipsm.io.product import read_record
from wsipsm.io.runs import owner_of, run_record
from wsipsm.site.settings import Run
from wsipsm.site.slurm import Job, jobs_of

State = Literal["done", "running", "queued", "failed", "quarantined", "waiting"]
WORST: tuple[State, ...] = ("quarantined", "failed", "running", "queued", "waiting", "done")
"""The state of a slide is the first of these that one of its stages has."""

LAST_BYTES = 1000

EXPORTS = {
    "qupath": "geojson.zip",
    "table": "tsv",
    "points": "points.geojson",
    "annotation_store": "db",
    "spatialdata": "spatialdata.zarr",
    "labels": "labels.zarr",
}


@dataclass(frozen=True)
class Step:
    """One product that the run is to make: its rule, its place, the name of its log and job."""

    stage: str
    product: Path
    log: Path
    rule: str
    wildcards: str = ""
    tells: bool = True
    """Whether its record says that the slide was set aside; those of some exports do not."""


@dataclass(frozen=True)
class Found:
    """How a step stands; `detail` says who runs it, where it failed, or why it was set aside."""

    stage: str
    product: str
    state: State
    detail: str = ""
    run: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """How a cohort stands."""

    results: str
    slides: dict[str, list[Found]]
    cohort: list[Found]

    def of(self, slide: str) -> State:
        """State of a slide: of all its steps, the one that matters most."""
        states = {found.state for found in self.slides[slide]}
        return next(state for state in WORST if state in states)

    def counts(self) -> dict[State, int]:
        """Slides in each state."""
        counted = Counter(self.of(slide) for slide in self.slides)
        return {state: counted[state] for state in reversed(WORST) if counted[state]}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "results": self.results,
            "counts": self.counts(),
            "cohort": [asdict(found) for found in self.cohort],
            "slides": {
                slide: {"state": self.of(slide), "steps": [asdict(found) for found in steps]}
                for slide, steps in self.slides.items()
            },
        }


def status_of(run: Run) -> Status:
    """Look at the products, logs and locks of a run, and at SLURM's jobs of its folder.

    Takes a few calls of the file system for each product, and reads the record of one or two
    products of each slide.
    """
    jobs = {(job.rule, job.wildcards): job for job in jobs_of(run.folder)}
    look = functools.partial(_look, jobs=jobs)
    found = {}
    for slide in run.slides:
        steps = list(_steps_of(run, slide))
        found[slide] = _with_quarantine(steps, [look(step) for step in steps])
    return Status(str(run.results), found, [look(step) for step in _steps_of_all(run)])


def products_of(run: Run) -> Iterator[Path]:
    """Every product that a run is to make, of all slides and of the cohort."""
    for slide in run.slides:
        yield from (step.product for step in _steps_of(run, slide))
    yield from (step.product for step in _steps_of_all(run))


def table_of(status: Status, *, every: bool = False) -> list[str]:
    """Lines for a terminal: slides that are not done (or `every` one), what failed, the counts."""
    shown = [slide for slide in status.slides if every or status.of(slide) != "done"]
    width = max(map(len, shown), default=0)
    lines = []
    for slide in shown:
        steps = status.slides[slide]
        groups: dict[State, list[str]] = {}
        for step in steps:
            names = groups.setdefault(step.state, [])
            names += [] if step.stage in names else [step.stage]
        said = "; ".join(f"{state}: {', '.join(names)}" for state, names in groups.items())
        lines.append(f"{slide:{width}}  {status.of(slide):11}  {said}")
    lines += [f"{step.stage}: {step.state}" for step in status.cohort if step.state != "done"]
    return [*lines, *_details(status), _sum(status)]


def write_quarantined(status: Status, table: Path) -> None:
    """Write the table of the slides that were set aside: slide, stage, reason."""
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["slide", "stage", "reason"])
        for slide, steps in status.slides.items():
            first = next((step for step in steps if step.state == "quarantined"), None)
            if first:
                rows.writerow([slide, first.stage, " ".join(first.detail.split())])


def _steps_of(run: Run, slide: str) -> Iterator[Step]:
    """Products of one slide, in the order of the stages."""
    folder, logs = run.results / "slides" / slide, run.results / "logs"
    for rule, stage, name in (
        ("tile", "tiling", "tiles.zarr"),
        ("activate", "activation", "activation.zarr"),
        ("pseudomask", "pseudomasks", "pseudomasks.zarr"),
    ):
        yield Step(rule, folder / name, logs / stage / f"{slide}.log", rule, slide)
    for model in run.models:
        of, log = f"{slide}_{model}", f"{slide}_{model}.log"
        place = folder / model
        yield Step("segment", place / "tile_cells", logs / "inference" / log, "segment", of)
        yield Step("stitch", place / "cells.parquet", logs / "stitching" / log, "stitch", of)
        for name in run.formats:
            suffix = EXPORTS[name]
            rule = "export_store" if suffix.endswith(".zarr") else "export"
            log = f"{slide}_{model}_{suffix}.log"
            file = place / f"cells.{suffix}"
            tells = name == "qupath"
            yield Step("export", file, logs / "export" / log, rule, f"{of}_{suffix}", tells)


def _steps_of_all(run: Run) -> Iterator[Step]:
    """Products of the cohort that every run makes."""
    models, logs = run.results / "models", run.results / "logs"
    yield Step("pretrain", models / "encoder.pt", logs / "pretraining/encoder.log", "pretrain")
    for model in run.models:
        log = logs / f"training/{model}.log"
        yield Step("train", models / f"{model}.pt", log, "train", model)
    page = run.results / "report/index.html"
    yield Step("report", page, logs / "report/report.log", "report")


def _look(step: Step, *, jobs: dict[tuple[str, str], Job]) -> Found:
    """How a step stands, by what is on disk and what the scheduler says."""
    found = functools.partial(Found, step.stage, str(step.product))
    if step.product.exists():
        return found("done")
    if owner := owner_of(step.product):
        number = f", job {owner['job']}" if owner.get("job") else ""
        who = f"on {owner.get('host')}, process {owner.get('pid')}{number}"
        return found("running", who + _progress(step))
    if job := jobs.get((step.rule, step.wildcards)):
        waits = job.state == "PENDING"
        return found("queued" if waits else "running", f"job {job.id}{_progress(step)}")
    if _has_failed(step):
        return found("failed", str(step.log))
    return found("waiting")


def _progress(step: Step) -> str:
    """The last line of a job's log, which says how far it is, how fast, and for how long still."""
    with suppress(OSError), step.log.open("rb") as log:
        log.seek(max(0, step.log.stat().st_size - LAST_BYTES))
        lines = log.read().decode(errors="replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
    return ""


def _has_failed(step: Step) -> bool:
    """Whether the last job of a step left a log and no product."""
    if not step.log.exists():
        return False
    record = run_record(step.product)
    return not record.exists() or step.log.stat().st_mtime > record.stat().st_mtime


def _with_quarantine(steps: list[Step], found: list[Found]) -> list[Found]:
    """Say of a slide's steps from the first that was set aside on that they were."""
    made = [at for at, step in enumerate(steps) if step.tells and found[at].state == "done"]
    if not made or _reason(steps[made[-1]].product) is None:
        return found
    first = next(at for at in made if _reason(steps[at].product) is not None)
    reason = _reason(steps[first].product) or ""
    aside = [Found(step.stage, step.product, "quarantined", reason) for step in found[first:]]
    return [*found[:first], *aside]


def _reason(product: Path) -> str | None:
    """Why a product's slide was set aside; None of any other product."""
    try:
        read_record(product)
    except QuarantinedError as error:
        return str(error)
    except DataError:  # damaged: the stage that reads it says so
        return None
    return None


def _details(status: Status) -> list[str]:
    """One line for each slide or stage that failed or was set aside, and for each that runs."""
    lines = []
    for of, steps in [*status.slides.items(), ("cohort", status.cohort)]:
        running = (step for step in steps if step.state == "running")
        lines += [f"running: {of}: {step.stage} {step.detail}" for step in running]
    for slide, steps in status.slides.items():
        worst = next((step for step in steps if step.state in ("quarantined", "failed")), None)
        if worst:
            lines.append(f"{worst.state}: {slide}: {worst.stage}: {worst.detail}")
    failed = [step for step in status.cohort if step.state == "failed"]
    return [*lines, *(f"failed: {step.stage}: {step.detail}" for step in failed)]


def _sum(status: Status) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in status.counts().items())
    return f"{len(status.slides)} slides: {counts}"


def with_runs(status: Status) -> Status:
    """Add to each product that is done what it took to make it: host, job, seconds, memory."""
    slides = {slide: [_with_run(step) for step in steps] for slide, steps in status.slides.items()}
    return Status(status.results, slides, [_with_run(step) for step in status.cohort])


def _with_run(found: Found) -> Found:
    record = run_record(Path(found.product))
    if found.state != "done" or not record.exists():
        return found
    return Found(found.stage, found.product, "done", run=json.loads(record.read_text()))
