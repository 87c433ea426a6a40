"""Detection scores, class by class, of points made by hand."""

import numpy as np
import pytest

from wsipsm.benchmark.points import centres, count_error, score_points

TRUE = {
    "negative": np.array([[10.0, 10], [10, 50], [10, 90]]),
    "positive": np.array([[50.0, 10], [50, 50]]),
}
FOUND = {
    "negative": np.array([[10.0, 17], [10, 50], [50, 52]]),
    "positive": np.array([[50.0, 10]]),
}


def test_scores_are_by_class_averaged_and_agnostic() -> None:
    scores = score_points(TRUE, FOUND, radius_px=10)
    assert scores["negative"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})
    assert scores["positive"] == pytest.approx({"precision": 1, "recall": 1 / 2, "f1": 2 / 3})
    assert scores["averaged"]["precision"] == pytest.approx(5 / 6)
    assert scores["agnostic"] == pytest.approx({"precision": 1, "recall": 4 / 5, "f1": 8 / 9})
    assert count_error(TRUE, FOUND) == 1


def test_a_smaller_radius_asks_for_more() -> None:
    scores = score_points(TRUE, FOUND, radius_px=5)
    assert scores["negative"]["recall"] == pytest.approx(1 / 3)
    assert scores["agnostic"]["recall"] == pytest.approx(3 / 5)


def test_centres_carry_the_class_of_their_object() -> None:
    instances, classes = np.zeros((30, 30), np.int64), np.zeros((30, 30), np.uint8)
    instances[2:7, 2:7], classes[2:7, 2:7] = 900, 2
    instances[20:24, 10:20], classes[20:24, 10:20] = 17, 1
    places, numbers = centres(instances, classes)
    assert places.tolist() == [[22, 15], [4.5, 4.5]]
    assert numbers.tolist() == [1, 2]
    assert centres(np.zeros((4, 4), int), classes[:4, :4])[0].shape == (0, 2)
