"""The page: numbers, parts and plots put into the template, every name escaped."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wsipsm.config import Report
from wsipsm.report import numbers
from wsipsm.report.commands import cohort_commands, report_command
from wsipsm.report.figures import training_curve
from wsipsm.report.parts import Shown, slide_parts
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
    report = report_command(cohort, target, quarantined, settings.model_dump())
    return (
        _environment()
        .get_template("page.html.jinja")
        .generate(
            cohort=cohort,
            slides=slides,
            totals={model: numbers.together(slides, model) for model in cohort.models},
            headlines=numbers.headlines(cohort),
            parts=slide_parts(cohort, slides, settings),
            curves=list(_curves(cohort)),
            evaluations=[_evaluated(r) for p, r in cohort.records.items() if p.startswith("eval")],
            made=_made(cohort),
            commands=cohort_commands(cohort) | {"this page": report},
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
    environment.filters |= {"count": _count, "fixed": _fixed, "percent": _percent}
    return environment


def _count(value: int) -> str:
    return f"{value:,}"


def _fixed(value: float | None, digits: int = 3) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else NONE


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
            f"Loss {story} in {len(losses):,} steps.",
            training_curve(curve),
        )


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
