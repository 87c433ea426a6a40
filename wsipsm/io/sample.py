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


def sample_regions(
    slide: Tiles, *, count: int, among: NDArray[np.bool_] | None = None
) -> list[Region]:
    """At most `count` squares of 128 microns, scattered over the tissue that is used.

    The squares lie on a lattice of their own, so that they do not follow the grid of tiles.
    Those with at least half as much tissue as the fullest are taken in an order of chance that
    is always the same.

    Parameters
    ----------
    among
        bool (y, x), on the grid of the overview: where to sample, if not the whole slide. The
        lattice then begins at the corner of the box around the tissue there.

    Returns
    -------
    list
        Equal squares, within the image, or that box, unless it is smaller than `STEP_PX`.
    """
    used = slide.used_tissue()
    box = Region(0, 0, *used.shape)
    if among is not None:
        used &= among
        box = _box(used)
    area = _on_slide(slide, box, used.shape)
    least = min(SIDE_UM / slide.mpp, area.height, area.width)
    side = max(1, math.floor(least / STEP_PX)) * STEP_PX
    share = _tissue_share(used[box.slices], area, side)
    cells = np.argwhere(share >= share.max() / 2)
    lots = np.random.default_rng(0).random(share.shape)[tuple(cells.T)]
    drawn = cells[np.argsort(lots)][:count]
    return [_within(area, int(row) * side, int(col) * side, side) for row, col in drawn]


def _box(mask: NDArray[np.bool_]) -> Region:
    """The smallest rectangle around a mask that is not empty."""
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
    return Region(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)


def _on_slide(slide: Tiles, box: Region, shape: tuple[int, ...]) -> Region:
    """A rectangle of the overview, whose size is `shape`, in working pixels, rounded outwards."""
    height, width = slide.grid.height_px, slide.grid.width_px
    y, x = box.y * height // shape[0], box.x * width // shape[1]
    bottom = -(-(box.y + box.height) * height // shape[0])
    right = -(-(box.x + box.width) * width // shape[1])
    return Region(y, x, bottom - y, right - x)


def _tissue_share(used: NDArray[np.bool_], area: Region, side: int) -> NDArray[np.float64]:
    """Tissue in each square of the lattice over an area of the slide, (rows, cols)."""
    y, x = (
        (np.arange(size) + 0.5) * full / size
        for size, full in zip(used.shape, (area.height, area.width), strict=True)
    )
    shape = -(-area.height // side), -(-area.width // side)
    where = (y // side).astype(int)[:, None] * shape[1] + (x // side).astype(int)
    found = np.bincount(where.ravel(), used.ravel(), minlength=shape[0] * shape[1])
    return np.asarray(found, np.float64).reshape(shape)


def _within(area: Region, y: int, x: int, side: int) -> Region:
    """A square at a place of an area, shifted into it."""
    bottom, right = area.height - side, area.width - side
    return Region(area.y + max(0, min(y, bottom)), area.x + max(0, min(x, right)), side, side)
