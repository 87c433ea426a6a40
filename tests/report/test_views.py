"""Arrays at the size of a page, against the same thing done in one go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.io.tiles import open_tiles
from wsipsm.report import views
from wsipsm.types import Region, TileGrid

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(shape=sizes, out=sizes, tile_px=st.integers(1, 9), seed=st.integers(0, 99))
def test_means_over_blocks_are_those_of_the_whole(
    shape: tuple[int, int], out: tuple[int, int], tile_px: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, *shape)).astype(np.uint8)
    grid = TileGrid(*shape, tile_px, 2)
    regions = [grid.shard(*shard) for shard in grid.shards()]
    found = views.block_means(
        lambda region: pixels[(slice(None), *region.slices)], regions, shape=shape, out=out
    )
    height, width = (min(pair) for pair in zip(shape, out, strict=True))
    rows, cols = (np.arange(n) * m // n for n, m in zip(shape, (height, width), strict=True))
    for y, x in [(0, 0), (height - 1, width - 1), (height // 2, width // 3)]:
        block = pixels[:, rows == y][:, :, cols == x]
        np.testing.assert_allclose(found[:, y, x], block.mean(axis=(1, 2)), rtol=1e-5)


def test_overview_is_the_slide(products: Any) -> None:
    tiles = open_tiles(products.tiles)
    size = views.frame_size(tiles, longest_px=256)
    assert size == (256, 256)
    image = views.overview(tiles, size)
    means = np.asarray(tiles.image).reshape(3, 256, 2, 256, 2).mean(axis=(2, 4))
    kept = np.kron(tiles.kept, np.ones((64, 64), bool))
    assert np.abs(image - means)[:, kept].max() <= 1
    assert image.std() > 10


def test_frame_is_never_larger_than_the_slide(products: Any) -> None:
    tiles = open_tiles(products.tiles)
    assert views.frame_size(tiles, longest_px=5000) == (512, 512)


@pytest.mark.parametrize("side_um", [10, 100, 10_000])
def test_densest_box_lies_in_the_slide(products: Any, side_um: float) -> None:
    tiles = open_tiles(products.tiles)
    x, y = np.array([900.0, 1020, 1022, 1023]), np.array([10.0, 1000, 1021, 1023])
    box = views.densest_box(tiles, x, y, side_um)
    side = min(round(side_um / tiles.mpp), 512)
    assert (box.height, box.width) == (side, side)
    assert box.y + side <= 512
    assert box.x + side <= 512
    inside = (x / 2 >= box.x) & (x / 2 < box.x + side) & (y / 2 >= box.y) & (y / 2 < box.y + side)
    assert inside.sum() >= 2


def test_without_cells_the_box_lies_in_tissue(products: Any) -> None:
    tiles = open_tiles(products.tiles)
    none = np.zeros(0)
    box = views.densest_box(tiles, none, none, 20)
    row, col = (
        (start + length // 2) // 128 for start, length in ((box.y, box.height), (box.x, box.width))
    )
    assert tiles.tissue_share[row, col] == tiles.tissue_share[tiles.kept].max()


def test_large_details_are_read_coarsely(products: Any) -> None:
    tiles, box = open_tiles(products.tiles), Region(32, 64, 256, 256)
    full = views.detail_image(tiles, box)
    coarse = views.detail_image(tiles, box, longest_px=64)
    assert full.shape == (3, 256, 256)
    assert coarse.shape == (3, 64, 64)
    means = full.reshape(3, 64, 4, 64, 4).mean(axis=(2, 4))
    assert np.abs(coarse - means).mean() < 10
