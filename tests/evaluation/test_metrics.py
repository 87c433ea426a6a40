"""Metrics against their definitions, written out pixel by pixel."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment
from skimage.io import imread
from skimage.segmentation import expand_labels

from wsipsm.evaluation.metrics import METRICS, score_labels

DATA = Path(os.environ.get("WSIPSM_TEST_DATA", "../shared/data")) / "monuseg_train"
LABELS = hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 5))


def masks(labels):
    return [labels == one for one in np.unique(labels) if one]


def table_of(measure, truth, found):
    rows, cols = masks(truth), masks(found)
    return np.array([[measure(a, b) for b in cols] for a in rows]).reshape(len(rows), len(cols))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def kumar(truth, found):
    """Algorithm 1 of Kumar et al. 2017, as published: a found nucleus may be used twice."""
    truth_masks, found_masks = masks(truth), masks(found)
    used, correct, union = set(), 0, 0
    for nucleus in truth_masks:
        scores = [iou(nucleus, one) for one in found_masks]
        best = int(np.argmax(scores)) if scores else 0
        if not scores or scores[best] == 0:
            union += nucleus.sum()
            continue
        correct += (nucleus & found_masks[best]).sum()
        union += (nucleus | found_masks[best]).sum()
        used.add(best)
    union += sum(one.sum() for index, one in enumerate(found_masks) if index not in used)
    return correct / union


def aji_plus(truth, found):
    """AJI with the one-to-one matching of largest total IoU."""
    truth_masks, found_masks, table = masks(truth), masks(found), table_of(iou, truth, found)
    rows, cols = linear_sum_assignment(table, maximize=True)
    pairs = [(i, j) for i, j in zip(rows, cols, strict=True) if table[i, j] > 0]
    shared = sum((truth_masks[i] & found_masks[j]).sum() for i, j in pairs)
    union = sum((truth_masks[i] | found_masks[j]).sum() for i, j in pairs)
    alone = set(range(len(truth_masks))) - {i for i, _ in pairs}
    union += sum(truth_masks[i].sum() for i in alone)
    alone = set(range(len(found_masks))) - {j for _, j in pairs}
    return shared / (union + sum(found_masks[j].sum() for j in alone))


def most_matches(allowed):
    rows, cols = linear_sum_assignment(allowed.astype(float), maximize=True)
    return int(allowed[rows, cols].sum())


@settings(deadline=None)
@given(LABELS, LABELS)
def test_aji_is_kumars(truth, found):
    assume(truth.any() or found.any())
    assert score_labels(truth, found)["aji"] == pytest.approx(kumar(truth, found))


@settings(deadline=None)
@given(LABELS, LABELS)
def test_aji_plus_matches_one_to_one(truth, found):
    assume(truth.any() or found.any())
    scores = score_labels(truth, found)
    best = table_of(iou, truth, found)
    rows, cols = linear_sum_assignment(best, maximize=True)
    # two matchings of the same sum of IoU may differ in AJI+: compare where there is one
    total = best[rows, cols].sum()
    unique = all(
        best_without(best, i, j) < total - 1e-9
        for i, j in zip(rows, cols, strict=True)
        if best[i, j] > 0
    )
    assume(unique)
    assert scores["aji_plus"] == pytest.approx(aji_plus(truth, found))


def best_without(table, row, col):
    table = table.copy()
    table[row, col] = 0
    rows, cols = linear_sum_assignment(table, maximize=True)
    return table[rows, cols].sum()


@settings(deadline=None)
@given(LABELS, LABELS)
def test_panoptic_quality_at_half(truth, found):
    assume(truth.any() or found.any())
    table = table_of(iou, truth, found)
    hits = table[table > 0.5]
    missed, extra = table.shape[0] - len(hits), table.shape[1] - len(hits)
    scores = score_labels(truth, found)
    assert scores["dq"] == pytest.approx(len(hits) / (len(hits) + (missed + extra) / 2))
    assert scores["sq"] == pytest.approx(hits.mean() if len(hits) else 0)
    assert scores["pq"] == pytest.approx(scores["sq"] * scores["dq"])


@settings(deadline=None)
@given(LABELS, LABELS, st.floats(0.1, 0.9))
def test_matches_at_an_iou(truth, found, least):
    assume(truth.any() or found.any())
    table = table_of(iou, truth, found)
    hits, (true, extra) = most_matches(table >= least), table.shape
    scores = score_labels(truth, found, iou=least)
    assert scores["precision"] == pytest.approx(hits / extra if extra else 0)
    assert scores["recall"] == pytest.approx(hits / true if true else 0)
    assert scores["f1"] == pytest.approx(2 * hits / (true + extra))
    assert scores["ap"] == pytest.approx(hits / (true + extra - hits))


@settings(deadline=None)
@given(LABELS, LABELS, st.floats(0.3, 5))
def test_detections_within_a_radius(truth, found, radius):
    assume(truth.any() or found.any())

    def distance(a, b):
        return np.linalg.norm(np.argwhere(a).mean(0) - np.argwhere(b).mean(0))

    table = table_of(distance, truth, found)
    assume(not np.isclose(table, radius).any())
    hits, (true, extra) = most_matches(table <= radius), table.shape
    scores = score_labels(truth, found, radius_px=radius)
    assert scores["detection_precision"] == pytest.approx(hits / extra if extra else 0)
    assert scores["detection_recall"] == pytest.approx(hits / true if true else 0)
    assert scores["detection_f1"] == pytest.approx(2 * hits / (true + extra))


@settings(deadline=None)
@given(LABELS, LABELS)
def test_pixels(truth, found):
    assume(truth.any() or found.any())
    both, either = (truth > 0) & (found > 0), (truth > 0) | (found > 0)
    scores = score_labels(truth, found)
    assert scores["pixel_iou"] == pytest.approx(both.sum() / either.sum())
    assert scores["dice"] == pytest.approx(2 * both.sum() / ((truth > 0).sum() + (found > 0).sum()))


@settings(deadline=None)
@given(LABELS)
def test_the_truth_is_perfect_and_nothing_is_worth_nothing(truth):
    assume(truth.any())
    nothing = np.zeros_like(truth)
    renamed = np.where(truth > 0, 100 - truth, 0)
    assert set(score_labels(truth, renamed).values()) == {1.0}
    assert set(score_labels(truth, nothing).values()) == {0.0}
    assert set(score_labels(nothing, truth).values()) == {0.0}


def test_finding_nothing_where_nothing_is_is_perfect():
    nothing = np.zeros((5, 5), np.uint16)
    assert score_labels(nothing, nothing) == dict.fromkeys(METRICS, 1.0)


def kumar_by_id(truth, found):
    """Kumar's algorithm, fast enough for real label images."""
    areas = np.bincount(found.ravel())
    used, correct, union = set(), 0, 0
    for one in np.unique(truth)[1:]:
        nucleus = truth == one
        best = (0.0, 0, nucleus.sum(), None)
        for other, shared in zip(*np.unique(found[nucleus], return_counts=True), strict=True):
            together = nucleus.sum() + areas[other] - shared
            if other and shared / together > best[0]:
                best = (shared / together, shared, together, other)
        correct, union = correct + best[1], union + best[2]
        used.add(best[3])
    return correct / (union + sum(areas[i] for i in range(1, len(areas)) if i not in used))


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="no test data: set WSIPSM_TEST_DATA")
def test_aji_is_kumars_on_real_nuclei():
    paths = sorted((DATA / "labels").glob("*.png"))[:3]
    assert len(paths) == 3
    for path in paths:
        truth = imread(path).astype(np.int64)
        found = np.roll(expand_labels(truth, 2), (3, -2), axis=(0, 1))
        found[found % 7 == 0] = 0
        assert score_labels(truth, found)["aji"] == pytest.approx(kumar_by_id(truth, found))
