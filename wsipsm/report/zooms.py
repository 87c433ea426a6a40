"""Where to look closely at a slide: where cells are densest, typical, and most doubtful."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsipsm.io.tiles import Tiles
from wsipsm.report.cells import CellColumns
from wsipsm.report.views import box_around, densest_box
from wsipsm.types import Region


@dataclass(frozen=True)
class Zoom:
    """A detail of a slide in working pixels, its heading, and why it was chosen."""

    title: str
    reason: str
    box: Region


def zooms(tiles: Tiles, cells: CellColumns | None, *, side_um: float) -> list[Zoom]:
    """Up to three details of a slide, the densest first; fewer where cells are in few places.

    The places are those of a grid of side `side_um`. Typical is where number, score, area and
    haematoxylin of the cells are nearest to their medians over all places, each in spreads;
    doubtful is where the mean score is lowest among places with as many cells as the median.
    """
    none = np.zeros(0)
    x, y = (cells.x, cells.y) if cells else (none, none)
    dense = Zoom("Densest", "most cells", densest_box(tiles, x, y, side_um))
    if cells is None or not len(x):
        return [dense]
    side = max(1, round(side_um / tiles.mpp))
    places, traits = _places(cells, side * tiles.scale)
    many = traits[:, 0] >= np.median(traits[:, 0])
    away = np.where(many, _distance(traits), np.inf)
    score = np.where(many, traits[:, 1], np.inf)
    found = [dense]
    for title, reason, order in (
        ("Typical", "nearest to the medians of the slide", away),
        ("Doubtful", "lowest score", score),
    ):
        for place in np.argsort(order, kind="stable")[: len(found) + 1]:
            row, col = places[place]
            box = box_around(tiles, (float(row + 0.5) * side, float(col + 0.5) * side), side)
            if np.isfinite(order[place]) and all(box != other.box for other in found):
                found.append(Zoom(title, reason, box))
                break
    return found


def _places(cells: CellColumns, side_px: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Row and column of each place with cells, and number, score, area and stain of its cells."""
    grid = np.floor(np.stack([cells.y, cells.x], axis=1) / side_px).astype(np.int64)
    places, of, counts = np.unique(grid, axis=0, return_inverse=True, return_counts=True)
    of = of.ravel()
    means = [
        np.bincount(of, np.nan_to_num(values.astype(np.float64))) / counts
        for values in (cells.score, cells.area_um2, cells.haematoxylin)
    ]
    return places, np.stack([counts.astype(np.float64), *means], axis=1)


def _distance(traits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of distances from the medians, each in median absolute deviations."""
    away = np.abs(traits - np.median(traits, axis=0))
    spread = np.median(away, axis=0)
    total: NDArray[np.float64] = (away / np.where(spread > 0, spread, 1)).sum(axis=1)
    return total
