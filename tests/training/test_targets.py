"""What the heads are to learn from objects."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.training.targets import IGNORE, distance_of, offsets_of, pieces_of, with_rims


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


def test_no_object_has_no_distance_and_no_offset() -> None:
    assert distance_of(np.zeros((20, 20), np.int64)).max() == 0
    assert np.abs(offsets_of(np.zeros((20, 20), np.int64))).max() == 0


@given(st.integers(0, 2**32 - 1))
def test_names_of_objects_do_not_matter(seed: int) -> None:
    blocks = blocks_of(seed)
    names = np.array([0, 5, 900, 2**40])
    for target in (distance_of, offsets_of):
        np.testing.assert_array_equal(target(blocks), target(names[blocks]))


def blocks_of(seed: int) -> np.ndarray:
    """Objects that touch each other and the border, of several pieces, in all shapes."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 4, (4, 4)), np.ones((6, 6), int))
    return np.where(rng.random(blocks.shape) < 0.1, 0, blocks)


@given(st.integers(0, 2**32 - 1))
def test_offsets_reach_from_minus_1_to_1_about_the_centre_of_each_piece(seed: int) -> None:
    blocks = blocks_of(seed)
    maps, pieces = offsets_of(blocks), pieces_of(blocks)
    assert maps.dtype == np.float32
    assert np.abs(maps[:, blocks == 0]).max(initial=0) == 0
    for number in range(1, pieces.max() + 1):
        where = np.nonzero(pieces == number)
        for offsets, at in zip(maps, reversed(where), strict=True):
            own, away = offsets[where], at - at.mean()
            assert (np.sign(own) == np.sign(np.round(away, 9))).all()
            if at.min() < at.max():
                assert (own[at == at.min()] == -1).all()
                assert (own[at == at.max()] == 1).all()
            order = np.argsort(at, kind="stable")
            assert (np.diff(own[order]) >= 0).all()
            for side in (away < 0, away > 0):  # each side is even
                ratio = own[side] / away[side]
                np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio)), rtol=1e-5)


def test_offsets_of_an_object_depend_on_no_other() -> None:
    blocks = blocks_of(1)
    for number in range(1, 4):
        alone = np.where(blocks == number, number, 0)
        np.testing.assert_array_equal(
            offsets_of(blocks)[:, blocks == number], offsets_of(alone)[:, blocks == number]
        )


def test_a_line_one_pixel_wide_has_no_offset_across_it() -> None:
    line = np.zeros((9, 9), int)
    line[1:8, 0] = 3
    across, down = offsets_of(line)
    assert across.max() == across.min() == 0
    np.testing.assert_allclose(down[1:8, 0], np.linspace(-1, 1, 7), atol=1e-6)
