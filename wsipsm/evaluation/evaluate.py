"""Stage 9: score the cells of every slide against its truth, plain controls beside them."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsipsm import compute
from wsipsm.config import Evaluation
from wsipsm.errors import DataError, QuarantinedError, SettingsError
from wsipsm.evaluation import intervals
from wsipsm.evaluation.blocks import CELLS, Source, count_shard, fit, open_source
from wsipsm.evaluation.contingency import Contingency, gather
from wsipsm.evaluation.metrics import METRICS, SUMS, contributions, ratios
from wsipsm.evaluation.truth import Truth
from wsipsm.io.product import Provenance, fingerprint, identity, making, read_record
from wsipsm.io.tiles import Tiles

COUNTED = ("true", "found", "matched", "detected")
NO_TRUTH = "no truth is named for it"
TAUGHT = "its annotations taught the model"


@dataclass(frozen=True)
class Score:
    """Metrics of one method on one slide, their interval, and the numbers behind them."""

    values: NDArray[np.float64]
    interval: NDArray[np.float64]
    counts: dict[str, int]


Scores = dict[str, dict[str, Score]]
"""Scores of one slide by method, and in it by class; "" is all classes together."""


@dataclass(frozen=True)
class Cohort:
    """Slides to score, those that are not and why, and what all of them are made of."""

    model: str
    sources: dict[str, Source]
    skipped: dict[str, str]
    taught: list[str]
    inputs: dict[str, str]


def evaluate(
    target: Path,
    *,
    tiles: tuple[Path, ...],
    cells: tuple[Path, ...],
    truth: tuple[str, ...],
    encoder: Path,
    checkpoint: Path | None = None,
    settings: Evaluation,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Write the scores of a cohort as JSON.

    The file holds `slides` (slide, method, metric: value), `intervals` (the same: low and
    high), `counts` (numbers of true, found, matched and detected objects), `classes` (slide,
    class, metric: value, of the classes that truth and cells have in common), `methods`
    (method, metric: mean over slides, low, high, number of slides), `class_methods` (class,
    metric, of the cells alone), `skipped` (slide: reason), and `taught` (slides of which the
    model learned other annotations). Our cells go by the model's name.

    Parameters
    ----------
    target
        The product, a JSON file.
    tiles, cells, truth
        One for each slide: tiles.zarr, cells.parquet, and a file that
        `wsipsm.evaluation.truth.open_truth` reads, or "-".
    encoder
        Gives the architecture of the untrained control.
    checkpoint
        The model that found the cells. It names the annotations that it learned from; slides are
        not scored against those.
    settings, seed, workers
        As in the configuration; the seed is that of samples and resamples.

    Raises
    ------
    SettingsError
        Lists of different lengths, or cells of several models.
    DataError
        A truth cannot be used, or every slide was set aside.
    """
    if not len(tiles) == len(cells) == len(truth):
        raise SettingsError("evaluate: give --tiles, --cells and --truth once for each slide")
    cohort = _cohort(
        list(zip(tiles, cells, truth, strict=True)),
        Source(Path(), Path(), Path(), encoder=encoder, controls=settings.controls, seed=seed),
        checkpoint,
    )
    provenance = Provenance("evaluate", {**settings.model_dump(), "seed": seed}, cohort.inputs)
    with making(target, provenance) as partial:
        scores = {
            name: _score_slide(source, settings, workers or compute.allotted_cores())
            for name, source in cohort.sources.items()
        }
        result = {
            "provenance": provenance.as_dict(),
            "model": cohort.model,
            "skipped": cohort.skipped,
            "taught": cohort.taught,
            **_tables(scores, cohort.model, settings, seed),
        }
        if not scores:
            result["note"] = "no slide has truth: nothing was scored"
            logging.getLogger(__name__).warning("%s: %s", target, result["note"])
        partial.path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


def _lessons(checkpoint: Path | None) -> dict[str, str]:
    """Slides with annotations that a model learned from, and the SHA-256 of each file."""
    known = read_record(checkpoint).get("annotations", {}) if checkpoint else {}
    return {slide: facts["sha256"] for slide, facts in known.items()}


def _is_lesson(truth: Path, lessons: dict[str, str]) -> bool:
    if not lessons or truth.is_dir():
        return False
    return hashlib.sha256(truth.read_bytes()).hexdigest() in lessons.values()


