"""The contract of stitching: every cell of the slide once, its outline whole from one tile.

Each tile tells of the cells that reach into it. A cell that tiles agree on is *owned* by the tile
that holds its centroid; the other tiles' views of it are dropped without loss. Where tiles
disagree, outlines from different tiles overlap (by `overlap` of the smaller one), and of those
the best is kept: one that its tile saw whole before a cut one, an owned one before a guest, the
surer, the larger, and last the one of the first tile. What is dropped because it overlaps a kept
cell that is not the same outline counts as *resolved*. A cell that no tile saw whole is *oversize*:
the largest view of it is kept. A guest that overlaps nothing is kept: its owner's tile saw no
cell there. Nothing is merged, and nothing depends on the order of tiles.

Views that overlap, those that overlap them, and so on, are a group, and a group is decided
without a look at any other. So a slide need not be in memory at once: a group is decided as soon
as every view that can belong to it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsipsm.stitching.overlap import same_cell

Bools = NDArray[np.bool_]
Index = NDArray[np.int64]


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
    tiles: Index
    owned: Bools
    cut: Bools
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, rows: Bools | Index) -> Views:
        """Return some of the views, by mask or by position."""
        return Views(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def joined(several: Sequence[Views]) -> Views:
        """One after the other."""
        return Views(
            *(np.concatenate([getattr(v, field.name) for v in several]) for field in fields(Views))
        )


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

    cells: int = 0
    owned: int = 0
    rescued: int = 0
    resolved: int = 0
    oversize: int = 0
    dropped: int = 0

    @classmethod
    def of_kept(cls, owned: Bools, cut: Bools) -> Counts:
        """Count kept views, bool (n,) each."""
        cells, own = len(owned), int(owned.sum())
        return cls(cells=cells, owned=own, rescued=cells - own, oversize=int(cut.sum()))

    def __add__(self, other: Counts) -> Counts:
        sums = (getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        return Counts(*sums)


def resolve(
    views: Views, *, overlap: float, complete: Bools | None = None
) -> tuple[Bools, Bools, Counts]:
    """Decide which views to keep.

    Parameters
    ----------
    overlap
        Share of the smaller outline's area that makes two views one cell.
    complete
        bool (n,): every view that can overlap this one is among `views`. All, if absent.

    Returns
    -------
    kept, decided
        bool (n,): views to keep; views whose group is complete. Of a group that is not, none is
        kept yet: call again with these and the missing views.
    counts
        Of the decided views.

    Notes
    -----
    Time and memory are linear in the number of views, through one spatial index.
    """
    area = shapely.area(views.polygons)
    first, second, same = _conflicts(views, area, overlap)
    decided = np.ones(len(views), bool)
    if complete is not None:
        decided = _in_whole_groups(complete, first, second)
        here = decided[first]
        first, second, same = first[here], second[here], same[here]
    kept = decided & _best(_ranks(views, area), first, second)
    equal = np.zeros(len(views), bool)
    for a, b in ((first, second), (second, first)):
        equal[a[same & kept[b]]] = True
    dropped, gone = int((equal & ~kept).sum()), int((decided & ~kept).sum())
    counts = Counts.of_kept(views.owned[kept], views.cut[kept])
    return kept, decided, counts + Counts(resolved=gone - dropped, dropped=dropped)


def _conflicts(
    views: Views, area: NDArray[np.float64], overlap: float
) -> tuple[Index, Index, Bools]:
    """Pairs of views of different tiles that are one cell, and whether the outlines are equal.

    The view of the lower tile is the first of a pair, so that sums do not depend on the order.
    """
    polygons = views.polygons
    first, second = shapely.STRtree(polygons).query(polygons)
    ordered = views.tiles[first] < views.tiles[second]
    first, second = first[ordered], second[ordered]
    one, same = same_cell(
        polygons[first], polygons[second], (area[first], area[second]), overlap=overlap
    )
    return first[one], second[one], same[one]


def _in_whole_groups(complete: Bools, first: Index, second: Index) -> Bools:
    """Views whose group has none that is incomplete."""
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(complete),) * 2)
    count, group = connected_components(links, directed=False)
    whole = np.ones(count, bool)
    whole[group[~complete]] = False
    return np.asarray(whole[group])


def _ranks(views: Views, area: NDArray[np.float64]) -> Index:
    """Position of each view in the order from best to worst; only views of one tile may tie."""
    worth = np.where(views.cut, area, 0)  # of cut views, the largest comes first
    order = np.lexsort((views.tiles, -area, -views.scores, ~views.owned, -worth, views.cut))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _best(ranks: Index, first: Index, second: Index) -> Bools:
    """Greedy suppression in the order of ranks, in rounds over all conflicts at once."""
    ahead = ranks[first] < ranks[second]
    better, worse = np.where(ahead, first, second), np.where(ahead, second, first)
    kept = np.ones(len(ranks), bool)
    undecided = kept.copy()
    while len(better):
        best = undecided.copy()
        best[worse] = False
        beaten = worse[best[better]]
        kept[beaten] = undecided[beaten] = False
        live = undecided[better] & undecided[worse]
        better, worse = better[live], worse[live]
    return kept
