"""Scores against label images made by hand, and tables of them."""

import numpy as np
import pytest

from wsipsm.benchmark.score import Estimate, estimate, score_field
from wsipsm.benchmark.table import markdown, plain
from wsipsm.evaluation.metrics import METRICS


def squares(*corners: tuple[int, int], side: int = 10) -> np.ndarray:
    labels = np.zeros((60, 60), np.int64)
    for index, (row, col) in enumerate(corners, start=1):
        labels[row : row + side, col : col + side] = index
    return labels


def named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(METRICS, values.tolist(), strict=True))


def test_scores_are_those_of_the_definitions() -> None:
    truth = squares((0, 0), (0, 20), (20, 0))
    found = squares((0, 0), (2, 20), (40, 40))
    scores = named(score_field(truth, found, mpp=0.25))
    # one equal, one shifted by two rows (80 of 120 px), one missed, one invented
    assert scores["aji"] == pytest.approx((100 + 80) / (100 + 120 + 100 + 100))
    assert scores["dice"] == pytest.approx(2 * 180 / 600)
    assert scores["pq"] == pytest.approx((1 + 2 / 3) / 3)
    assert scores["sq"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["f1"] == scores["detection_f1"] == pytest.approx(2 / 3)


def test_a_detection_is_within_ten_pixels() -> None:
    truth = squares((0, 0))
    for shift, share in ((10, 1), (11, 0)):
        found = squares((shift, 0))
        assert named(score_field(truth, found, mpp=0.25))["detection_f1"] == share


def test_an_estimate_is_over_fields_and_seeds() -> None:
    values = np.zeros((3, 4, len(METRICS)))
    values[:, :, METRICS.index("aji")] = [[0, 0, 1, 1], [0.1, 0.1, 1, 1], [0.2, 0.2, 1, 1]]
    found = estimate(values)["aji"]
    assert (found.fields, found.seeds) == (4, 3)
    assert found.mean == pytest.approx(0.55)
    assert found.seed_sd == pytest.approx(0.05)
    assert 0.1 <= found.low < 0.2
    assert 0.9 < found.high <= 1
    assert estimate(values[:1])["aji"].seed_sd == 0


def test_a_table_shows_mean_spread_and_interval() -> None:
    rows = [
        {"method": "one", "AJI": Estimate(0.5, 0.41, 0.59, 0.01, 8, 3), "AUC": 0.9},
        {"method": "two", "AJI": Estimate(0.5, 0.41, 0.59, 0, 8, 1)},
    ]
    assert markdown(rows).splitlines() == [
        "| method | AJI | AUC |",
        "| --- | --- | --- |",
        "| one | 0.500 ± 0.010 [0.41, 0.59] | 0.900 |",
        "| two | 0.500 [0.41, 0.59] |  |",
    ]
    assert markdown(rows, brief=["AJI"]).splitlines()[2] == "| one | 0.500 | 0.900 |"
    assert plain(rows)[0]["AJI"]["fields"] == 8
