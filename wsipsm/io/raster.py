"""Polygons to label images, by the pixel-centre rule."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.types import Region


def fill_polygons(
    polygons: NDArray[np.object_], ids: NDArray[np.int64], region: Region, *, scale: float = 1
) -> NDArray[np.int64]:
    """Label image of polygons: a pixel gets the id of the polygon that its centre lies in.

    Pixel (row i, col j) is the square from (j, i) to (j + 1, i + 1), so its centre is
    (j + 0.5, i + 0.5). Inside is even-odd, holes included. Where polygons overlap, the later
    wins; a centre on an outline belongs to the polygon to its right or below.

    Parameters
    ----------
    polygons
        Shapely polygons (x, y), in level-0 pixels.
    ids
        int64 (n,), one a polygon, not 0.
    region
        Part of the working grid to fill.
    scale
        Level-0 pixels in one working pixel.

    Returns
    -------
    NDArray[np.int64]
        (height, width), 0 = background.
    """
    out = np.zeros(region.height * region.width, np.int64)
    polygon, row, x = _crossings(polygons, region, scale)
    order = np.lexsort((x, row, polygon))
    polygon, row = polygon[order][::2], row[order][::2]
    # a row enters a polygon at each even crossing and leaves it at the next
    column = np.clip(np.ceil(x[order] - 0.5), 0, region.width).astype(np.int64)
    start, length = column[::2], column[1::2] - column[::2]
    pixel = np.repeat(row * region.width + start, length) + _count_up(length)
    out[pixel] = np.repeat(np.asarray(ids, np.int64)[polygon], length)
    return out.reshape(region.height, region.width)


def _crossings(
    polygons: NDArray[np.object_], region: Region, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Where outlines cross the centre lines of pixel rows: polygon, row and x of each."""
    rings, polygon_of_ring = shapely.get_rings(np.asarray(polygons, object), return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    points = points / scale - (region.x, region.y)
    joined = ring[:-1] == ring[1:]
    (x0, y0), (x1, y1) = points[:-1][joined].T, points[1:][joined].T
    polygon = polygon_of_ring[ring[:-1][joined]]
    # rows whose centre lies in [lower end, upper end) of the edge
    first, stop = (
        np.clip(np.ceil(pick(y0, y1) - 0.5), 0, region.height).astype(np.int64)
        for pick in (np.minimum, np.maximum)
    )
    count = stop - first
    row = np.repeat(first, count) + _count_up(count)
    edge = np.repeat(np.arange(len(count)), count)
    share = (row + 0.5 - y0[edge]) / (y1 - y0)[edge]
    return polygon[edge], row, x0[edge] + share * (x1 - x0)[edge]


def _count_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... length - 1 for each length, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
