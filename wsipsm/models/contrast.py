"""How much objects stand out from what lies around them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import disk


def contrasts(
    objects: NDArray[np.int32], values: NDArray[np.float32], *, ring_px: float, alone: float
) -> NDArray[np.float64]:
    """Mean of `values` in each object 1 ... n above that in the ring around it, float64 (n,).

    Parameters
    ----------
    objects
        Label image (y, x), 0 = background, ids below 2^24.
    values
        Float32 (y, x).
    ring_px
        Width of the ring, in pixels; it holds no other object.
    alone
        Mean that is taken around an object of whose ring other objects leave nothing.
    """
    ring = cv2.dilate(objects.astype(np.float32), disk(max(1, round(ring_px)))).astype(np.int32)
    ring[objects > 0] = 0
    count = int(objects.max(initial=0))
    inside, around = (_means(where, values, count) for where in (objects, ring))
    return np.asarray(np.nan_to_num(inside) - np.where(np.isnan(around), alone, around))


def _means(
    where: NDArray[np.int32], values: NDArray[np.float32], count: int
) -> NDArray[np.float64]:
    """Mean of the values at each id 1 ... count; NaN where it has no pixel."""
    pixels = np.bincount(where.ravel(), minlength=count + 1)[1:]
    sums = np.bincount(where.ravel(), values.ravel(), count + 1)[1:]
    return np.where(pixels > 0, sums / np.maximum(pixels, 1), np.nan)
