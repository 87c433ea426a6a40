"""Label image of a tile to polygons on the slide: the one place where (y, x) becomes (x, y)."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

SMOOTHING_PX = 0.8
"""Gaussian sigma that takes the stairs of pixels off an outline, and off its perimeter."""

TOLERANCE_PX = 0.15
"""An outline may move by this much, in working pixels, to lose vertices."""

PAD = 4


def outlines(
    labels: NDArray[np.int32], *, origin: tuple[int, int], scale: float
) -> NDArray[np.object_]:
    """Outline of every object of a label image as a shapely polygon in level-0 pixels (x, y).

    Parameters
    ----------
    labels
        int32 (y, x), ids 1 ... n; an object in several pieces gives its longest outline.
    origin
        Row and column of the label image's first pixel in the slide's working pixels.
    scale
        Level-0 pixels in a working pixel. Pixel (row, col) covers [col, col + 1) in x.

    Returns
    -------
    ndarray
        n polygons, in the order of the ids. The same object gives the same polygon, to the
        bit, in whatever label image it lies.
    """
    rings, sizes = [], []
    for index, where in enumerate(ndimage.find_objects(labels), start=1):
        assert where is not None, "ids must be 1 ... n"
        ring = _ring(np.pad(labels[where] == index, PAD))
        start = np.array([where[0].start + origin[0], where[1].start + origin[1]])
        rings.append(ring + (start + 0.5 - PAD))
        sizes.append(len(ring))
    if not rings:
        return np.empty(0, object)
    points = np.concatenate(rings)[:, ::-1]
    owners = np.repeat(np.arange(len(rings)), sizes)
    polygons = shapely.polygons(shapely.linearrings(points, indices=owners))
    thinned = shapely.simplify(polygons, TOLERANCE_PX)
    return np.asarray(shapely.transform(thinned, lambda xy: xy * scale))


def _ring(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The longest outline (row, col) of a mask, smooth where the object is not too thin for it."""
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING_PX)
    rings = find_contours(smooth, 0.5) or find_contours(mask.astype(np.float32), 0.5)
    ring: NDArray[np.float64] = max(rings, key=len)
    return ring
