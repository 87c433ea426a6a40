"""Measurements of the cells of one tile, in microns and optical density."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops_table

from wsipsm.models.instances import distance_to_edge
from wsipsm.types import MEASUREMENTS

FROM_PIXELS = (
    "eccentricity",
    "axis_major_length",
    "axis_minor_length",
    "intensity_mean",
    "intensity_std",
)


def measure(
    labels: NDArray[np.int32],
    polygons: NDArray[np.object_],
    density: NDArray[np.float32],
    *,
    mpp: float,
    slide_mpp: float,
    ring_um: float,
) -> dict[str, NDArray[np.float32]]:
    """Columns of `types.MEASUREMENTS`, float32 (n,), for cells 1 ... n.

    Parameters
    ----------
    labels
        int32 (y, x) at `mpp` microns per pixel.
    polygons
        Outlines of the same cells in level-0 pixels, `slide_mpp` microns each.
    density
        Haematoxylin and counterstain density, float32 (2, y, x).
    ring_um
        Width of the ring around a cell, in which density is measured too. Nothing limits the
        ring but the border of what was read: other cells lie in it as they come.
    """
    area = shapely.area(polygons) * slide_mpp**2
    perimeter = shapely.length(polygons) * slide_mpp
    hull = shapely.area(shapely.convex_hull(polygons)) * slide_mpp**2
    found = regionprops_table(labels, np.moveaxis(density, 0, -1), properties=FROM_PIXELS)
    around = _rings(labels, density, width_px=ring_um / mpp)
    columns = {
        "area_um2": area,
        "perimeter_um": perimeter,
        "circularity": np.minimum(4 * np.pi * area / perimeter**2, 1),
        "eccentricity": found["eccentricity"],
        "solidity": area / hull,
        "major_axis_um": found["axis_major_length"] * mpp,
        "minor_axis_um": found["axis_minor_length"] * mpp,
        "haematoxylin_mean": found["intensity_mean-0"],
        "haematoxylin_std": found["intensity_std-0"],
        "counterstain_mean": found["intensity_mean-1"],
        "counterstain_std": found["intensity_std-1"],
        "haematoxylin_ring_mean": around[:, 0, 0],
        "haematoxylin_ring_std": around[:, 0, 1],
        "counterstain_ring_mean": around[:, 1, 0],
        "counterstain_ring_std": around[:, 1, 1],
    }
    assert list(columns) == list(MEASUREMENTS)
    return {name: np.asarray(values, np.float32) for name, values in columns.items()}


def _rings(
    labels: NDArray[np.int32], density: NDArray[np.float32], *, width_px: float
) -> NDArray[np.float64]:
    """Mean and deviation (n, stain, 2) of the pixels at most `width_px` away from each cell."""
    reach = math.ceil(width_px)
    found = []
    for index, where in enumerate(ndimage.find_objects(labels), start=1):
        near = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in where)
        distance = distance_to_edge(labels[near] != index)
        values = density[(slice(None), *near)][:, (distance > 0) & (distance <= width_px)]
        if values.size:
            found.append((values.mean(axis=1, dtype=float), values.std(axis=1, dtype=float)))
        else:
            found.append((np.full(2, np.nan), np.full(2, np.nan)))
    return np.array(found).reshape(-1, 2, 2).swapaxes(1, 2)
