"""The pyramid of an image in tiles: each level has a quarter of the side of the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsipsm.config import Codec
from wsipsm.io import ngff
from wsipsm.io.runs import to_disk
from wsipsm.io.shard import Shard
from wsipsm.types import Region, TileGrid

FACTOR = 4
"""Of the sides of neighbouring levels, as in the slides of most scanners. A step of 2 would make
five times as many bytes of levels, and take as much longer."""

SMALLEST_SHARD_PX = 32


def count_levels(grid: TileGrid) -> int:
    """Levels whose shards are whole parts of the image's, down to the size of a tile."""
    levels = 1
    while (
        max(grid.height_px, grid.width_px) // FACTOR ** (levels - 1) > grid.tile_px
        and grid.shard_px % FACTOR**levels == 0
        and grid.shard_px // FACTOR**levels >= SMALLEST_SHARD_PX
    ):
        levels += 1
    return levels


def create_levels(
    group: zarr.Group, grid: TileGrid, *, fill: int, codec: Codec, channels: int = 3
) -> list[zarr.Array[Any]]:
    """Create the empty levels "0", "1" and so on of an image, uint8 (channels, y, x)."""
    levels = []
    for level in range(count_levels(grid)):
        factor = FACTOR**level
        shard_px = grid.shard_px // factor
        levels.append(
            ngff.create_array(
                group,
                str(level),
                shape=(channels, -(-grid.height_px // factor), -(-grid.width_px // factor)),
                chunk_px=math.gcd(grid.tile_px, shard_px),
                shard_px=shard_px,
                dtype="uint8",
                fill=fill,
                codec=codec,
            )
        )
    return levels


def levels_intact(levels: Sequence[zarr.Array[Any]], region: Region) -> bool:
    """Whether the shards of a region of level 0, and those above them, are as they were written."""
    return all(
        ngff.intact(array, region.scaled_down(FACTOR**level)) for level, array in enumerate(levels)
    )


class PyramidShard:
    """One shard of every level, made of tiles as they come; those that never come are `fill`.

    Parameters
    ----------
    levels
        Made by `create_levels` for `grid`.
    grid, shard
        The tile grid; row and column of the shard.
    """

    def __init__(
        self, levels: Sequence[zarr.Array[Any]], grid: TileGrid, shard: tuple[int, int]
    ) -> None:
        self._region = grid.shard(*shard)
        self._tile_px = grid.tile_px
        self._files = [Shard(array, *shard) for array in levels]
        self._levels = levels
        self._second = self._blank(1) if len(levels) > 1 else None

    def put(self, tile: Region, pixels: NDArray[np.uint8]) -> None:
        """Take the pixels uint8 (c, y, x) of a tile of the shard."""
        place = tile.within(self._region)
        row, col = place.y // self._tile_px, place.x // self._tile_px
        self._files[0].put(row, col, pixels)
        if self._second is not None:
            coarse = place.scaled_down(FACTOR)
            self._second[(slice(None), *coarse.slices)] = ngff.quarter(pixels)

    def write(self) -> None:
        """Write the files, and wait until they are safe from a power cut.

        Raises
        ------
        OSError
            The disk is full.
        """
        pixels = self._second
        for array, file in zip(self._levels[1:], self._files[1:], strict=True):
            assert pixels is not None
            side = array.chunks[-1]
            for top in range(0, pixels.shape[1], side):
                for left in range(0, pixels.shape[2], side):
                    part = pixels[:, top : top + side, left : left + side]
                    file.put(top // side, left // side, part)
            pixels = ngff.quarter(pixels)
        for path in [file.write() for file in self._files]:
            if path is not None:
                to_disk(path)

    def _blank(self, level: int) -> NDArray[np.uint8]:
        region = self._region.scaled_down(FACTOR**level)
        array = self._levels[level]
        return np.full((array.shape[0], region.height, region.width), array.fill_value, np.uint8)
