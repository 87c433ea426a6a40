"""Nearness to nuclei to separate objects, and how far each of them can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import remove_small_holes

from wsipsm.config import Pseudomasks
from wsipsm.models.contrast import contrasts
from wsipsm.models.instances import split_by_distance, tidy_objects
from wsipsm.pseudomasks.features import FAR

HOLE_UM2 = 6.0
RING_UM = 1.25
FULL_CONTRAST = 1.0
"""Standard deviations between an object and its ring that are contrast enough."""

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
    density: NDArray[np.float32],
    *,
    settings: Pseudomasks,
    mpp: float,
    median_area_um2: float = 0,
) -> NDArray[np.int32]:
    """Separate nuclei of a region, int32 (y, x), 0 = background.

    Holes are filled before objects are split and opened, each by itself; what is smaller than
    `min_area_share` of the slide's median area is dropped.
    """
    mask = (nearness > 0.5) & (density > settings.min_density)
    mask = remove_small_holes(mask, max_size=round(HOLE_UM2 / mpp**2))
    labels = split_by_distance(mask, seed_distance_px=settings.seed_distance_um / mpp)
    least_um2 = max(settings.min_area_um2, settings.min_area_share * median_area_um2)
    return tidy_objects(
        labels, min_area_px=least_um2 / mpp**2, opening_px=settings.opening_um / mpp
    )


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
    elliptic = _ellipticity(rows, cols, ids, area)
    contrast = contrasts(objects, features[FAR], ring_px=RING_UM / mpp, alone=0)
    return Evidence(
        agreement=np.bincount(ids, other[rows, cols], count + 1)[1:] / np.maximum(area, 1),
        contrast=np.clip(contrast / FULL_CONTRAST, 0, 1),
        shape=np.clip((elliptic - RAGGED) / (ROUND - RAGGED), 0, 1),
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


def _ellipticity(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    ids: NDArray[np.int32],
    area: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Area over 4 pi sqrt(det C), C being the second moments of an object's pixels.

    1 for every ellipse and less for all else (the first affine moment invariant: Flusser and
    Suk, Pattern Recognition 26, 1993, equation 6). A pixel's own moments, 1/12, are added.
    """
    size = len(area) + 1
    number = np.maximum(area, 1)
    mean_y, mean_x = (np.bincount(ids, at, size)[1:] / number for at in (rows, cols))
    dy, dx = rows - mean_y[ids - 1], cols - mean_x[ids - 1]
    yy, xx, xy = (np.bincount(ids, of, size)[1:] / number for of in (dy * dy, dx * dx, dy * dx))
    spread = (yy + 1 / 12) * (xx + 1 / 12) - xy**2
    return np.asarray(np.minimum(area / (4 * np.pi * np.sqrt(np.maximum(spread, 1e-9))), 1))
