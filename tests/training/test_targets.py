"""What the downstream network is to learn from a pseudo mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.training.targets import IGNORE, make_targets


def two_disks() -> np.ndarray:
    y, x = np.indices((60, 60))
    labels = np.zeros((60, 60), np.int64)
    labels[(y - 30) ** 2 + (x - 18) ** 2 <= 100] = 11
    labels[(y - 30) ** 2 + (x - 40) ** 2 <= 121] = 7_000_000_000
    return labels


def test_voronoi_parts_touching_nuclei_and_marks_their_centres() -> None:
    labels = two_disks()
    targets = make_targets(
        np.where(labels == 11, 1, np.where(labels > 11, 2, 0)), labels, disk_px=3
    )
    assert targets.voronoi[30, 18] == 1
    assert targets.voronoi[30, 40] == 2
    assert (targets.voronoi[30, 25:33] == 0).any()
    assert targets.voronoi[2, 2] == IGNORE


def test_distance_peaks_once_in_each_object() -> None:
    labels = two_disks()
    targets = make_targets((labels > 0).astype(int), labels, disk_px=3)
    assert targets.distance[labels == 0].max() == 0
    for index in np.unique(labels)[1:]:
        inside = np.where(labels == index, targets.distance, 0)
        assert inside.max() == 1
        assert 0 < inside[labels == index].min() < 0.2


def test_an_empty_tile_teaches_background_only() -> None:
    classes = np.zeros((20, 20), np.uint8)
    classes[:3] = IGNORE
    targets = make_targets(classes, np.zeros((20, 20), np.int64), disk_px=2)
    assert (targets.voronoi == IGNORE).all()
    assert targets.distance.max() == 0
    assert (targets.classes == classes).all()


@given(st.integers(0, 2**32 - 1))
def test_names_of_objects_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 4, (4, 4)), np.ones((6, 6), int))
    names = np.array([0, 5, 900, 2**40])
    classes = (blocks > 0).astype(int)
    first = make_targets(classes, blocks, disk_px=2)
    second = make_targets(classes, names[blocks], disk_px=2)
    for name in ("classes", "voronoi", "distance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
