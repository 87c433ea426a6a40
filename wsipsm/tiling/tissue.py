"""Where a slide holds tissue: stained, not glass, not ink."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from wsipsm.tiling.artefacts import Density, Mask
from wsipsm.tiling.pieces import without_small, without_small_holes
from wsipsm.types import TileGrid

Places = NDArray[np.int64]

CHROMA_FLOOR, CHROMA_CEILING = 0.03, 0.06
"""Otsu's threshold is held between these, so that a blank slide stays blank and a slide
without glass stays whole."""


def tissue_mask(density: Density, pen: Mask, *, mpp: float, min_area_um2: float) -> Mask:
    """Tissue of an overview, bool (y, x).

    Parameters
    ----------
    density, pen
        Of the overview: `artefacts.soft_density`, and the `ink` in it.
    mpp
        Microns per pixel of the overview.
    min_area_um2
        Pieces smaller than this are dropped, holes smaller than five times this are filled.
    """
    chroma = density.max(axis=0) - density.min(axis=0)
    threshold = np.clip(_otsu(chroma), CHROMA_FLOOR, CHROMA_CEILING)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    around_pen = cv2.dilate(pen.view(np.uint8), cross, iterations=2) > 0
    mask = np.asarray((chroma > threshold) & ~around_pen)
    area_px = max(1, round(min_area_um2 / mpp**2))
    return without_small(without_small_holes(mask, area_px=5 * area_px), area_px=area_px)


def _otsu(values: NDArray[np.float32]) -> float:
    return float(threshold_otsu(values)) if np.ptp(values) > 0 else 0.0


def mask_share(mask: NDArray[np.bool_], grid: TileGrid) -> NDArray[np.float32]:
    """Share of a mask of the whole slide in every tile, float32 (rows, cols)."""
    height, width = mask.shape
    top, bottom = _ends(grid.rows, grid.tile_px, full=grid.height_px, size=height)
    left, right = _ends(grid.cols, grid.tile_px, full=grid.width_px, size=width)
    above = np.asarray(cv2.integral(mask.view(np.uint8)), np.int64)
    strips = above[bottom] - above[top]
    share = (strips[:, right] - strips[:, left]) / np.outer(bottom - top, right - left)
    return share.astype(np.float32)


def _ends(count: int, tile_px: int, *, full: int, size: int) -> tuple[Places, Places]:
    """First pixels of tiles, and those after their last, on an axis where `full` are `size`."""
    start = tile_px * np.arange(count)
    stop = np.ceil(np.minimum(start + tile_px, full) * (size / full)).astype(np.int64)
    return (start * (size / full)).astype(np.int64), np.minimum(stop, size)
