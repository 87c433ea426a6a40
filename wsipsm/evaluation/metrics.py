"""Scores of found objects against true ones: what each object adds, and the ratios of sums.

Every metric is a ratio of sums over objects, so that a field, a slide cut into blocks and a
resample of fields are all scored by the same two functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsipsm.evaluation.contingency import Contingency, of_labels
from wsipsm.evaluation.matching import best_pairs

SUMS = (
    "true",
    "found",
    "true_px",
    "found_px",
    "shared_px",
    "aji_shared",
    "aji_union",
    "aji_plus_shared",
    "aji_plus_union",
    "half_matched",
    "half_iou",
    "matched",
    "detected",
)
"""What is added up: objects and pixels of each side, and what matched.

`half_` is at IoU above 0.5, `matched` at the IoU of the settings, `detected` within the radius.
"""

METRICS = (
    "aji",
    "aji_plus",
    "pq",
    "dq",
    "sq",
    "dice",
    "pixel_iou",
    "precision",
    "recall",
    "f1",
    "ap",
    "detection_precision",
    "detection_recall",
    "detection_f1",
)
"""Names of the metrics, each 0 to 1, in the order of `ratios`."""


def score_labels(
    truth: NDArray[np.integer],
    found: NDArray[np.integer],
    *,
    iou: float = 0.5,
    radius_px: float = 12,
) -> dict[str, float]:
    """Metrics of one label image against another, both (y, x), 0 = background.

    Parameters
    ----------
    truth, found
        Label images; ids need not be consecutive.
    iou, radius_px
        As in `contributions`.
    """
    parts = contributions(of_labels(truth, found), iou=iou, radius_px=radius_px)
    return dict(zip(METRICS, map(float, ratios(parts.sum(axis=0))), strict=True))


def contributions(table: Contingency, *, iou: float, radius_px: float) -> NDArray[np.float64]:
    """What each object adds to `SUMS`: float64 (true objects then found ones, len(SUMS)).

    A matched pair is booked on its true object, what is left of the found ones on themselves.

    Parameters
    ----------
    table
        Objects and shared pixels.
    iou
        Least IoU of a match, for precision, recall, F1 and AP. Matches are one-to-one: as
        many as possible, and among these the largest sum of IoU.
    radius_px
        Largest distance of the centroids of a detection; as many one-to-one as possible, and
        among these the nearest.
    """
    overlap = table.iou
    parts = _plain_sums(table)
    at = {name: parts[:, column] for column, name in enumerate(SUMS)}

    # pixels of matched objects
    best = _greedy(table, overlap)
    fair = best_pairs(table.pair_true, table.pair_found, overlap)
    for name, pairs in (("aji", best), ("aji_plus", fair)):
        at[f"{name}_shared"][:], at[f"{name}_union"][:] = _jaccard(table, pairs)

    # numbers of matched objects
    half = np.flatnonzero(overlap > 0.5)
    at["half_matched"][table.pair_true[half]] = 1
    at["half_iou"][table.pair_true[half]] = overlap[half]
    close = np.flatnonzero(overlap >= iou)
    chosen = _most_pairs(table.pair_true[close], table.pair_found[close], overlap[close])
    at["matched"][table.pair_true[close[chosen]]] = 1
    at["detected"][_detected(table, radius_px)] = 1
    return parts


def _plain_sums(table: Contingency) -> NDArray[np.float64]:
    """Contributions that need no matching; the columns of the others are 0."""
    true, found = len(table.true), len(table.found)
    parts = np.zeros((true + found, len(SUMS)))
    parts[:true, SUMS.index("true")] = 1
    parts[true:, SUMS.index("found")] = 1
    parts[:true, SUMS.index("true_px")] = table.true.area
    parts[true:, SUMS.index("found_px")] = table.found.area
    parts[:true, SUMS.index("shared_px")] = np.bincount(table.pair_true, table.shared, true)
    return parts


def ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metrics (..., len(METRICS)) of sums (..., len(SUMS)).

    A ratio without denominator is 1 where there was nothing to find and nothing was found,
    else 0: an empty result is perfect on an empty slide, and worth nothing elsewhere.

    Notes
    -----
    AJI: Kumar et al. 2017, algorithm 1. AJI+: Graham et al. 2019, section III.E. PQ, DQ, SQ:
    Kirillov et al. 2019, equation 1. AP = TP / (TP + FP + FN), as in the Data Science Bowl
    2018; F1 = 2 TP / (2 TP + FP + FN).
    """
    of = dict(zip(SUMS, np.moveaxis(sums, -1, 0), strict=True))
    objects = of["true"] + of["found"]
    pixels = of["true_px"] + of["found_px"]
    fractions = {
        "aji": (of["aji_shared"], of["aji_union"]),
        "aji_plus": (of["aji_plus_shared"], of["aji_plus_union"]),
        "pq": (2 * of["half_iou"], objects),
        "dq": (2 * of["half_matched"], objects),
        "sq": (of["half_iou"], of["half_matched"]),
        "dice": (2 * of["shared_px"], pixels),
        "pixel_iou": (of["shared_px"], pixels - of["shared_px"]),
        "precision": (of["matched"], of["found"]),
        "recall": (of["matched"], of["true"]),
        "f1": (2 * of["matched"], objects),
        "ap": (of["matched"], objects - of["matched"]),
        "detection_precision": (of["detected"], of["found"]),
        "detection_recall": (of["detected"], of["true"]),
        "detection_f1": (2 * of["detected"], objects),
    }
    nothing = np.where(objects > 0, 0.0, 1.0)
    values = [
        np.where(below > 0, above / np.where(below > 0, below, 1), nothing)
        for above, below in (fractions[name] for name in METRICS)
    ]
    return np.stack(values, axis=-1)


def _greedy(table: Contingency, overlap: NDArray[np.float64]) -> NDArray[np.int64]:
    """Kumar's pairs: each true object takes the found one of largest IoU, taken or not."""
    order = np.lexsort((table.pair_found, -overlap, table.pair_true))
    return order[np.unique(table.pair_true[order], return_index=True)[1]]


def _jaccard(
    table: Contingency, pairs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersections and unions, true objects then found ones: pairs, then all that is left."""
    true, found, shared = table.pair_true[pairs], table.pair_found[pairs], table.shared[pairs]
    intersection = np.zeros(len(table.true) + len(table.found))
    intersection[true] = shared
    union = np.concatenate([table.true.area, table.found.area]).astype(np.float64)
    union[true] += table.found.area[found] - shared
    union[len(table.true) + found] = 0
    return intersection, union


def _most_pairs(
    rows: NDArray[np.int64], cols: NDArray[np.int64], gain: NDArray[np.float64]
) -> NDArray[np.int64]:
    """As many one-to-one pairs as possible, and among these those of largest gain (0 to 1)."""
    return best_pairs(rows, cols, 1 + gain / (len(rows) + 1))


def _detected(table: Contingency, radius_px: float) -> NDArray[np.int64]:
    """Positions of the true objects whose centroid has a found one to itself."""
    if not len(table.true) or not len(table.found):
        return np.zeros(0, np.int64)
    true, found = (cKDTree(np.column_stack([side.y, side.x])) for side in (table.true, table.found))
    near = true.sparse_distance_matrix(found, radius_px, output_type="ndarray")
    chosen = _most_pairs(near["i"], near["j"], 1 - near["v"] / radius_px)
    return np.asarray(near["i"][chosen], np.int64)
