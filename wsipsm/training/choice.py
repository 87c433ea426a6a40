"""Which fields to learn from: dense, varied and confident ones; a bad one costs dearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from wsipsm.errors import DataError
from wsipsm.training.cohort import Masked
from wsipsm.training.targets import IGNORE
from wsipsm.types import Region

LOOKED_AT = 200
"""Most fields that are compared; more are drawn by chance."""


QUALITIES = ("density", "variety", "confidence")


@dataclass(frozen=True)
class Field:
    """A place to learn from, and what speaks for it.

    Attributes
    ----------
    slide
        Position of its slide in the cohort.
    region
        In working pixels.
    cells
        Number of cells that touch it.
    density
        Cells in a square of 100 microns.
    variety
        Deviation of the logarithm of the cells' areas.
    confidence
        Mean confidence in the pixels of its cells, times the share of pixels that are known.
    """

    slide: int
    region: Region
    cells: int
    density: float
    variety: float
    confidence: float


def choose_fields(
    cohort: Sequence[Masked], *, count: int, seed: int
) -> tuple[list[Field], list[dict[str, Any]]]:
    """The best fields of a cohort, and what its record says of each: place, figures, reason.

    Where any slide is annotated, its annotated fields; otherwise tiles with tissue. Fields are
    ranked by the product of their ranks in density, variety and confidence, and taken from the
    slides in turn.

    Parameters
    ----------
    count
        Number of fields; 0 takes all.

    Raises
    ------
    DataError
        No field shows a cell.
    """
    looked_at = [field for field in _candidates(cohort, seed) if field.cells]
    if not looked_at:
        raise DataError("no field or tile shows a cell to learn from; look at the pseudo masks")
    score = scores(looked_at)
    picked = in_turn(looked_at, score)[: count or None]
    facts = [_facts(cohort, looked_at, score, index) for index in picked]
    return [looked_at[index] for index in picked], facts


def _candidates(cohort: Sequence[Masked], seed: int) -> list[Field]:
    places = [
        (number, region)
        for number, slide in enumerate(cohort)
        if slide.fields
        for region in slide.fields.regions()
    ]
    if not places:
        places = [
            (number, slide.tiles.grid.tile(*tile))
            for number, slide in enumerate(cohort)
            for tile in slide.tiles.kept_tiles()
        ]
    chosen = np.random.default_rng(seed).permutation(len(places))[:LOOKED_AT]
    return [_look(cohort, *places[index]) for index in sorted(chosen)]


def _look(cohort: Sequence[Masked], number: int, region: Region) -> Field:
    slide = cohort[number]
    classes, instances, confidence = lesson(slide, region)
    _, areas = np.unique(instances[instances > 0], return_counts=True)
    known = classes != IGNORE
    side_um = region.height * slide.tiles.mpp * region.width * slide.tiles.mpp
    return Field(
        number,
        region,
        cells=len(areas),
        density=len(areas) * 1e4 / side_um,
        variety=float(np.log(areas).std()) if len(areas) else 0.0,
        confidence=float(confidence[instances > 0].mean() * known.mean()) if len(areas) else 0.0,
    )


def lesson(
    slide: Masked, region: Region
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """What a region teaches: classes (255 ignore), instances, confidence 0 to 1; all (y, x).

    Of an annotated slide only what is annotated; that is sure. Objects that are ignored are no
    instances.
    """
    classes, instances = slide.labels(region)
    confidence = slide.confidence(region)
    if slide.fields:
        known = slide.fields.known(region)
        classes, confidence = np.where(known, classes, IGNORE), known.astype(np.float32)
    sure = np.where(classes == IGNORE, 0, instances)
    return classes.astype(np.uint8), sure.astype(np.int64), confidence


def scores(fields: Sequence[Field]) -> NDArray[np.float64]:
    """How good each field is to learn from: the product of its ranks, 0 to 1, (n,)."""
    columns = [[getattr(field, name) for field in fields] for name in QUALITIES]
    ranks = [rankdata(column, method="average") / len(fields) for column in columns]
    return np.asarray(math.prod(ranks), np.float64)


def in_turn(fields: Sequence[Field], score: NDArray[np.float64]) -> list[int]:
    """Positions of the fields: the best of each slide, the second best of each, and so on."""
    taken: dict[int, int] = {}
    queue = []
    for index in sorted(range(len(fields)), key=lambda i: (-score[i], i)):
        slide = fields[index].slide
        taken[slide] = taken.get(slide, 0) + 1
        queue.append((taken[slide], -score[index], index))
    return [index for _, _, index in sorted(queue)]


def _facts(
    cohort: Sequence[Masked], fields: list[Field], score: NDArray[np.float64], index: int
) -> dict[str, Any]:
    field = fields[index]
    figures = {name: round(float(getattr(field, name)), 3) for name in QUALITIES}
    place = [field.region.y, field.region.x, field.region.height, field.region.width]
    rank = int((score > score[index]).sum()) + 1
    words = ", ".join(f"{name} {value:g}" for name, value in figures.items())
    return {
        "slide": cohort[field.slide].tiles.slide,
        "region": place,
        "cells": field.cells,
        **figures,
        "reason": f"{rank} of {len(fields)} by {words}",
    }