def _cohort(
    slides: list[tuple[Path, Path, str]], common: Source, checkpoint: Path | None
) -> Cohort:
    """Sort out what can be scored."""
    sources: dict[str, Source] = {}
    skipped: dict[str, str] = {}
    inputs = {"encoder": identity(common.encoder)}
    inputs |= {"checkpoint": identity(checkpoint)} if checkpoint else {}
    lessons = _lessons(checkpoint)
    models = set()
    for tiles, cells, truth in slides:
        try:
            name = str(read_record(tiles)["slide"]["slide"])
            models.add(str(read_record(cells)["model"]))
        except QuarantinedError as error:
            skipped[tiles.parent.name] = str(error)
            continue
        if name in sources or name in skipped:
            raise SettingsError(f"evaluate: slide {name} is given twice; give each slide once")
        if truth == "-":
            skipped[name] = f"{NO_TRUTH}; {TAUGHT}" if name in lessons else NO_TRUTH
            continue
        if not Path(truth).exists():
            raise SettingsError(
                f"{truth}: no such truth; correct the columns truth and annotations"
            )
        if _is_lesson(Path(truth), lessons):
            skipped[name] = TAUGHT
            continue
        sources[name] = replace(common, tiles=tiles, cells=cells, truth=Path(truth))
        inputs[name] = " ".join([identity(tiles), identity(cells), fingerprint(Path(truth))])
    if not models:
        raise DataError(
            "evaluate: every slide was set aside; the logs of the stages before say why"
        )
    if len(models) > 1:
        raise SettingsError(f"evaluate: cells of {' and '.join(sorted(models))}; give one model's")
    taught = sorted(set(lessons) & set(sources))
    return Cohort(models.pop(), sources, skipped, taught, inputs | skipped)


def _score_slide(source: Source, settings: Evaluation, workers: int) -> Scores:
    """Scores of the cells, over all and by class, and of each control over all."""
    slide, truth = open_source(source)
    work = functools.partial(count_shard, source=source, fits=fit(source))
    label = f"evaluate {slide.slide}"
    blocks = compute.run_each(work, list(slide.grid.shards()), workers=workers, label=label)
    score = functools.partial(_score, mpp=slide.mpp, settings=settings, seed=source.seed)
    scores: Scores = {}
    for control in source.controls:
        table = _judged(gather([block.counts[control] for block in blocks]), truth, slide)
        scores[control] = {"": score(table)}
    classes = np.array([name for block in blocks for name in block.classes], np.str_)
    cells = [block.counts[CELLS] for block in blocks]
    table = gather(cells, found_classes=classes, true_class=truth.classes)
    table = _judged(table, truth, slide)
    common = sorted(set(table.true.classes) & set(table.found.classes) - {""})
    scores[CELLS] = {"": score(table)} | {name: score(table.of_class(name)) for name in common}
    return scores


def _judged(table: Contingency, truth: Truth, slide: Tiles) -> Contingency:
    """The objects whose centroid lies where the truth is known and no artefact excludes a tile."""
    true, found = (
        truth.covers(side.y, side.x) & ~slide.excludes(side.y, side.x)
        for side in (table.true, table.found)
    )
    return table.only(true, found)


def _score(table: Contingency, *, mpp: float, settings: Evaluation, seed: int) -> Score:
    parts = contributions(table, iou=settings.iou, radius_px=settings.radius_um / mpp)
    y = np.concatenate([table.true.y, table.found.y])
    x = np.concatenate([table.true.x, table.found.x])
    field = intervals.fields_of(y, x, side_px=settings.field_um / mpp)
    total = parts.sum(axis=0)
    return Score(
        values=ratios(total),
        interval=intervals.over_fields(parts, field, resamples=settings.resamples, seed=seed),
        counts={name: int(total[SUMS.index(name)]) for name in COUNTED},
    )


def _tables(
    scores: dict[str, Scores], model: str, settings: Evaluation, seed: int
) -> dict[str, Any]:
    """The parts of the product that hold numbers."""
    over_all = {
        slide: {model if method == CELLS else method: found[""] for method, found in of.items()}
        for slide, of in scores.items()
    }
    by_class = {
        slide: {name: found for name, found in of[CELLS].items() if name}
        for slide, of in scores.items()
    }
    average = functools.partial(_average, settings=settings, seed=seed)
    return {
        "slides": _each(over_all, lambda score: _named(score.values)),
        "intervals": _each(over_all, lambda score: _named(score.interval)),
        "counts": _each(over_all, lambda score: score.counts),
        "classes": _each(by_class, lambda score: _named(score.values)),
        "methods": average(over_all),
        "class_methods": average(by_class),
    }


def _each(
    scores: dict[str, dict[str, Score]], what: Callable[[Score], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    return {slide: {key: what(score) for key, score in of.items()} for slide, of in scores.items()}


def _named(values: NDArray[np.float64]) -> dict[str, Any]:
    """Values (..., metrics) by the name of the metric."""
    return dict(zip(METRICS, values.T.tolist(), strict=True))


def _average(
    scores: dict[str, dict[str, Score]], *, settings: Evaluation, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean over slides of each method or class, with its interval.

    From two slides on, slides are drawn again; of one alone the interval is that over its fields.
    """
    averages = {}
    for key in dict.fromkeys(key for of in scores.values() for key in of):
        known = [of[key] for of in scores.values() if key in of]
        values = np.stack([score.values for score in known])
        low, high = known[0].interval
        if len(known) > 1:
            low, high = intervals.over_slides(values, resamples=settings.resamples, seed=seed)
        averages[key] = {
            name: {"mean": mean, "low": bottom, "high": top, "n": len(known)}
            for name, mean, bottom, top in zip(
                METRICS, values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True
            )
        }
    return averages
