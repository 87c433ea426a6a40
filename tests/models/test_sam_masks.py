"""Masks cut out at once: the size of a cell, stable, and no two of one cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsipsm.models.sam_masks import Mask, cut_out, paint, stability, suppress
from wsipsm.types import Region


def disk(y: float, x: float, radius: float, *, side: int = 32) -> np.ndarray:
    """Logits that fall evenly from the centre of a disk, float32."""
    rows, cols = np.indices((side, side))
    return (radius - np.hypot(rows - y, cols - x)).astype(np.float32)


def test_a_crop_is_that_part_of_the_enlarged_mask() -> None:
    logits = disk(9.3, 20.1, 4.6) + disk(9.3, 20.1, 2.0)
    view = Region(-7, 40, 128, 128)
    mask = cut_out(logits, view=view, score=0.5, kind=2)
    at = (np.arange(128) + 0.5) / 4 - 0.5
    whole = ndimage.map_coordinates(
        logits, np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest"
    )
    found = np.zeros((128, 128), bool)
    found[mask.place.within(view).slices] = mask.pixels
    assert (found == (whole > 0)).mean() > 0.9999
    assert mask.pixels.size < 4 * mask.area
    assert (mask.kind, mask.score, mask.area) == (2, 0.5, mask.pixels.sum())


def test_a_mask_at_the_border_keeps_to_its_view() -> None:
    mask = cut_out(disk(0, 31, 3), view=Region(0, 0, 80, 80), score=1, kind=1)
    place = mask.place
    assert (place.y, place.x + place.width) == (0, 80)
    assert mask.pixels[0, -1]
    assert cut_out(np.full((32, 32), -1, np.float32), view=place, score=1, kind=1) is None


def test_stability_is_low_where_logits_are_flat() -> None:
    steep = np.stack([disk(16, 16, 8) * 10, disk(16, 16, 8) * 0.2, np.full((32, 32), -9)])
    found = stability(steep.astype(np.float32))
    assert found[0] > 0.9
    assert 0 < found[1] < 0.5
    assert found[2] == 0


def drawn(seed: int, count: int) -> list[Mask]:
    """Blobs at places close to each other, with scores in steps so that some are equal."""
    rng = np.random.default_rng(seed)
    return [
        Mask(
            Region(*(int(n) for n in rng.integers(0, 40, 2)), *pixels.shape),
            pixels,
            round(float(rng.random()), 1),
            1,
        )
        for pixels in (
            rng.random(tuple(rng.integers(3, 12, 2))) < rng.uniform(0.3, 1) for _ in range(count)
        )
    ]


def all_pairs(masks: list[Mask], overlap: float) -> list[int]:
    """Greedy suppression from the full matrix of overlaps, of masks at full size."""
    dense = np.zeros((len(masks), 60, 60), bool)
    for whole, mask in zip(dense, masks, strict=True):
        whole[mask.place.slices] = mask.pixels
    flat = dense.reshape(len(masks), 3600).astype(np.int64)
    shared = flat @ flat.T
    area = np.diag(shared)
    union = area[:, None] + area[None] - shared
    found: list[int] = []
    for index in np.argsort([-mask.score for mask in masks], kind="stable"):
        if all(shared[index, other] <= overlap * union[index, other] for other in found):
            found.append(int(index))
    return found


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.sampled_from([0, 0.05, 0.5]))
def test_suppression_is_that_of_the_matrix_of_all_pairs(seed, count, overlap) -> None:
    masks = drawn(seed, count)
    assert suppress(masks, overlap=overlap) == all_pairs(masks, overlap)


def test_small_masks_lie_over_large_ones_and_none_leaves_the_image() -> None:
    large = Mask(Region(-5, -5, 30, 30), np.ones((30, 30), bool), 0.9, 1)
    small = Mask(Region(3, 4, 2, 5), np.ones((2, 5), bool), 0.5, 1)
    away = Mask(Region(50, 50, 3, 3), np.ones((3, 3), bool), 0.5, 1)
    for order, name in (((small, large, away), 1), ((large, small, away), 2)):
        labels = paint(order, shape=(20, 25))
        assert (labels[3:5, 4:9] == name).all()
        assert (labels == 3 - name).sum() == 20 * 25 - 10
    assert not paint([], shape=(4, 4)).any()


@pytest.mark.parametrize("score", [0.2, 0.9])
def test_the_better_of_two_masks_of_one_cell_stays(score: float) -> None:
    first = cut_out(disk(10, 10, 5), view=Region(0, 0, 64, 64), score=score, kind=1)
    second = cut_out(disk(10, 11, 5), view=Region(0, 0, 64, 64), score=0.5, kind=1)
    assert suppress([first, second], overlap=0.05) == [0 if score > 0.5 else 1]
