"""Independent labellers of one slide: from stain, from the activation map, from both by k-means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from wsipsm.config import Stain
from wsipsm.pseudomasks.classes import DAB_STEP
from wsipsm.pseudomasks.features import (
    ACTIVATION,
    ACTIVATION_NEAR,
    CLASS_STAIN,
    DENSITY,
    FAR,
    FEATURES,
    NEAR,
)

RESTARTS = 3
CLUSTERED = (NEAR, FAR, ACTIVATION)
TINY = 1e-6


@dataclass(frozen=True)
class Labeller:
    """A plane in features that parts nuclei from background.

    Attributes
    ----------
    weights
        One for each feature.
    offset
        Added to the weighted sum.
    separation
        Distance of nuclei and background in units of the spread around them.
    """

    weights: tuple[float, ...]
    offset: float
    separation: float

    def nearness(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Way from background (0) to nuclei (1) on which a pixel lies; 0.5 is the border.

        `features` is (6, ...); the result is float32 (...).
        """
        used = np.flatnonzero(self.weights)
        plane = np.asarray(self.weights, np.float32)[used]
        flat = np.tensordot(plane, features[used], axes=1)
        return np.asarray(flat + np.float32(self.offset), np.float32)


def fit_stain(sample: NDArray[np.float32], *, stain: Stain) -> Labeller:
    """Label by stain: darker than the mean of the slide's Otsu threshold and the near mean.

    `sample` holds features, float32 (6, n), of pixels drawn from the slide's tissue.

    Notes
    -----
    Otsu (1979) maximises the variance between two classes over the slide; the local mean takes
    the threshold down where tissue is pale and up where it is dense. In IHC, Otsu's threshold is
    that of pixels with less DAB than a positive nucleus: the more of these, the higher would it
    lie, and the more pale negative nuclei be missed.
    """
    apart = sample[CLASS_STAIN] < DAB_STEP
    pale = sample[:, apart] if stain == "ihc" and apart.any() else sample
    return _half_local(sample, DENSITY, NEAR, border=_otsu(pale[DENSITY]))


def fit_psm(sample: NDArray[np.float32]) -> Labeller:
    """Label by the activation map alone, in the same way as `fit_stain`."""
    return _half_local(sample, ACTIVATION, ACTIVATION_NEAR, border=_otsu(sample[ACTIVATION]))


def fit_cluster(sample: NDArray[np.float32], *, psm_weight: float, seed: int) -> Labeller:
    """Label by k-means with k = 2 on contrasts of stain, and the activation map with a weight.

    Notes
    -----
    The cluster of higher stain density is the nuclei: a rule that does not depend on the sign
    of the map or on the order in which k-means returns its clusters. The border of two clusters
    is the plane half way between their centres.
    """
    clustered = sample[list(CLUSTERED)]
    scale = 1 / (clustered.std(axis=1) + np.float32(TINY))
    scale[CLUSTERED.index(ACTIVATION)] *= psm_weight
    points = (clustered * scale[:, None]).T
    with threadpool_limits(1):  # sums that do not depend on the machine
        fit = KMeans(2, n_init=RESTARTS, random_state=seed).fit(points)
    density = [sample[DENSITY, fit.labels_ == cluster].mean() for cluster in range(2)]
    nuclei = int(np.argmax(density))
    low, high = fit.cluster_centers_[1 - nuclei], fit.cluster_centers_[nuclei]
    axis = (high - low) / max(float(np.square(high - low).sum()), TINY)
    weights = np.zeros(FEATURES)
    weights[list(CLUSTERED)] = scale * axis
    spread = np.sqrt(fit.inertia_ / len(points)) + TINY
    return _plane(weights, -float(low @ axis), float(np.linalg.norm(high - low) / spread))


def _otsu(values: NDArray[np.float32]) -> float:
    """Otsu's threshold, or the value itself where there is but one."""
    return float(threshold_otsu(values)) if np.ptp(values) > 0 else float(values.flat[0])


def _half_local(sample: NDArray[np.float32], value: int, rise: int, *, border: float) -> Labeller:
    values = sample[value]
    over = values > border
    high = values[over].mean() if over.any() else border
    low = values[~over].mean() if not over.all() else border
    span = max(float(high - low), TINY)
    spread = np.sqrt(np.mean((values - np.where(over, high, low)) ** 2)) + TINY
    weights = np.zeros(FEATURES)
    weights[[value, rise]] = 0.5 / span
    return _plane(weights, 0.5 - 0.5 * border / span, span / float(spread))


def _plane(weights: NDArray[np.float64], offset: float, separation: float) -> Labeller:
    return Labeller(tuple(map(float, weights)), float(offset), float(separation))
