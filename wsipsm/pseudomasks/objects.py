"""Nearness to nuclei to separate objects, and how far each of them can be trusted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import remove_small_holes

from wsipsm.config import Pseudomasks
from wsipsm.models.contrast import contrasts
from wsipsm.models.instances import split_by_distance, tidy_objects
from wsipsm.models.shape import ellipticities
from wsipsm.pseudomasks.features import DENSITY, FAR
from wsipsm.pseudomasks.rivals import best_of

LEVELS = (0.45, 0.6, 0.75, 1.05)
"""Rival borders: ways from background (0) to nuclei (1)."""

HOLES_UM2 = (6.0, 37.5)
"""Rival sizes up to which holes are filled: pale nuclei have them, and so have rings of nuclei."""

RING_UM = 1.25
FULL_CONTRAST = 1.0
"""Standard deviations between an object and its ring that are contrast enough."""

LEAST_CONTRAST = 0.3
"""What is above its ring by less is no nucleus."""

ROUND, RAGGED = 0.95, 0.7
"""Ellipticity of an object that is a nucleus by its shape, and of one that is not."""

SIZE_SPREAD = np.log(3.0)


@dataclass(frozen=True)
class Evidence:
    """What speaks for each object of a label image, (objects,), each 0 to 1.

    Attributes
    ----------
    agreement
        Share of its pixels that the other labeller calls nucleus too.
    contrast
        Density above the ring around it, in local standard deviations, 1 from `FULL_CONTRAST`.
    shape
        Ellipticity: area over that of the ellipse of the same second moments.
    size
        Nearness to the slide's median area, a Gaussian of the logarithm.
    """

    agreement: NDArray[np.float64]
    contrast: NDArray[np.float64]
    shape: NDArray[np.float64]
    size: NDArray[np.float64]

    def confidence(self, *, trust: float) -> NDArray[np.float64]:
        """Geometric mean, (objects,) in [0, 1]; agreement weighs `trust`, the others 1."""
        product = self.contrast * self.shape * self.size * self.agreement**trust
        return np.asarray(product ** (1 / (3 + trust)))


def separate(
    nearness: NDArray[np.float32],
    features: NDArray[np.float32],
    *,
    settings: Pseudomasks,
    mpp: float,
    median_area_um2: float = 0,
    levels: Sequence[float] = LEVELS,
) -> NDArray[np.int32]:
    """Separate nuclei of a region with features (6, y, x): int32 (y, x), 0 = background.

    At each of `levels` of nearness, and for each size in `HOLES_UM2`, holes are filled before
    objects are split and opened, each by itself; of rivals with contrast the best stay
    (`rivals.best_of`). What is smaller than `min_area_share` of the slide's median area is dropped.
    """
    density = features[DENSITY]
    opening_px, least_px = settings.opening_um / mpp, settings.min_area_um2 / mpp**2

    def objects(level: float, hole_um2: float) -> NDArray[np.int32]:
        mask = (nearness > level) & (density > settings.min_density)
        mask = remove_small_holes(mask, max_size=round(hole_um2 / mpp**2))
        labels = split_by_distance(mask, seed_distance_px=settings.seed_distance_um / mpp)
        tidy = tidy_objects(labels, min_area_px=least_px, opening_px=opening_px)
        return _with_contrast(tidy, features[FAR], mpp=mpp)

    best = best_of([objects(*each) for each in itertools.product(levels, HOLES_UM2)], density)
    least_px = max(least_px, settings.min_area_share * median_area_um2 / mpp**2)
    return tidy_objects(best, min_area_px=least_px, opening_px=opening_px)


def _with_contrast(
    objects: NDArray[np.int32], far: NDArray[np.float32], *, mpp: float
) -> NDArray[np.int32]:
    """Those with at least `LEAST_CONTRAST` to their ring, renumbered."""
    clear = contrasts(objects, far, ring_px=RING_UM / mpp, alone=0) >= LEAST_CONTRAST
    return np.concatenate([[0], np.cumsum(clear) * clear]).astype(np.int32)[objects]


def weigh(
    objects: NDArray[np.int32],
    features: NDArray[np.float32],
    other: NDArray[np.bool_],
    *,
    mpp: float,
    median_area_um2: float,
) -> Evidence:
    """Evidence for every object 1 ... n of a region.

    Parameters
    ----------
    objects
        Label image (y, x) with ids 1 ... n.
    features
        Features (6, y, x) of the same pixels.
    other
        What the other labeller calls nucleus, (y, x).
    """
    count = int(objects.max(initial=0))
    rows, cols = np.nonzero(objects)
    ids = objects[rows, cols]
    area = np.bincount(ids, minlength=count + 1)[1:].astype(np.float64)
    away = np.abs(np.log(np.maximum(area, 1) * mpp**2 / max(median_area_um2, 1e-6)))
    contrast = contrasts(objects, features[FAR], ring_px=RING_UM / mpp, alone=0)
    return Evidence(
        agreement=np.bincount(ids, other[rows, cols], count + 1)[1:] / np.maximum(area, 1),
        contrast=np.clip(contrast / FULL_CONTRAST, 0, 1),
        shape=np.clip((ellipticities(objects) - RAGGED) / (ROUND - RAGGED), 0, 1),
        size=np.exp(-0.5 * (away / SIZE_SPREAD) ** 2),
    )


def areas_of(objects: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pixels of each object 1 ... n."""
    return np.bincount(objects.ravel())[1:]


def means_of(objects: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of `values` (y, x) in each object 1 ... n; 0 where there is none."""
    area = np.bincount(objects.ravel())
    sums = np.bincount(objects.ravel(), values.ravel())
    return np.asarray((sums / np.maximum(area, 1))[1:])
