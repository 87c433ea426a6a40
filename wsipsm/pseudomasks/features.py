"""What labellers see of a pixel: stain density, activation, and their rise over surroundings."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.morphology import disk

from wsipsm.config import Stain
from wsipsm.models.stain import label_density, stain_density
from wsipsm.types import Region

DENSITY, NEAR, FAR, ACTIVATION, ACTIVATION_NEAR, CLASS_STAIN = range(6)
"""Order of the features. The last one only tells classes apart."""

FEATURES = 6

SPREAD_FLOOR = 0.06
"""Optical density added to the local deviation, so that plain tissue does not become noise."""

LEAST_SHARE = 1e-3
"""What a share of the surroundings counts for at least, where it divides."""

TRUNCATE = 2.0

COARSE = 4
"""Pixels along a block of `local_mean`; regions begin at multiples of it."""


def pixel_features(
    image: NDArray[np.uint8],
    activation: NDArray[np.float32],
    *,
    stain: Stain,
    smoothing_px: float,
    near_px: float,
    far_px: float,
) -> NDArray[np.float32]:
    """Features of every pixel, float32 (6, y, x).

    Parameters
    ----------
    image
        uint8 RGB (3, y, x).
    activation
        Activation map at the same pixels, [0, 1].
    smoothing_px, near_px, far_px
        Gaussian sigmas: of the density, and of the surroundings that it is compared with.

    Notes
    -----
    `NEAR` is the density above its near surroundings, `FAR` the number of standard deviations
    that it lies above its far surroundings, `ACTIVATION_NEAR` the activation above its near
    surroundings. They make one codebook do for a slide whose staining changes from place to
    place, and even for fields of different laboratories. In IHC a pixel that holds no more
    DAB than haematoxylin, apart from the blurred edge of those that do, is compared with such
    surroundings only: beside dense brown nuclei, pale blue ones would be lost.
    """
    smooth = (0, smoothing_px, smoothing_px)
    stains = stain_density(image, stain)
    both = np.concatenate([label_density(image, stain)[None], stains])
    density, blue, brown = ndimage.gaussian_filter(both, smooth, truncate=3)
    told_apart = brown if stain == "ihc" else blue
    near = density - local_mean(density, near_px)
    if stain == "ihc":
        apart = cv2.erode((blue >= brown).astype(np.uint8), disk(max(1, round(2 * smoothing_px))))
        near = _without_brown(near, density, apart, near_px)
    rise = density - local_mean(density, far_px)
    spread = np.sqrt(np.maximum(local_mean(rise**2, far_px), 0))
    far = rise / (spread + SPREAD_FLOOR)
    lit = activation - local_mean(activation, near_px)
    return np.stack([density, near, far, activation, lit, told_apart]).astype(np.float32)


def _without_brown(
    near: NDArray[np.float32],
    density: NDArray[np.float32],
    apart: NDArray[np.uint8],
    near_px: float,
) -> NDArray[np.float32]:
    """`NEAR` of the pixels that lie apart (1) from brown, above the others of them alone."""
    mean = local_mean(density * apart, near_px)
    share = local_mean(apart.astype(np.float32), near_px)
    rise = density - mean / np.maximum(share, LEAST_SHARE)
    return np.where(apart > 0, np.maximum(near, rise), near)


def local_mean(values: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Gaussian mean of a wide surrounding, (y, x), worked out on blocks of 4 x 4 pixels."""
    blocks = block_reduce(values, COARSE, np.mean)
    smooth = ndimage.gaussian_filter(blocks, sigma_px / COARSE, truncate=TRUNCATE, mode="nearest")
    rows, cols = ((np.arange(size) - (COARSE - 1) / 2) / COARSE for size in values.shape)
    return _lerp(_lerp(smooth, rows.clip(0)).T, cols.clip(0)).T


def upsample_map(
    coarse: NDArray[np.floating], origin: tuple[int, int], region: Region, *, stride: int
) -> NDArray[np.float32]:
    """Bilinear values at the pixels of a region, of a map whose pixel j is centred on stride * j.

    Parameters
    ----------
    coarse
        Part of the map, (y, x); beyond its border the border's value holds.
    origin
        Row and column in the map of the part's first pixel.
    region
        Pixels wanted, on the tile grid.

    Returns
    -------
    ndarray
        float32 (region.height, region.width).
    """
    rows = np.clip((region.y + np.arange(region.height)) / stride - origin[0], 0, None)
    cols = np.clip((region.x + np.arange(region.width)) / stride - origin[1], 0, None)
    values = coarse.astype(np.float32)
    return _lerp(_lerp(values, rows).T, cols).T


def _lerp(values: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of `values` at fractional positions."""
    last = len(values) - 1
    low = np.minimum(at.astype(int), last)
    high = np.minimum(low + 1, last)
    weight = (at - low).astype(np.float32)[:, None].clip(0, 1)
    return np.asarray(values[low] * (1 - weight) + values[high] * weight, np.float32)
