"""The plain methods that a map has to beat, on one field: arrays in, label images out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from wsipsm.config import Stain
from wsipsm.evaluation import controls

SAMPLE_PIXELS = 40_000


def stain_otsu(image: NDArray[np.uint8], stain: Stain, mpp: float, seed: int) -> NDArray[np.int32]:  # noqa: ARG001
    """Otsu's threshold of the plain density of nuclear stain, and watershed."""
    density = controls.plain_density(image, stain, mpp=mpp)
    return controls.split(density > controls.otsu(density), mpp=mpp)


def stain_kmeans(
    image: NDArray[np.uint8], stain: Stain, mpp: float, seed: int
) -> NDArray[np.int32]:
    """Two clusters of the plain density of nuclear stain, and watershed."""
    density = controls.plain_density(image, stain, mpp=mpp)
    sample = density.ravel()[_sample(density.size, seed), None]
    centres = KMeans(2, n_init=3, random_state=seed).fit(sample).cluster_centers_
    return controls.split(density > centres.mean(), mpp=mpp)


def rgb_kmeans(image: NDArray[np.uint8], stain: Stain, mpp: float, seed: int) -> NDArray[np.int32]:
    """Three clusters of RGB, the densest in nuclear stain, and watershed."""
    density = controls.plain_density(image, stain, mpp=mpp)
    picks = _sample(density.size, seed)
    pixels = image.reshape(3, -1).T[picks]
    centres = controls.rgb_clusters(pixels, density.ravel()[picks], seed=seed)
    return controls.split(controls.nearest_first(image, centres), mpp=mpp)


def of_map(values: NDArray[np.float32], stride: int, mpp: float) -> NDArray[np.int32]:
    """Otsu's threshold of an activation map (y, x) alone, enlarged to pixels, and watershed."""
    fine = controls.enlarge(values, stride)
    return controls.split(fine > controls.otsu(fine), mpp=mpp)


def _sample(size: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(size, size=min(size, SAMPLE_PIXELS))


Plain = Callable[[NDArray[np.uint8], Stain, float, int], NDArray[np.int32]]

PLAIN: dict[str, Plain] = {
    "stain_otsu": stain_otsu,
    "stain_kmeans": stain_kmeans,
    "rgb_kmeans": rgb_kmeans,
}
"""Plain methods by name: label image int32 (y, x) of RGB (3, y, x), stain, mpp and seed."""
