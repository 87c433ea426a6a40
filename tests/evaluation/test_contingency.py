"""Counting block by block gives the table of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from wsipsm.evaluation.contingency import count, gather, of_labels
from wsipsm.types import Region, TileGrid

SIZE = (60, 70)


def random_labels(seed, share=0.5):
    generator = np.random.default_rng(seed)
    coarse = generator.random((SIZE[0] // 5, SIZE[1] // 5)) < share
    mask = np.kron(coarse, np.ones((5, 5), bool)) & (generator.random(SIZE) < 0.9)
    return label(mask, connectivity=1).astype(np.int64)


def pairs_of(table):
    """The table without the order of its objects: areas, centroids and shared pixels."""
    true = list(zip(table.true.area, table.true.y, table.true.x, strict=True))
    found = list(zip(table.found.area, table.found.y, table.found.x, strict=True))
    pairs = zip(table.pair_true, table.pair_found, table.shared, strict=True)
    return sorted(true), sorted(found), sorted((true[i], found[j], n) for i, j, n in pairs)


def in_blocks(truth, found, *, tile_px, halo_px):
    """Count as a slide is counted: each block numbers the found objects in its own way."""
    blocks = []
    grid = TileGrid(*truth.shape, tile_px, 1)
    for shard in grid.shards():
        core = grid.shard(*shard)
        y, x = max(core.y - halo_px, 0), max(core.x - halo_px, 0)
        bottom = min(core.y + core.height + halo_px, SIZE[0])
        right = min(core.x + core.width + halo_px, SIZE[1])
        region = Region(y, x, bottom - y, right - x)
        own = np.unique(found[region.slices], return_inverse=True)[1]
        own = own.reshape(region.height, region.width) + (found[region.slices].min() > 0)
        blocks.append(count(truth[region.slices], own, region=region, core=core))
    return gather(blocks)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([16, 25, 64]))
def test_blocks_add_up_to_the_whole(first, second, tile_px):
    truth, found = random_labels(first), random_labels(second, 0.3)
    whole = of_labels(truth, found)
    assert pairs_of(in_blocks(truth, found, tile_px=tile_px, halo_px=70)) == pairs_of(whole)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_table_holds_each_overlap(first, second):
    truth, found = random_labels(first), random_labels(second)
    table = of_labels(truth * 1000, found * 7)
    assert np.array_equal(table.true.area, np.bincount(truth.ravel())[1:])
    assert np.array_equal(table.found.area, np.bincount(found.ravel())[1:])
    for true, one, shared in zip(table.pair_true, table.pair_found, table.shared, strict=True):
        assert shared == ((truth == true + 1) & (found == one + 1)).sum()
    assert table.shared.sum() == ((truth > 0) & (found > 0)).sum()


def test_centroids_lie_at_pixel_centres():
    truth = np.zeros((4, 6), np.uint8)
    truth[1:3, 2] = 5
    table = of_labels(truth, np.zeros_like(truth))
    assert (table.true.y[0], table.true.x[0]) == (2.0, 2.5)
    assert len(table.found) == 0


def test_a_class_is_a_table_of_its_own():
    truth = np.array([[1, 1, 0, 2, 2]])
    found = np.array([[1, 0, 0, 2, 2]])
    whole = Region(0, 0, 1, 5)
    table = gather(
        [count(truth, found, region=whole, core=whole)],
        found_classes=np.array(["a", "b"]),
        true_class={1: "b", 2: "b"},
    )
    part = table.of_class("b")
    assert (len(part.true), len(part.found)) == (2, 1)
    assert (list(part.pair_true), list(part.pair_found), list(part.shared)) == ([1], [0], [2])
    assert part.iou == pytest.approx([1.0])


def test_no_blocks_give_an_empty_table():
    table = gather([])
    assert len(table.true) == len(table.found) == len(table.shared) == 0
