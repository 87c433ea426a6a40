"""Whether two cell tables of one place are the same cells with the same outlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.evaluation.matching import best_pairs

SAME_CELL_IOU = 0.5


@dataclass(frozen=True)
class Agreement:
    """How the cells of one table are found again in another.

    Attributes
    ----------
    cells
        Cells of the second table.
    equal
        Cells with the same outline in both, to the bit.
    changed
        Cells of both, one to one with an IoU of at least 0.5, with another outline.
    lowest_iou
        Of the changed cells; 1 if there is none.
    gone, new
        Cells of the first table alone, and of the second alone.
    """

    cells: int
    equal: int
    changed: int
    lowest_iou: float
    gone: int
    new: int

    @property
    def equal_share(self) -> float:
        """Equal cells among all cells of both tables."""
        every = self.equal + self.changed + self.gone + self.new
        return self.equal / every if every else 1.0


def compare_cells(first: NDArray[np.object_], second: NDArray[np.object_]) -> Agreement:
    """Compare the outlines of two tables (shapely polygons in the same pixels), in any order."""
    known, found = (shapely.to_wkb(shapely.normalize(side)) for side in (first, second))
    _, at_known, at_found = np.intersect1d(known, found, return_indices=True)
    rest = np.delete(first, at_known), np.delete(second, at_found)
    iou = _overlaps(*rest)
    return Agreement(
        cells=len(second),
        equal=len(at_known),
        changed=len(iou),
        lowest_iou=float(iou.min(initial=1)),
        gone=len(rest[0]) - len(iou),
        new=len(rest[1]) - len(iou),
    )


def _overlaps(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    """IoU of each cell that both sides have, one to one."""
    row, col = shapely.STRtree(second).query(first, predicate="intersects")
    shared = shapely.area(shapely.intersection(first[row], second[col]))
    iou = shared / (shapely.area(first[row]) + shapely.area(second[col]) - shared)
    close = iou >= SAME_CELL_IOU
    iou = iou[close]
    return np.asarray(iou[best_pairs(row[close], col[close], iou)])


def count_on_seams(polygons: NDArray[np.object_], *, side_px: float, cut: int) -> int:
    """Number of cells that lie in more than one of `cut` x `cut` square tiles (same pixels)."""
    tile = (shapely.bounds(polygons).reshape(-1, 4) / side_px).astype(np.int64).clip(0, cut - 1)
    return int((tile[:, :2] != tile[:, 2:]).any(axis=1).sum())
