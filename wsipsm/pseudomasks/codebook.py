"""The codebook of one slide: which pixels are nuclei, and of which class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from wsipsm.pseudomasks.features import ACTIVATION, CLASS_STAIN, CLUSTERED, DENSITY

RESTARTS = 3
BACKGROUND, IGNORE = 0, 255


@dataclass(frozen=True)
class Codebook:
    """Two clusters in standardised features, and one class centre for each class.

    Attributes
    ----------
    weights
        Factor of each clustered feature, its inverse standard deviation times its weight.
    background, nuclei
        Centres in weighted features.
    class_centres
        Rising densities of the stain that tells classes apart.
    separation
        Distance of the two centres in units of the spread around them.
    """

    weights: tuple[float, ...]
    background: tuple[float, ...]
    nuclei: tuple[float, ...]
    class_centres: tuple[float, ...]
    separation: float

    def nearness(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Way from background (0) to nuclei (1) on which a pixel lies; 0.5 is the border.

        `features` is (5, ...); the result is float32 (...).
        """
        low, high = np.array(self.background, np.float32), np.array(self.nuclei, np.float32)
        axis = (high - low) / np.square(high - low).sum()
        plane = np.array(self.weights, np.float32) * axis
        flat = np.tensordot(plane, features[CLUSTERED], axes=1)
        return np.asarray(flat - np.float32(low @ axis), np.float32)

    def classes_of(self, stain: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Class 1 ... k of objects by the mean density inside each."""
        centres = np.asarray(self.class_centres)
        borders = (centres[1:] + centres[:-1]) / 2
        return np.asarray(1 + np.digitize(stain, borders), np.uint8)


def fit_codebook(
    sample: NDArray[np.float32], *, classes: int, psm_weight: float, seed: int
) -> Codebook:
    """Fit the codebook of a slide by k-means on a sample of its pixels.

    Parameters
    ----------
    sample
        Features, float32 (5, n).
    classes
        Number of classes of nuclei, k.
    psm_weight
        Weight of the activation map beside the stain features.

    Notes
    -----
    The cluster of higher stain density is the nuclei: a rule that does not depend on the sign
    of the map or on the order in which k-means returns its clusters.
    """
    clustered = sample[CLUSTERED]
    weights = 1 / (clustered.std(axis=1) + np.float32(1e-6))
    weights[ACTIVATION - CLUSTERED.start] *= psm_weight
    points = (clustered * weights[:, None]).T
    centres, member, inertia = _cluster(points, 2, seed)
    density = [sample[DENSITY, member == cluster].mean() for cluster in range(2)]
    nuclei = int(np.argmax(density))
    low, high = centres[1 - nuclei], centres[nuclei]
    return Codebook(
        weights=tuple(map(float, weights)),
        background=tuple(map(float, low)),
        nuclei=tuple(map(float, high)),
        class_centres=_class_centres(sample[CLASS_STAIN, member == nuclei], classes, seed),
        separation=float(np.linalg.norm(high - low) / np.sqrt(inertia / len(points) + 1e-12)),
    )


def _class_centres(stain: NDArray[np.float32], classes: int, seed: int) -> tuple[float, ...]:
    if classes == 1:
        return (float(stain.mean()),)
    centres, _, _ = _cluster(stain[:, None], classes, seed)
    return tuple(sorted(float(centre[0]) for centre in centres))


def _cluster(
    points: NDArray[np.float32], count: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], float]:
    """K-means on one thread, so that sums do not depend on the machine."""
    with threadpool_limits(1):
        fitted = KMeans(count, n_init=RESTARTS, random_state=seed).fit(points)
    return fitted.cluster_centers_, fitted.labels_, float(fitted.inertia_)
