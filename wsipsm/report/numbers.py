"""The numbers of the report: of each slide, of its cells, and of how well they match the truth."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsipsm.models.index import HotSpot, Share, hot_spots, share_of
from wsipsm.report import quality
from wsipsm.report.artefacts import flagged
from wsipsm.report.cells import CellColumns, read_columns
from wsipsm.report.products import Cohort, Record, SlideProducts

METRICS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "ap": "AP",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "pq": "PQ, panoptic quality",
    "dq": "DQ, its detection part",
    "sq": "SQ, its outline part",
    "dice": "Dice of pixels",
    "pixel_iou": "IoU of pixels",
    "detection_f1": "F1 of detection",
    "detection_precision": "precision of detection",
    "detection_recall": "recall of detection",
}
STITCHING = ("owned", "rescued", "resolved", "oversize", "dropped")
"""Columns of the stitching counts, as `wsipsm.stitching` defines them."""

AGREEMENT_UM = 3.0
"""Farthest centres of one cell that two models found, microns."""

CONTROLS = {
    "stain_otsu": "control: stain, Otsu, watershed",
    "rgb_kmeans": "control: k-means of RGB",
    "untrained_psm": "control: untrained encoder",
}


@dataclass(frozen=True)
class Found:
    """Cells that a model found on a slide, or on all slides together.

    `classes` holds name and number; `counts` is what stitching did; `score` the mean probability;
    `quality` the figures of `quality.FIGURES`, `index` the share of cells that are not of the first
    class, and `hot` where it is highest, of one slide only.
    """

    cells: int
    density: float
    classes: list[tuple[str, int]]
    counts: dict[str, int]
    score: float
    quality: dict[str, float | None]
    index: Share | None = None
    hot: tuple[HotSpot, ...] = ()


@dataclass(frozen=True)
class SlideNumbers:
    """What the tables say of one slide; `anchor` names its part of the page.

    `artefacts` holds the number of tiles that show each; `excluded` tiles are not in `tiles`;
    `unreadable_share` of the slide is white, since it could not be decoded. `seconds` is the time
    of its jobs, where the workflow kept it; `choice` says what labelled it and why.
    """

    name: str
    anchor: str
    facts: Record
    working_mpp: float
    tissue_mm2: float
    tiles: int
    excluded: int
    artefacts: dict[str, int]
    unreadable_share: float
    flipped_share: float | None
    separation: float | None
    seconds: float | None
    choice: str | None
    found: dict[str, Found]

    @property
    def excluded_share(self) -> float:
        """Share of the tiles with tissue that artefacts exclude."""
        return self.excluded / max(1, self.tiles + self.excluded)


@dataclass(frozen=True)
class Score:
    """A metric: mean, or the value of one slide, and its interval; `best` in its row."""

    value: float
    low: float
    high: float
    best: bool


@dataclass(frozen=True)
class ScoreTable:
    """Metrics in rows, methods (or classes) in columns."""

    columns: list[str]
    rows: list[tuple[str, list[Score | None]]]


def slide_numbers(slide: SlideProducts, *, anchor: str, models: tuple[str, ...]) -> SlideNumbers:
    """Count what there is of one slide."""
    tissue = slide.tiles.tissue()
    height, width = slide.tiles.size_px
    slide_mm2 = height * width * (slide.facts["mpp"] / 1000) ** 2
    tissue_mm2 = slide_mm2 * float(tissue.mean())
    activation = slide.records.get("activation.zarr", {})
    codebook = slide.records.get("pseudomasks.zarr", {})
    cells = {
        model: read_columns(slide.folder / model / "cells.parquet", classes=record["classes"])
        for model in models
        if (record := slide.cells(model))
    }
    found = {model: _found(slide, model, own, tissue_mm2) for model, own in cells.items()}
    made = SlideNumbers(
        name=slide.name,
        anchor=anchor,
        facts=slide.facts,
        working_mpp=slide.tiles.mpp,
        tissue_mm2=tissue_mm2,
        tiles=int(slide.tiles.kept.sum()),
        excluded=int(slide.tiles.excluded.sum()),
        artefacts={name: int(here.sum()) for name, here in flagged(slide.tiles).items()},
        unreadable_share=slide.tiles.unreadable_share,
        flipped_share=activation.get("orientation", {}).get("flipped_share"),
        separation=codebook.get("codebook", {}).get("separation"),
        seconds=_seconds(slide, models),
        choice=codebook.get("codebook", {}).get("choice", {}).get("reason"),
        found=found,
    )
    shared = {
        "separation": made.separation,
        "flipped": made.flipped_share,
        "excluded": made.excluded_share,
        "unreadable": made.unreadable_share,
        "agreement": None,
    }
    if len(cells) > 1:
        radius_px = AGREEMENT_UM / slide.facts["mpp"]
        shared["agreement"] = quality.agreement(*list(cells.values())[:2], radius_px=radius_px)
    for own in found.values():
        own.quality.update(shared)
    return made


def together(slides: list[SlideNumbers], model: str) -> Found:
    """The cells of all slides as one."""
    every = [(slide, slide.found[model]) for slide in slides if model in slide.found]
    area = sum(slide.tissue_mm2 for slide, _ in every)
    cells = sum(found.cells for _, found in every)
    classes: dict[str, int] = {}
    counts: dict[str, int] = {}
    for _, found in every:
        for into, pairs in ((classes, found.classes), (counts, list(found.counts.items()))):
            for name, number in pairs:
                into[name] = into.get(name, 0) + number
    scores = [found.score * found.cells for _, found in every if found.cells]
    score = sum(scores) / cells if cells else math.nan
    density = cells / area if area else math.nan
    return Found(cells, density, list(classes.items()), counts, score, {})


def _found(slide: SlideProducts, model: str, cells: CellColumns, tissue_mm2: float) -> Found:
    record = slide.cells(model)
    assert record is not None
    number = len(cells.x)
    index, hot = _index(slide, cells) if len(record["classes"]) > 1 else (None, ())
    return Found(
        cells=number,
        density=number / tissue_mm2 if tissue_mm2 else math.nan,
        classes=list(
            zip(record["classes"], cells.class_counts(len(record["classes"])), strict=True)
        ),
        counts={name: record["counts"][name] for name in STITCHING},
        score=float(np.mean(cells.score, dtype=np.float64)) if number else math.nan,
        quality={
            "density": number / tissue_mm2 if tissue_mm2 else None,
            **quality.of_cells(cells, slide.tiles),
        },
        index=index,
        hot=hot,
    )


def _index(slide: SlideProducts, cells: CellColumns) -> tuple[Share, tuple[HotSpot, ...]]:
    positive = cells.classes > 0
    batches = [(cells.x, cells.y, positive)]
    hot = hot_spots(batches, size_px=slide.tiles.size_px, mpp=slide.facts["mpp"])
    return share_of(int(positive.sum()), len(positive)), tuple(hot)


def _seconds(slide: SlideProducts, models: tuple[str, ...]) -> float | None:
    """Time of the jobs of a slide, from what Snakemake measured; None where it did not."""
    kept = slide.folder.parents[1] / "benchmarks"
    names = [f"{stage}/{slide.name}.tsv" for stage in ("tiling", "activation", "pseudomasks")]
    names += [
        f"{stage}/{slide.name}_{m}.tsv" for stage in ("inference", "stitching") for m in models
    ]
    times = []
    for path in (kept / name for name in names if (kept / name).is_file()):
        with path.open(newline="", encoding="utf-8") as file:
            times += [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    return sum(times) if times else None


def method_name(method: str) -> str:
    """A method of the evaluation in words."""
    return CONTROLS.get(method, method)


def cohort_scores(evaluation: Record) -> ScoreTable:
    """Means over slides of our cells, and of the controls."""
    own = evaluation["model"]
    methods = dict(sorted(evaluation["methods"].items(), key=lambda item: item[0] != own))
    return _score_table({method_name(name): _means(of) for name, of in methods.items()})


def class_scores(evaluation: Record) -> ScoreTable:
    """Means over slides of our cells, for each class."""
    classes = evaluation["class_methods"]
    return _score_table({name: _means(of) for name, of in classes.items()}, compare=False)


def slide_scores(evaluation: Record, slide: str) -> ScoreTable | None:
    """Scores of one slide, if it has truth."""
    own, scored = evaluation["model"], evaluation["slides"].get(slide)
    if not scored:
        return None
    intervals = evaluation["intervals"][slide]
    methods = sorted(scored, key=lambda name: (name != own, name))
    return _score_table(
        {
            method_name(method): {
                name: (value, *intervals[method][name]) for name, value in scored[method].items()
            }
            for method in methods
        }
    )


def headlines(cohort: Cohort) -> list[str]:
    """One sentence a model on how well its cells match the truth."""
    lines = []
    for model in cohort.models:
        evaluation = cohort.records.get(f"evaluation/{model}.json")
        scores = evaluation["methods"].get(evaluation["model"]) if evaluation else None
        if not evaluation or not scores:
            continue
        parts = [
            f"{METRICS[name].split(',')[0]} {_spoken(scores[name])}" for name in ("f1", "aji", "pq")
        ]
        number = scores["f1"]["n"]
        line = f"Cells of {model} match the truth with {', '.join(parts)}"
        line += f" on {number} slide{'s' if number > 1 else ''}"
        others = {name: of for name, of in evaluation["methods"].items() if name != model}
        if others:
            best = max(others, key=lambda name: (others[name]["f1"]["mean"], name))
            line += f"; the best plain control reaches F1 {others[best]['f1']['mean']:.3f}"
        lines.append(f"{line}.")
    return lines


def _spoken(score: dict[str, Any]) -> str:
    return f"{score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def _means(metrics: dict[str, dict[str, float]]) -> dict[str, tuple[float, float, float]]:
    return {name: (of["mean"], of["low"], of["high"]) for name, of in metrics.items()}


def _score_table(
    columns: dict[str, dict[str, tuple[float, float, float]]], *, compare: bool = True
) -> ScoreTable:
    rows = []
    for metric, label in METRICS.items():
        known = [of[metric][0] for of in columns.values() if metric in of]
        best = max(known, default=math.inf) if compare and len(columns) > 1 else math.inf
        rows.append(
            (
                label,
                [
                    Score(*of[metric], best=of[metric][0] == best) if metric in of else None
                    for of in columns.values()
                ],
            )
        )
    return ScoreTable(list(columns), rows)
