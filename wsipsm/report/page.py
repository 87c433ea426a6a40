"""The page: numbers, parts and plots put into the template, every name escaped."""

from __future__ import annotations

import json
import math
import platform
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wsipsm.config import Report
from wsipsm.report import numbers, verdict
from wsipsm.report.commands import cohort_commands, report_command, slide_report_command
from wsipsm.report.figures import training_curve
from wsipsm.report.parts import Shown, SlidePart, slide_parts
from wsipsm.report.products import Cohort, Record

PACKAGES = (
    "wsipsm", "numpy", "torch", "timm", "zarr", "dask", "scikit-image", "scikit-learn", "shapely",
    "pyarrow", "openslide-python", "tifffile", "tiatoolbox", "matplotlib", "snakemake",
)  # fmt: skip
STAGES = (
    "tile", "pretrain", "activate", "pseudomask", "train", "segment", "stitch", "export",
    "evaluate",
)  # fmt: skip
NONE = "–"
ROWS = 100
"""Rows of a table that are shown at first: a browser takes its time to lay out thousands."""


@dataclass(frozen=True)
class Made:
    """Products that one stage made with the same code and settings."""

    stage: str
    code: str
    settings: dict[str, str]
    products: list[str]


@dataclass(frozen=True)
class Evaluated:
    """Scores of one model's cells."""

    model: str
    cohort: numbers.ScoreTable
    classes: numbers.ScoreTable
    settings: Record
    skipped: dict[str, str]
    note: str


def render(cohort: Cohort, *, target: Path, quarantined: Path, settings: Report) -> Iterator[str]:
    """The page in pieces, slide by slide.

    Parameters
    ----------
    cohort
        What is to be shown.
    target, quarantined, settings
        As of the stage; they tell how this page is made again.
    """
    slides = [
        numbers.slide_numbers(slide, anchor=f"slide-{i}", models=cohort.models)
        for i, slide in enumerate(cohort.slides, start=1)
    ]
    doubts = verdict.doubts_of(slides)
    full = verdict.shown_in_full(doubts, settings.full_slides)
    command = report_command(cohort, target, quarantined, settings.model_dump())
    return fill(
        cohort,
        slides,
        slide_parts(cohort, slides, settings, full=full),
        doubts=doubts,
        command=command,
    )


def fill(
    cohort: Cohort,
    slides: list[numbers.SlideNumbers],
    parts: Iterable[SlidePart],
    *,
    doubts: dict[str, list[str]],
    command: str,
) -> Iterator[str]:
    """Put the numbers and parts of slides into the page.

    Parameters
    ----------
    cohort
        What all slides share.
    slides, parts
        Of each slide, in the same order.
    doubts
        By the anchors of the slides.
    command
        That makes this page again.
    """
    script = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("page.html.jinja")
        .generate(
            cohort=cohort,
            slides=slides,
            totals={model: numbers.together(slides, model) for model in cohort.models},
            headlines=numbers.headlines(cohort),
            doubts=doubts,
            verdict=verdict.sentence(slides, doubts),
            figures=verdict.figures_of(slides),
            rows=ROWS,
            spread=verdict.spreads(slides),
            script=Markup(script),
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
            parts=parts,
            curves=list(_curves(cohort)),
            evaluations=[_evaluated(r) for p, r in cohort.records.items() if p.startswith("eval")],
            made=_made(cohort),
            full_command=lambda name: slide_report_command(cohort, name),
            commands=cohort_commands(cohort) | {"this page": command},
            versions=_versions(),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "fixed": _fixed, "percent": _percent, "time": _time}
    return environment


def _count(value: int) -> str:
    return f"{value:,}"


def _fixed(value: float | None, digits: int = 3) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else NONE


def _time(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds / 60:,.1f} min"


def _curves(cohort: Cohort) -> Iterator[Shown]:
    for path, record in cohort.records.items():
        curve = record.get("curve")
        if not path.startswith("models/") or not curve:
            continue
        name, losses = Path(path).stem, [point["loss"] for point in curve]
        tail = losses[-max(1, len(losses) // 10) :]
        story = f"from {losses[0]:.4g} to {sum(tail) / len(tail):.4g} (mean of the last tenth)"
        yield Shown(
            name,
            f"Training curve of {name}: loss {story} in {len(losses)} steps",
            f"Loss {story} in {len(losses):,} steps.{_lessons(record)}",
            training_curve(curve),
        )


def _lessons(record: Record) -> str:
    """The fields that a model learnt from, and why these."""
    lessons = record.get("lessons", [])
    said = [
        f"{lesson['slide']} at row {lesson['region'][0]}, column {lesson['region'][1]}:"
        f" {lesson['cells']} cells, {lesson['reason']}"
        for lesson in lessons
    ]
    return f" Learnt from {len(said)} fields: {'; '.join(said)}." if said else ""


def _evaluated(record: Record) -> Evaluated:
    return Evaluated(
        model=record["model"],
        cohort=numbers.cohort_scores(record),
        classes=numbers.class_scores(record),
        settings=record["provenance"]["settings"],
        skipped=record["skipped"],
        note=record.get("note", ""),
    )


def _made(cohort: Cohort) -> list[Made]:
    """Products by what made them, in the order of the stages."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    records = [
        (f"{slide.name}/{path}", record)
        for slide in cohort.slides
        for path, record in slide.records.items()
    ]
    for path, record in [*cohort.records.items(), *records]:
        made = record["provenance"]
        settings = {name: value for name, value in made["settings"].items() if name != "slide"}
        key = (made["stage"], made["code"], json.dumps(settings, sort_keys=True))
        groups.setdefault(key, []).append(path)
    ordered = sorted(groups.items(), key=lambda item: (STAGES.index(item[0][0]), item[0]))
    return [
        Made(stage, code, {n: _plain(v) for n, v in json.loads(settings).items()}, products)
        for (stage, code, settings), products in ordered
    ]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _versions() -> dict[str, str]:
    """Versions of what is installed where the page is written."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
