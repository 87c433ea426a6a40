"""Whether two outlines are one cell: by boxes and hulls where they tell, else by what they share.

Two polygons share no more than their boxes do, and no less than the sum of their areas less that
of any box or convex hull around both. Nearly all pairs are decided so; the rest are intersected,
which takes a hundred times as long.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

Polygons = NDArray[np.object_]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SLACK = 1e-6  # share of an area by which sums of floats may be wrong
_LEAST_AREA = 1e-9


def same_cell(
    first: Polygons, second: Polygons, areas: tuple[Floats, Floats], *, overlap: float
) -> tuple[Bools, Bools]:
    """Whether the outlines of each pair are one cell, and whether they are equal, bool (n,) each.

    Parameters
    ----------
    first, second
        Shapely polygons (n,).
    areas
        Of the first and of the second, float64 (n,).
    overlap
        Share of the smaller outline's area that makes two one cell.
    """
    least = overlap * np.maximum(np.minimum(*areas), _LEAST_AREA)
    a, b = (shapely.bounds(polygons).reshape(-1, 4) for polygons in (first, second))
    shared = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    around = np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2])
    maybe = np.maximum(shared, 0).prod(axis=1) >= least * (1 - _SLACK)
    spare = sum(areas) - least * (1 + _SLACK)

    equal = np.zeros(len(first), bool)
    equal[maybe] = shapely.equals_exact(first[maybe], second[maybe])
    one = equal | (maybe & (around.prod(axis=1) <= spare))
    rest = np.flatnonzero(maybe & ~one)
    one[rest] = _hull_area(first[rest], second[rest]) <= spare[rest]
    rest = rest[~one[rest]]
    one[rest] = _shared_area(first[rest], second[rest]) >= least[rest]
    return one, equal


def _hull_area(first: Polygons, second: Polygons) -> Floats:
    both = shapely.multipolygons(np.stack([first, second], axis=1))
    return np.asarray(shapely.area(shapely.convex_hull(both)))


def _shared_area(first: Polygons, second: Polygons) -> Floats:
    first, second = _sound(first), _sound(second)
    return np.asarray(shapely.area(shapely.intersection(first, second)))


def _sound(polygons: Polygons) -> Polygons:
    """Polygons with those repaired that cross themselves, which GEOS refuses to intersect."""
    bad = ~shapely.is_valid(polygons)
    if bad.any():
        polygons = polygons.copy()
        polygons[bad] = shapely.make_valid(polygons[bad])
    return polygons
