"""Shards coded chunk by chunk: what zarr reads is what was put, in the bytes zarr expects."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from wsipsm.io import ngff
from wsipsm.io.pyramid import PyramidShard, count_levels, create_levels
from wsipsm.io.shard import Shard
from wsipsm.types import Region, TileGrid

from .full_disk import last_words

NOISE = np.random.default_rng(0).integers(0, 200, (3, 256, 256), dtype=np.uint8)
SIZES = {"shape": (3, 300, 500), "chunk_px": 64, "shard_px": 256, "dtype": "uint8", "fill": 255}


def put_all(array: zarr.Array, row: int, col: int, pixels: np.ndarray) -> Path:
    shard = Shard(array, row, col)
    for top in range(0, pixels.shape[1], 64):
        for left in range(0, pixels.shape[2], 64):
            shard.put(top // 64, left // 64, pixels[:, top : top + 64, left : left + 64])
    written = shard.write()
    assert written is not None
    return written


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_a_shard_is_what_zarr_would_write(tmp_path: Path, codec: str) -> None:
    pixels = NOISE.copy()
    pixels[:, :64, 64:128] = 255  # a chunk that is not stored
    ours, theirs = (
        ngff.create_array(ngff.open_group(tmp_path / name, "w"), "0", **SIZES, codec=codec)
        for name in ("ours", "theirs")
    )
    regions = {(0, 0): Region(0, 0, 256, 256), (1, 1): Region(256, 256, 44, 244)}
    for at, region in regions.items():
        part = pixels[:, : region.height, : region.width]
        put_all(ours, *at, part)
        ngff.write_shard(theirs, region, part)
        assert ngff.intact(ours, region)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    if codec == "zstd":
        np.testing.assert_array_equal(np.asarray(ours)[:, :256, :256], pixels)
    plain = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
    with zarr.config.set(plain):  # the reader of zarr itself
        again = np.asarray(ngff.open_group(tmp_path / "ours")["0"])
    np.testing.assert_array_equal(again, np.asarray(theirs))


def test_a_shard_of_nothing_but_fill_has_no_file(tmp_path: Path) -> None:
    array = ngff.create_array(ngff.open_group(tmp_path / "a", "w"), "0", **SIZES)
    shard = Shard(array, 0, 0)
    shard.put(0, 0, np.full((3, 64, 64), 255, np.uint8))
    assert shard.write() is None
    assert not shard.path.exists()


@pytest.mark.parametrize(
    ("tile_px", "shard_tiles", "sides"),
    [(512, 4, [2048, 512, 128, 32]), (512, 5, [2560, 640, 160, 40]), (64, 2, [128, 32])],
)
def test_levels_are_whole_parts(
    tmp_path: Path, tile_px: int, shard_tiles: int, sides: list[int]
) -> None:
    grid = TileGrid(40_000, 30_001, tile_px, shard_tiles)
    levels = create_levels(ngff.open_group(tmp_path / "a", "w"), grid, fill=255, codec="zstd")
    assert [array.shards[-1] for array in levels if array.shards] == sides
    assert count_levels(TileGrid(tile_px, tile_px, tile_px, shard_tiles)) == 1


def test_a_pyramid_of_tiles_is_that_of_the_whole(tmp_path: Path) -> None:
    grid = TileGrid(250, 203, tile_px=32, shard_tiles=4)
    image = np.random.default_rng(1).integers(0, 256, (3, 250, 203), dtype=np.uint8)
    levels = create_levels(ngff.open_group(tmp_path / "a", "w"), grid, fill=255, codec="zstd")
    for shard in grid.shards():
        pyramid = PyramidShard(levels, grid, shard)
        for place in grid.tiles_of_shard(*shard):
            tile = grid.tile(*place)
            pyramid.put(tile, image[(slice(None), *tile.slices)])
        pyramid.write()
    assert len(levels) == 2
    np.testing.assert_array_equal(np.asarray(levels[0]), image)
    np.testing.assert_array_equal(np.asarray(levels[1]), ngff.quarter(image))


FULL_DISK = """
import sys, numpy as np
from pathlib import Path
from wsipsm.io import ngff
from wsipsm.io.product import Provenance, making
from wsipsm.io.pyramid import PyramidShard, create_levels
from wsipsm.types import TileGrid
noise = np.random.default_rng(0).integers(0, 200, (3, 1024, 1024), dtype=np.uint8)
grid = TileGrid(1024, 1024, 1024, 1)
with making(Path(sys.argv[1]) / "a.zarr", Provenance("s", {}, {})) as partial:
    levels = create_levels(ngff.open_group(partial.path, "a"), grid, fill=255, codec="zstd")
    pyramid = PyramidShard(levels, grid, (0, 0))
    pyramid.put(grid.tile(0, 0), noise)
    pyramid.write()
"""


def test_a_disk_that_is_really_full_is_one_sentence(tmp_path: Path) -> None:
    last = last_words(FULL_DISK, tmp_path)
    assert last.startswith("wsipsm.errors.WsipsmError: ")
    assert "a.zarr.partial/content/0/c/0/0/0: the disk is full; free some space" in last
