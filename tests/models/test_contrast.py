"""Objects are compared with what is around them, and with no other object."""

import numpy as np

from wsipsm.models.contrast import contrasts


def disk(x: int, radius: int) -> np.ndarray:
    rows, cols = np.indices((60, 80))
    return np.hypot(rows - 30, cols - x) <= radius


def test_contrast_is_to_the_ring_and_blind_to_neighbours() -> None:
    labels = np.where(disk(30, 10), 1, np.where(disk(52, 10), 2, 0)).astype(np.int32)
    values = np.choose(labels, [0.5, 1.5, 3.5]).astype(np.float32)
    values[~disk(30, 16) & ~disk(52, 16)] = 9  # beyond both rings
    assert contrasts(labels, values, ring_px=5, alone=7).tolist() == [1, 3]


def test_an_object_without_a_ring_is_compared_with_what_is_given() -> None:
    inner, outer = disk(40, 5), disk(40, 20)
    labels = np.where(inner, 1, np.where(outer, 2, 0)).astype(np.int32)
    values = np.full(labels.shape, 2, np.float32)
    assert contrasts(labels, values, ring_px=5, alone=0.5).tolist() == [1.5, 0]


def test_nothing_has_no_contrast() -> None:
    nothing = np.zeros((8, 8), np.int32)
    assert contrasts(nothing, nothing.astype(np.float32), ring_px=2, alone=0).shape == (0,)
