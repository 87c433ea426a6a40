"""Measurements of the cells of one tile, in microns and optical density."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from skimage.measure import regionprops_table

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
    """
    area = shapely.area(polygons) * slide_mpp**2
    perimeter = shapely.length(polygons) * slide_mpp
    hull = shapely.area(shapely.convex_hull(polygons)) * slide_mpp**2
    found = regionprops_table(labels, np.moveaxis(density, 0, -1), properties=FROM_PIXELS)
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
    }
    assert list(columns) == list(MEASUREMENTS)
    return {name: np.asarray(values, np.float32) for name, values in columns.items()}
