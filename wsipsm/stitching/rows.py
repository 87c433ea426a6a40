"""Stitching row by row: what no other tile read is kept unseen, the rest is carried on as needed.

A tile reads its own pixels and a halo. A view inside the part of its tile that no other tile
reads can overlap no other tile's view, and is kept. The others are the *rims*: they are resolved
a row of shards at a time, and groups that reach what the next row reads are carried to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.stitching.resolve import Bools, Counts, Index, Views, resolve

MARGIN = 1.0
"""Working pixels by which an outline may leave what its tile read, for rounding."""


@dataclass(frozen=True)
class Reads:
    """What tiles read: their side and their halo, in level-0 pixels."""

    tile: float
    halo: float

    @classmethod
    def of_record(cls, record: dict[str, float]) -> Reads:
        """From the record of stage 6, which counts in working pixels."""
        scale = record["scale"]
        return cls(tile=record["tile_px"] * scale, halo=(record["halo_px"] + MARGIN) * scale)

    def alone(self, boxes: NDArray[np.float64], rows: Index, cols: Index) -> Bools:
        """Views that no other tile's view can overlap, bool (n,).

        Parameters
        ----------
        boxes
            float64 (n, 4): xmin, ymin, xmax, ymax in level-0 pixels.
        rows, cols
            Row and column (n,) of the tile that saw it.
        """
        corner = np.stack([cols, rows], axis=1) * self.tile
        return np.asarray(
            (boxes[:, :2] > corner + self.halo).all(axis=1)
            & (boxes[:, 2:] < corner + self.tile - self.halo).all(axis=1)
        )

    def top(self, row: int) -> float:
        """Smallest y that this row of tiles, or a later one, reads."""
        return row * self.tile - self.halo


@dataclass(frozen=True)
class Row:
    """What the tiles of one row of shards saw: parallel arrays of length n.

    Attributes
    ----------
    boxes
        float64 (n, 4): xmin, ymin, xmax, ymax in level-0 pixels.
    tile_rows, tile_cols
        int64: the tile that saw it.
    owned, cut, scores
        As in `Views`.
    outlines
        Gives the polygons of some, by a mask (n,).
    stop
        Later rows have only tiles of this row of tiles, or below.
    """

    boxes: NDArray[np.float64]
    tile_rows: Index
    tile_cols: Index
    owned: Bools
    cut: Bools
    scores: NDArray[np.float32]
    outlines: Callable[[Bools], NDArray[np.object_]]
    stop: int

    def rims(self, mask: Bools) -> Views:
        """Some of them, with their outlines."""
        return Views(
            polygons=self.outlines(mask),
            tiles=(self.tile_rows[mask] << 32) + self.tile_cols[mask],
            owned=self.owned[mask],
            cut=self.cut[mask],
            scores=self.scores[mask],
        )


def resolve_rows(rows: Iterable[Row], *, reads: Reads, overlap: float) -> tuple[Bools, Counts]:
    """Decide row by row, exactly as `resolve` would with all rows at once.

    Returns
    -------
    kept, counts
        bool, for all views of all rows in their order; and what was counted.
    """
    masks, chosen, counts = [np.zeros(0, bool)], [np.zeros(0, np.int64)], Counts()
    start, left = 0, _Left.nothing()
    for row in rows:
        alone = reads.alone(row.boxes, row.tile_rows, row.tile_cols)
        masks.append(alone)
        counts += Counts.of_kept(row.owned[alone], row.cut[alone])
        left = left.and_more(row.rims(~alone), start + np.flatnonzero(~alone))
        bottom = shapely.bounds(left.views.polygons).reshape(-1, 4)[:, 3]
        numbers, more, left = left.resolved(overlap, complete=bottom < reads.top(row.stop))
        chosen.append(numbers)
        counts += more
        start += len(alone)
    numbers, more, _ = left.resolved(overlap, complete=None)
    kept = np.concatenate(masks)
    kept[np.concatenate([*chosen, numbers])] = True
    return kept, counts + more


@dataclass(frozen=True)
class _Left:
    """Views that are not decided yet, and their numbers among all."""

    views: Views
    numbers: Index

    @classmethod
    def nothing(cls) -> _Left:
        none = np.zeros(0, bool)
        views = Views(none.astype(object), none.astype(np.int64), none, none, none.astype("f4"))
        return cls(views, none.astype(np.int64))

    def and_more(self, views: Views, numbers: Index) -> _Left:
        return _Left(Views.joined([self.views, views]), np.concatenate([self.numbers, numbers]))

    def resolved(self, overlap: float, complete: Bools | None) -> tuple[Index, Counts, _Left]:
        """Numbers to keep, their counts, and what is left."""
        kept, decided, counts = resolve(self.views, overlap=overlap, complete=complete)
        return self.numbers[kept], counts, _Left(self.views[~decided], self.numbers[~decided])
