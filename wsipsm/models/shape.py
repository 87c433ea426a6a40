"""How near to an ellipse, and how convex, objects are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def ellipticities(objects: NDArray[np.int32]) -> NDArray[np.float64]:
    """Area over 4 pi sqrt(det C) of each object 1 ... n of a label image (y, x), float64 (n,).

    C are the second moments of an object's pixels. 1 for every ellipse and less for all else (the
    first affine moment invariant: Flusser and Suk, Pattern Recognition 26, 1993, equation 6). A
    pixel's own moments, 1/12, are added.
    """
    rows, cols = np.nonzero(objects)
    ids = objects[rows, cols]
    area = np.bincount(ids, minlength=1)
    size, number = len(area), np.maximum(area, 1)
    mean_y, mean_x = (np.bincount(ids, at, size) / number for at in (rows, cols))
    dy, dx = rows - mean_y[ids], cols - mean_x[ids]
    yy, xx, xy = (np.bincount(ids, of, size) / number for of in (dy * dy, dx * dx, dy * dx))
    spread = (yy + 1 / 12) * (xx + 1 / 12) - xy**2
    found = area / (4 * np.pi * np.sqrt(np.maximum(spread, 1e-9)))
    return np.asarray(np.minimum(found, 1)[1:])


def solidities(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Area of each object 1 ... n over that of its convex hull, float64 (n,)."""
    found = []
    for index, where in enumerate(ndimage.find_objects(labels), start=1):
        piece = np.ascontiguousarray(labels[where] == index, np.uint8)
        outline, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        hull = cv2.convexHull(np.concatenate(outline))
        filled = cv2.fillConvexPoly(np.zeros_like(piece), hull, 1)
        found.append(piece.sum() / filled.sum())
    return np.array(found, np.float64)
