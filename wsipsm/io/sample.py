"""Where a slide is sampled to set what holds for all of it: squares, whatever the tile size."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsipsm.io.tiles import Tiles
from wsipsm.types import Region

SIDE_UM = 128.0
STEP_PX = 32
"""Sides are multiples of this, so that every stage of a network takes them."""


def sample_regions(slide: Tiles, *, count: int) -> list[Region]:
    """At most `count` squares of 128 microns, scattered over the tissue that is used.

    The squares lie on a lattice of their own, so that they do not follow the grid of tiles.
    Those with at least half as much tissue as the fullest are taken in an order of chance that
    is always the same.

    Returns
    -------
    list
        Equal squares, within the image unless it is smaller than `STEP_PX`.
    """
    grid = slide.grid
    least = min(SIDE_UM / slide.mpp, grid.height_px, grid.width_px)
    side = max(1, math.floor(least / STEP_PX)) * STEP_PX
    share = _tissue_share(slide, side)
    cells = np.argwhere(share >= share.max() / 2)
    lots = np.random.default_rng(0).random(share.shape)[tuple(cells.T)]
    drawn = cells[np.argsort(lots)][:count]
    return [_within(slide, int(row) * side, int(col) * side, side) for row, col in drawn]


def _tissue_share(slide: Tiles, side: int) -> NDArray[np.float64]:
    """Share of used tissue in each square of the lattice, (rows, cols)."""
    grid, tissue = slide.grid, slide.tissue()
    y, x = (
        (np.arange(size) + 0.5) * full / size
        for size, full in zip(tissue.shape, (grid.height_px, grid.width_px), strict=True)
    )
    rows, cols = (y // grid.tile_px).astype(int), (x // grid.tile_px).astype(int)
    used = tissue & slide.kept[rows][:, cols]
    shape = -(-grid.height_px // side), -(-grid.width_px // side)
    where = (y // side).astype(int)[:, None] * shape[1] + (x // side).astype(int)
    found = np.bincount(where.ravel(), used.ravel(), minlength=shape[0] * shape[1])
    return np.asarray(found, np.float64).reshape(shape)


def _within(slide: Tiles, y: int, x: int, side: int) -> Region:
    """The square, shifted into the image."""
    bottom, right = slide.grid.height_px - side, slide.grid.width_px - side
    return Region(max(0, min(y, bottom)), max(0, min(x, right)), side, side)
