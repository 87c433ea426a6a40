"""Plain methods, untuned, that ours has to beat: arrays in, label images out.

All three end in the same way: a mask of foreground, split by `split_by_distance`. Their
thresholds and codebooks are fitted once for a slide, on a sample of its tissue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import hed_from_rgb
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans

from wsipsm.config import Stain
from wsipsm.models.instances import split_by_distance

SMOOTHING_UM = 0.375
SEED_DISTANCE_UM = 2.5
MIN_AREA_UM2 = 4
CLUSTERS = 3
FLOOR = 1e-6


def plain_density(image: NDArray[np.uint8], stain: Stain, *, mpp: float) -> NDArray[np.float32]:
    """Smoothed density of the nuclear stain, float32 (y, x), of RGB (3, y, x).

    Haematoxylin as scikit-image's `rgb2hed` has it; in IHC with DAB added.
    """
    table = np.log(np.maximum(np.arange(256) / 255, FLOOR)) / np.log(FLOOR)
    logs = table.astype(np.float32)[image]
    density = np.zeros(image.shape[1:], np.float32)
    for column in (0,) if stain == "he" else (0, 2):
        weights = hed_from_rgb[:, column].astype(np.float32)
        density += np.maximum(np.tensordot(weights, logs, 1), 0)
    return np.asarray(ndimage.gaussian_filter(density, SMOOTHING_UM / mpp), np.float32)


def otsu(values: NDArray[np.float32]) -> float:
    """Otsu's threshold; of constant values, that value."""
    return float(threshold_otsu(values)) if np.ptp(values) > 0 else float(values.flat[0])


def split(mask: NDArray[np.bool_], *, mpp: float) -> NDArray[np.int32]:
    """Objects of a mask (y, x): watershed of its distance transform, the small ones dropped."""
    labels = split_by_distance(mask, seed_distance_px=SEED_DISTANCE_UM / mpp)
    big = np.bincount(labels.ravel()) >= MIN_AREA_UM2 / mpp**2
    big[0] = False
    return (np.cumsum(big) * big).astype(np.int32)[labels]


def rgb_clusters(
    pixels: NDArray[np.uint8], density: NDArray[np.float32], *, seed: int
) -> NDArray[np.float32]:
    """Cluster centres float32 (k, 3) of RGB pixels (n, 3), the densest in nuclear stain first.

    `density` (n,) is that of the same pixels.
    """
    count = min(CLUSTERS, len(np.unique(pixels, axis=0)))
    fit = KMeans(count, n_init=3, random_state=seed).fit(pixels.astype(np.float32))
    mean = np.bincount(fit.labels_, density) / np.bincount(fit.labels_)
    return np.asarray(fit.cluster_centers_[np.argsort(-mean)], np.float32)


def nearest_first(image: NDArray[np.uint8], centres: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels (y, x) of RGB (3, y, x) whose nearest centre is the first."""
    pixels = image.astype(np.float32)
    first, others = centres[0], centres[1:]
    mask = np.full(image.shape[1:], len(others) > 0)
    for other in others:
        # |x - first|^2 < |x - other|^2, without the common term |x|^2
        mask &= np.tensordot(2 * (other - first), pixels, 1) < other @ other - first @ first
    return mask


@dataclass(frozen=True)
class MapRange:
    """Sign and range of each block's raw activation map, and the threshold of their mean."""

    signs: NDArray[np.float32]
    lows: NDArray[np.float32]
    highs: NDArray[np.float32]
    threshold: float = 0.0

    def apply(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over blocks, in [0, 1], of raw maps (blocks, ...)."""
        shape = (-1, *(1 for _ in maps.shape[1:]))
        signs, lows, highs = (part.reshape(shape) for part in (self.signs, self.lows, self.highs))
        scaled = np.clip((maps * signs - lows) / (highs - lows), 0, 1)
        return np.asarray(scaled.mean(axis=0), np.float32)


def fit_maps(maps: NDArray[np.float32], density: NDArray[np.float32]) -> MapRange:
    """Orient raw maps (blocks, n) by stain density (n,), scale them, and find the threshold.

    NaN marks pixels without a map; they are left out.
    """
    known = ~np.isnan(maps).any(axis=0)
    maps, density = maps[:, known], density[known]
    signs = signs_of(maps, density)
    lows, highs = np.percentile(maps * signs[:, None], [0.5, 99.5], axis=1).astype(np.float32)
    plain = MapRange(signs, lows, np.where(highs > lows, highs, lows + 1))
    return replace(plain, threshold=otsu(plain.apply(maps)))


def signs_of(maps: NDArray[np.float32], density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sign of the covariance of each map (blocks, n) with stain density (n,); never 0."""
    centred = maps - maps.mean(axis=1, keepdims=True)
    return np.where(centred @ (density - density.mean()) < 0, -1, 1).astype(np.float32)


def enlarge(coarse: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Linear interpolation of a map (y, x) whose pixel j is centred on fine pixel factor * j."""
    for axis in (0, 1):
        following = np.concatenate([coarse, coarse.take([-1], axis)], axis)
        step = np.diff(following, axis=axis)
        fine = [coarse + np.float32(part / factor) * step for part in range(factor)]
        shape = tuple(size * (factor if at == axis else 1) for at, size in enumerate(coarse.shape))
        coarse = np.stack(fine, axis + 1).reshape(shape)
    return coarse
