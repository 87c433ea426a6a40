"""Classes of whole nuclei: by the density of the class stain inside them, or by morphology."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from wsipsm.config import Stain

RESTARTS = 3
DAB_STEP = 0.2
"""Mean optical density of DAB in a nucleus that makes it positive, and from grade to grade:
QuPath's defaults for positive cell detection (0.2, 0.4, 0.6)."""

LEAST_DAB, MOST_DAB = 0.5, 2.0
"""A border found by the mixture may leave QuPath's by these factors."""

FAINT = 0.05
"""Optical density added before the logarithm is taken, which makes classes alike in spread."""

DISTINCT = 2.0
"""Ashman's D from which two components are two populations."""


@dataclass(frozen=True)
class Classes:
    """What tells the classes of a slide's nuclei apart.

    Attributes
    ----------
    centre, scale
        Mean and standard deviation of each measurement over the sample.
    centres
        Of each class in standardised measurements, in the order of the names; for one
        measurement `borders` part the classes instead.
    borders
        Rising densities, one fewer than classes.
    found
        How the borders came about: "mixture", "default" or "clusters".
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]
    borders: tuple[float, ...]
    found: str

    def of(self, measured: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Class 1 ... k of objects by what was measured in them, (objects, measurements)."""
        if not self.centres:
            return np.asarray(1 + np.digitize(measured[:, 0], self.borders), np.uint8)
        points = (measured - np.array(self.centre)) / np.array(self.scale)
        away = np.square(points[:, None] - np.array(self.centres)[None]).sum(axis=2)
        return np.asarray(1 + np.argmin(away, axis=1), np.uint8)


def fit_density(density: NDArray[np.float64], *, classes: int, stain: Stain, seed: int) -> Classes:
    """Part nuclei by the mean density of the class stain in each, (objects,).

    Notes
    -----
    A mixture of Gaussians of one variance is fitted to the logarithm of density, since dense nuclei
    differ more among themselves than pale ones; a border lies where two neighbours are
    equally likely. Where the components are no populations of their own (Ashman et al. 1994:
    D = |m1 - m2| / s below 2 for equal s), as on a slide that lacks a class, DAB is parted at
    QuPath's defaults, and haematoxylin, for which none is published, half way between the
    centres of k-means.
    """
    if classes == 1:
        return _parted((), "mixture")
    defaults = tuple(DAB_STEP * (1 + step) for step in range(classes - 1))
    if len(np.unique(density)) < 2 * classes:
        return _parted(defaults, "default")
    borders = _mixture_borders(density, classes, seed)
    if stain == "ihc":
        low, high = LEAST_DAB * DAB_STEP, MOST_DAB * defaults[-1]
        if borders is None or borders[0] < low or borders[-1] > high:
            return _parted(defaults, "default")
        return _parted(borders, "mixture")
    if borders is not None:
        return _parted(borders, "mixture")
    centres = np.sort(_cluster(density[:, None], classes, seed)[:, 0])
    return _parted(tuple(map(float, (centres[1:] + centres[:-1]) / 2)), "clusters")


def fit_morphology(measured: NDArray[np.float64], *, classes: int, seed: int) -> Classes:
    """Part nuclei by k-means of standardised measurements, (objects, measurements).

    Classes are numbered by the rising mean of the first measurement.
    """
    centre, scale = measured.mean(axis=0), measured.std(axis=0) + 1e-9
    count = min(classes, len(np.unique(measured, axis=0)))
    centres = _cluster((measured - centre) / scale, count, seed)
    centres = centres[np.argsort(centres[:, 0], kind="stable")]
    return Classes(
        tuple(map(float, centre)),
        tuple(map(float, scale)),
        tuple(tuple(map(float, row)) for row in centres),
        (),
        "clusters",
    )


def _parted(borders: tuple[float, ...], found: str) -> Classes:
    return Classes((), (), (), borders, found)


def _mixture_borders(
    density: NDArray[np.float64], classes: int, seed: int
) -> tuple[float, ...] | None:
    """Densities at which neighbouring components are equally likely; None where they overlap."""
    values = np.log(np.maximum(density, 0) + FAINT)
    with threadpool_limits(1):
        fit = GaussianMixture(
            classes, covariance_type="tied", n_init=RESTARTS, random_state=seed, reg_covar=1e-5
        ).fit(values[:, None])
    order = np.argsort(fit.means_[:, 0])
    means, weights = fit.means_[order, 0], fit.weights_[order]
    variance = float(fit.covariances_[0, 0])
    steps = np.diff(means)
    if (steps < DISTINCT * np.sqrt(variance)).any():
        return None
    borders = (means[1:] + means[:-1]) / 2 + variance * np.log(weights[:-1] / weights[1:]) / steps
    inside = np.exp(np.clip(borders, means[:-1], means[1:])) - FAINT
    return tuple(map(float, inside))


def _cluster(points: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    with threadpool_limits(1):  # sums that do not depend on the machine
        fit = KMeans(count, n_init=RESTARTS, random_state=seed).fit(points)
    return np.asarray(fit.cluster_centers_)
