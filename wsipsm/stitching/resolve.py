"""The contract of stitching: every cell of the slide once, its outline whole from one tile.

Each tile tells of the cells that reach into it. A cell that tiles agree on is *owned* by the tile
that holds its centroid; the other tiles' views of it are dropped without loss. Where tiles
disagree, outlines from different tiles overlap (by `overlap` of the smaller one), and of those
the best is kept: one that its tile saw whole before a cut one, an owned one before a guest, the
surer, the larger, and last the one of the first tile. What is dropped because it overlaps a kept
cell that is not the same outline counts as *resolved*. A cell that no tile saw whole is *oversize*:
the largest view of it is kept. A guest that overlaps nothing is kept: its owner's tile saw no
cell there. Nothing is merged, and nothing depends on the order of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray


@dataclass(frozen=True)
class Views:
    """Cells as tiles saw them: parallel arrays of length n.

    Attributes
    ----------
    polygons
        Shapely polygons in level-0 pixels.
    tiles
        int64: number of the tile that saw it.
    owned, cut
        bool: its centroid lies in that tile; the tile did not see all of it.
    scores
        float32, 0 to 1.
    """

    polygons: NDArray[np.object_]
    tiles: NDArray[np.int64]
    owned: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Counts:
    """What stitching did: cells kept because owned, kept or dropped in a conflict, and so on.

    Attributes
    ----------
    cells
        Cells of the slide: owned + rescued.
    owned
        Kept cells whose centroid lies in the tile that saw them.
    rescued
        Kept cells whose own tile saw none there, or saw it cut.
    resolved
        Differing views of a kept cell that were dropped.
    oversize
        Kept cells that no tile saw whole.
    dropped
        Views of owned cells, equal to the kept outline.
    """

    cells: int
    owned: int
    rescued: int
    resolved: int
    oversize: int
    dropped: int


def resolve(views: Views, *, overlap: float) -> tuple[NDArray[np.bool_], Counts]:
    """Which views to keep, bool (n,), and what was counted.

    Parameters
    ----------
    overlap
        Share of the smaller outline's area that makes two views one cell.

    Notes
    -----
    Time and memory are linear in the number of views, through one spatial index.
    """
    first, second, same = _conflicts(views, overlap)
    kept = _keep_best(_ranks(views), first, second)
    gone = ~kept
    equal = np.zeros(len(kept), bool)
    for a, b in ((first, second), (second, first)):
        equal[a[same & kept[b]]] = True
    return kept, Counts(
        cells=int(kept.sum()),
        owned=int((kept & views.owned).sum()),
        rescued=int((kept & ~views.owned).sum()),
        resolved=int((gone & ~equal).sum()),
        oversize=int((kept & views.cut).sum()),
        dropped=int((gone & equal).sum()),
    )


def _conflicts(
    views: Views, overlap: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of views of different tiles that are one cell, and whether the outlines are equal."""
    tree = shapely.STRtree(views.polygons)
    first, second = tree.query(views.polygons, predicate="intersects")
    other = (first < second) & (views.tiles[first] != views.tiles[second])
    first, second = first[other], second[other]
    same = shapely.equals_exact(views.polygons[first], views.polygons[second])
    area = shapely.area(views.polygons)
    shared = np.ones(len(first))
    shared[~same] = shapely.area(
        shapely.intersection(views.polygons[first[~same]], views.polygons[second[~same]])
    ) / np.maximum(np.minimum(area[first], area[second])[~same], 1e-9)
    one = shared >= overlap
    return first[one], second[one], same[one]


def _ranks(views: Views) -> NDArray[np.int64]:
    """Position of each view in the order from best to worst; no two are equal."""
    area = shapely.area(views.polygons)
    bounds = shapely.bounds(views.polygons).reshape(-1, 4)
    worth = np.where(views.cut, area, 0)  # of cut views, the largest comes first
    order = np.lexsort(
        (
            bounds[:, 0],
            bounds[:, 1],
            views.tiles,
            -area,
            -views.scores,
            ~views.owned,
            -worth,
            views.cut,
        )
    )
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _keep_best(
    ranks: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Greedy suppression in the order of ranks, in rounds over all conflicts at once."""
    undecided = np.ones(len(ranks), bool)
    kept = np.zeros(len(ranks), bool)
    while undecided.any():
        live = undecided[first] & undecided[second]
        first, second = first[live], second[live]
        beaten = np.where(ranks[first] < ranks[second], second, first)
        best = undecided.copy()
        best[beaten] = False
        kept |= best
        undecided &= ~best
        undecided[second[best[first]]] = False
        undecided[first[best[second]]] = False
    return kept
