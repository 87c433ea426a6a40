"""What the distance head is to learn from objects."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.training.targets import IGNORE, distance_of, with_rims


def test_distance_peaks_once_in_each_object() -> None:
    y, x = np.indices((60, 60))
    labels = np.zeros((60, 60), np.int64)
    labels[(y - 30) ** 2 + (x - 18) ** 2 <= 100] = 11
    labels[(y - 30) ** 2 + (x - 40) ** 2 <= 121] = 7_000_000_000
    distance = distance_of(labels)
    assert distance[labels == 0].max() == 0
    for index in np.unique(labels)[1:]:
        inside = np.where(labels == index, distance, 0)
        assert inside.max() == 1
        assert 0 < inside[labels == index].min() < 0.2


def test_what_is_unclear_around_an_object_becomes_background_near_it_only() -> None:
    classes = np.full((40, 40), IGNORE)
    instances = np.zeros((40, 40), int)
    instances[10:20, 10:20] = 5
    classes[10:20, 10:15], classes[10:20, 15:20], classes[9, 9] = 2, IGNORE, 1
    out = with_rims(classes, instances, mpp=0.25)
    assert (out[10:20, 6:10] == 0).all()
    assert (out[10:20, :6] == IGNORE).all()
    assert (out[10:20, 10:20] == classes[10:20, 10:20]).all()
    assert out[9, 9] == 1


def test_no_object_has_no_distance() -> None:
    assert distance_of(np.zeros((20, 20), np.int64)).max() == 0


@given(st.integers(0, 2**32 - 1))
def test_names_of_objects_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 4, (4, 4)), np.ones((6, 6), int))
    names = np.array([0, 5, 900, 2**40])
    np.testing.assert_array_equal(distance_of(blocks), distance_of(names[blocks]))
