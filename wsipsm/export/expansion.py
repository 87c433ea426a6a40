"""Cell boundaries: each nucleus grown by a distance, as far as its neighbours allow."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

_QUADRANT = 4  # segments of a quarter circle


def expand(
    nuclei: NDArray[np.object_],
    ids: NDArray[np.object_],
    *,
    wanted: NDArray[np.int64],
    distance_px: float,
) -> NDArray[np.object_]:
    """Grow nuclei by `distance_px`; what two of them reach is divided between them.

    The border between two nuclei is the perpendicular bisector of their shortest connection,
    and counts only where both reach. A nucleus is always in its own cell, and in no other but
    where nuclei overlap. A cell depends on nothing but the nuclei within twice the distance:
    not on the order of `nuclei`, nor on others among them.

    Parameters
    ----------
    nuclei
        Valid polygons (n,): those to grow, and every other within twice the distance.
    ids
        Unique names of the nuclei, (n,); they settle the order of the arithmetic.
    wanted
        int64 (m,): which of the nuclei to grow.

    Returns
    -------
    ndarray
        m polygons or, rarely, multipolygons; they may need `io.geojson.clean`.
    """
    cells = shapely.buffer(nuclei, distance_px, quad_segs=_QUADRANT)
    own, other = _neighbours(nuclei, ids, wanted, 2 * distance_px)
    if not len(own):
        return np.asarray(cells[wanted])
    middle, direction = _borders(nuclei, own, other, first=ids[own] < ids[other])
    beyond = shapely.intersection(cells[other], _far_side(cells[own], middle, direction))
    over = _reach(nuclei[other], middle, -direction) > 0
    beyond[over] = shapely.union(beyond[over], nuclei[other][over])
    starts = np.flatnonzero(np.diff(own, prepend=-1))
    turn = np.arange(len(own)) - np.repeat(starts, np.diff([*starts, len(own)]))
    for number in range(int(turn.max()) + 1):
        now = turn == number
        cells[own[now]] = shapely.difference(cells[own[now]], beyond[now])
    crossing = over | (_reach(nuclei[own], middle, direction) > 0)
    hurt = np.unique(own[crossing])
    cells[hurt] = shapely.union(cells[hurt], nuclei[hurt])
    return np.asarray(cells[wanted])


def _neighbours(
    nuclei: NDArray[np.object_], ids: NDArray[np.object_], wanted: NDArray[np.int64], reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a wanted nucleus and another within `reach`, by the first and the other's id."""
    found = shapely.STRtree(nuclei).query(nuclei[wanted], predicate="dwithin", distance=reach)
    own, other = wanted[found[0]], found[1]
    pairs = own != other
    own, other = own[pairs], other[pairs]
    rank = np.empty(len(ids), np.int64)
    rank[np.argsort(ids)] = np.arange(len(ids))
    order = np.lexsort((rank[other], own))
    return own[order], other[order]


def _borders(
    nuclei: NDArray[np.object_],
    own: NDArray[np.int64],
    other: NDArray[np.int64],
    *,
    first: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A point of the border of each pair, and the unit vector across it, from own to other.

    Both nuclei of a pair get the same numbers: they are computed from the one with the
    lesser id (`first`). Where nuclei touch, the vector is that between their centroids.
    """
    one, two = np.where(first, own, other), np.where(first, other, own)
    ends = shapely.get_coordinates(shapely.shortest_line(nuclei[one], nuclei[two]))
    start, stop = ends.reshape(-1, 2, 2).swapaxes(0, 1)
    across = stop - start
    centres = shapely.get_coordinates(shapely.centroid(nuclei))
    touching = np.hypot(*across.T) < 1e-6
    across[touching] = (centres[two] - centres[one])[touching]
    length = np.hypot(*across.T)
    across[length == 0] = (1, 0)
    across /= np.where(length > 0, length, 1)[:, None]
    return (start + stop) / 2, np.where(first[:, None], across, -across)


def _far_side(
    cells: NDArray[np.object_], middle: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.object_]:
    """Rectangle beyond each border, large enough to cover what of the cell lies there."""
    boxes = shapely.bounds(cells)
    size = 2 * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])[:, None]
    along = direction[:, ::-1] * (-1, 1) * size
    deep = direction * size
    return np.asarray(
        shapely.polygons(
            np.stack(
                [middle - along, middle + along, middle + along + deep, middle - along + deep],
                axis=1,
            )
        )
    )


def _reach(
    polygons: NDArray[np.object_], middle: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far each polygon reaches beyond its border; touching it is not beyond."""
    positions, owner = shapely.get_coordinates(polygons, return_index=True)
    depth = ((positions - middle[owner]) * direction[owner]).sum(axis=1)
    starts = np.searchsorted(owner, np.arange(len(polygons)))
    return np.asarray(np.maximum.reduceat(depth, starts) - 1e-6)
