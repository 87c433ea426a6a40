"""Detection scores: points of classes against points, as BCData is scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.errors import QuarantinedError
from wsipsm.evaluation.contingency import Contingency, Objects
from wsipsm.evaluation.metrics import METRICS, contributions, ratios
from wsipsm.io import ngff
from wsipsm.io.product import read_record

RADII_UM = (2.5, 1.25)
"""10 px and 5 px at 0.25 microns per pixel."""

CLASSES = ("negative", "positive")
"""Classes of IHC by rising DAB: class 1 and class 2 of a pseudo mask."""

UNCLEAR = "unclear"

SCORES = ("precision", "recall", "f1")

Points = Mapping[str, NDArray[np.float64]]
"""Points (n, 2) as (y, x), in pixels, of each class."""


def found_points(product: Path) -> dict[str, NDArray[np.float64]]:
    """Points of a product with label images: those that it names, else centres of instances.

    A single class is called negative, for want of a second; `unclear` are those of no class.
    """
    try:
        read_record(product)
    except QuarantinedError:
        return {name: np.zeros((0, 2)) for name in (*CLASSES, UNCLEAR)}
    group = ngff.open_group(product)
    if "points" in group:
        points = np.asarray(group["points"], np.float64).reshape(-1, 3)
        places, numbers = points[:, :2] + 0.5, points[:, 2].astype(np.int64)
    else:
        classes, instances = (
            np.asarray(group[f"labels/{name}/0"]) for name in ("classes", "instances")
        )
        places, numbers = centres(instances, classes)
    found = {name: places[numbers == at] for at, name in enumerate(CLASSES, start=1)}
    return found | {UNCLEAR: places[(numbers < 1) | (numbers > len(CLASSES))]}


def centres(
    instances: NDArray[np.integer], classes: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Centre (n, 2) and class (n,) of each object of a label image (y, x)."""
    ids, dense = np.unique(instances, return_inverse=True)
    dense = dense.reshape(instances.shape)
    wanted = np.flatnonzero(ids)
    if not len(wanted):
        return np.zeros((0, 2)), np.zeros(0, np.int64)
    middle = np.array(ndimage.center_of_mass(np.ones(dense.shape), dense, wanted)) + 0.5
    return middle, np.asarray(ndimage.median(classes, dense, wanted), np.int64)


def score_points(true: Points, found: Points, *, radius_px: float) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each class, their mean over classes, and of all as one class.

    Found points of a class that the truth does not have count for the last only.

    Returns
    -------
    dict
        By the name of a class, `averaged` and `agnostic`: `SCORES`.
    """
    names = list(true)
    scores = {name: _score([true[name]], [found[name]], radius_px) for name in names}
    averaged = {one: float(np.mean([scores[name][one] for name in names])) for one in SCORES}
    agnostic = _score([true[name] for name in names], list(found.values()), radius_px)
    return {**scores, "averaged": averaged, "agnostic": agnostic}


def count_error(true: Points, found: Points, name: str = "positive") -> int:
    """Difference of the numbers of points of a class, without its sign."""
    return abs(len(true[name]) - len(found[name]))


def _score(
    true: list[NDArray[np.float64]], found: list[NDArray[np.float64]], radius_px: float
) -> dict[str, float]:
    nothing = np.zeros(0, np.int64)
    table = Contingency(_objects(true), _objects(found), nothing, nothing, nothing)
    parts = contributions(table, iou=0.5, radius_px=radius_px)
    values = dict(zip(METRICS, ratios(parts.sum(axis=0)).tolist(), strict=True))
    return {name: values[f"detection_{name}"] for name in SCORES}


def _objects(points: list[NDArray[np.float64]]) -> Objects:
    places = np.concatenate([np.zeros((0, 2)), *points])
    none = np.full(len(places), "", np.str_)
    return Objects(np.zeros(len(places), np.int64), places[:, 0], places[:, 1], none)
