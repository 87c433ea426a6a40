"""Pixels to instances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from wsipsm.models.instances import (
    distance_to_edge,
    split_by_distance,
    split_by_height,
    tidy_objects,
)


def disks(*circles: tuple[int, int, int], shape: tuple[int, int] = (80, 80)) -> np.ndarray:
    y, x = np.indices(shape)
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 <= r * r for cy, cx, r in circles], axis=0)


def test_two_touching_disks_part_at_their_waist() -> None:
    labels = split_by_distance(disks((40, 25, 13), (40, 47, 13)), seed_distance_px=7)
    assert labels.max() == 2
    assert labels[40, 25] != labels[40, 47]
    assert abs(int((labels == 1).sum()) - int((labels == 2).sum())) < 30


def test_one_disk_stays_one() -> None:
    assert split_by_distance(disks((40, 40, 20)), seed_distance_px=7).max() == 1


def test_height_parts_objects_at_valleys_and_low_peaks_do_not_count() -> None:
    x = np.arange(80, dtype=np.float32)
    ridge = np.maximum(1 - np.abs(x - 20) / 20, 1 - np.abs(x - 60) / 20)
    height = np.tile(ridge, (80, 1)).astype(np.float32)
    mask = disks((40, 20, 15), (40, 40, 12), (40, 60, 15))
    assert split_by_height(mask, height, rise=0.1, least=0.3).max() == 2
    assert split_by_height(mask, height * 0.2, rise=0.01, least=0.3).max() == 0


def test_nothing_gives_nothing() -> None:
    empty = np.zeros((20, 20), bool)
    assert split_by_distance(empty, seed_distance_px=5).max() == 0
    assert split_by_height(empty, empty.astype(np.float32), rise=0.1, least=0.3).max() == 0
    assert tidy_objects(empty.astype(np.int32), min_area_px=4).max() == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 3.0]), st.integers(0, 40))
def test_tidy_objects_are_whole_and_inside_what_they_were(
    seed: int, opening: float, least: int
) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 4, (6, 6)).astype(np.int32)
    labels = np.kron(blocks, np.ones((7, 7), np.int32))
    labels[rng.random(labels.shape) < 0.05] = 0
    out = tidy_objects(labels, min_area_px=least, opening_px=opening)
    ids = np.unique(out)[1:]
    assert ids.tolist() == list(range(1, len(ids) + 1))
    for index in ids:
        inside = labels[out == index]
        own = np.bincount(inside).argmax()
        assert set(np.unique(inside)) <= {0, own}  # holes were filled, neighbours kept
        assert (out == index).sum() >= max(least, 1)


def test_an_opening_cuts_a_spur_off() -> None:
    labels = disks((40, 40, 15)).astype(np.int32)
    labels[40, 55:75] = 1
    out = tidy_objects(labels, min_area_px=10, opening_px=2)
    assert out[40, 70] == 0
    assert out[40, 40] == 1


@pytest.mark.parametrize("hole", [1, 4])
def test_holes_are_filled(hole: int) -> None:
    labels = disks((40, 40, 15)).astype(np.int32)
    labels[disks((40, 40, hole))] = 0
    assert tidy_objects(labels, min_area_px=10)[40, 40] == 1


def test_distances_are_exact_and_the_same_each_time() -> None:
    chance = np.random.default_rng(0)
    for shape in ((37, 61), (24, 24), (301, 150)):
        mask = ndimage.gaussian_filter(chance.normal(size=shape), 3) > -0.02
        exact = ndimage.distance_transform_edt(mask).astype(np.float32)
        for _ in range(5):
            np.testing.assert_array_equal(distance_to_edge(mask), exact)
    assert (distance_to_edge(np.ones((8, 8), bool)) == 1000).all()
