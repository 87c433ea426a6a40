"""Where a slide holds tissue: stained, not glass, not ink."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_holes, remove_small_objects

from wsipsm.models.stain import optical_density
from wsipsm.tiling.artefacts import ink
from wsipsm.types import TileGrid

CHROMA_FLOOR, CHROMA_CEILING = 0.03, 0.06
"""Otsu's threshold is held between these, so that a blank slide stays blank and a slide
without glass stays whole."""


def tissue_mask(
    overview: NDArray[np.uint8], *, mpp: float, min_area_um2: float
) -> NDArray[np.bool_]:
    """Tissue of an overview, bool (y, x).

    Parameters
    ----------
    overview
        uint8 RGB (3, y, x) of the whole slide at low resolution.
    mpp
        Microns per pixel of the overview.
    min_area_um2
        Pieces smaller than this are dropped, holes smaller than five times this are filled.
    """
    density = ndimage.gaussian_filter(optical_density(overview), (0, 4 / mpp, 4 / mpp))
    chroma = density.max(axis=0) - density.min(axis=0)
    threshold = np.clip(_otsu(chroma), CHROMA_FLOOR, CHROMA_CEILING)
    mask = (chroma > threshold) & ~ndimage.binary_dilation(ink(density, mpp=mpp), iterations=2)
    area_px = max(1, round(min_area_um2 / mpp**2))
    mask = remove_small_holes(mask, max_size=5 * area_px)
    return np.asarray(remove_small_objects(mask, max_size=area_px), bool)


def _otsu(values: NDArray[np.float32]) -> float:
    return float(threshold_otsu(values)) if np.ptp(values) > 0 else 0.0


def mask_share(mask: NDArray[np.bool_], grid: TileGrid) -> NDArray[np.float32]:
    """Share of a mask of the whole slide in every tile, float32 (rows, cols)."""
    share = np.zeros((grid.rows, grid.cols), np.float32)
    per_y, per_x = mask.shape[0] / grid.height_px, mask.shape[1] / grid.width_px
    for row, col in np.ndindex(share.shape):
        tile = grid.tile(row, col)
        top, bottom = int(tile.y * per_y), int(np.ceil((tile.y + tile.height) * per_y))
        left, right = int(tile.x * per_x), int(np.ceil((tile.x + tile.width) * per_x))
        share[row, col] = mask[top:bottom, left:right].mean()
    return share
