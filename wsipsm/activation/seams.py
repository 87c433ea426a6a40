"""Whether tile borders show in a map or a mask: jumps across them beside jumps elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Seams:
    """Mean absolute difference of neighbouring pixels.

    Attributes
    ----------
    border
        Of neighbours in two tiles.
    inside
        Of neighbours in one tile.
    spread
        Standard deviation of `ratio` by chance: of what it would be if the tiles began at
        another row and column.
    """

    border: float
    inside: float
    spread: float

    @property
    def ratio(self) -> float:
        """1: borders do not show. NaN where there is no border, or nothing ever changes."""
        return self.border / self.inside if self.inside > 0 else float("nan")


def measure_seams(
    values: NDArray[np.floating] | NDArray[np.integer] | NDArray[np.bool_],
    *,
    tile_px: int,
    used: NDArray[np.bool_] | None = None,
) -> Seams:
    """Compare jumps across tile borders with jumps inside tiles.

    Parameters
    ----------
    values
        A map or a mask (y, x); of a label image or classes, give `values > 0` or one class.
    tile_px
        Side of a tile on the grid of `values`; tiles begin at row and column 0.
    used
        bool (y, x): pixels with a value; others, and their neighbours' jumps to them, are left
        out. All, if left out.
    """
    numbers = np.asarray(values, np.float64)
    used = np.ones(numbers.shape, bool) if used is None else used
    totals, counts = np.zeros(tile_px), np.zeros(tile_px)
    for plane, mask in ((numbers, used), (numbers.T, used.T)):
        both = mask[:, 1:] & mask[:, :-1]
        jumps = np.where(both, np.abs(np.diff(plane, axis=1)), 0).sum(axis=0)
        offset = np.arange(1, plane.shape[1]) % tile_px
        totals += np.bincount(offset, jumps, minlength=tile_px)
        counts += np.bincount(offset, both.sum(axis=0), minlength=tile_px)
    if counts[0] == 0 or counts[1:].sum() == 0:
        return Seams(float("nan"), float("nan"), float("nan"))
    inside = totals[1:].sum() / counts[1:].sum()
    others = totals[1:][counts[1:] > 0] / counts[1:][counts[1:] > 0]
    spread = others.std() / inside if inside > 0 else float("nan")
    return Seams(float(totals[0] / counts[0]), float(inside), float(spread))
