"""Quality without truth: figures of a slide, what to doubt in them, and slides that stand out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from wsipsm.io.tiles import Tiles
from wsipsm.report.cells import CellColumns

Figures = Mapping[str, float | None]

SEAM_UM = 4.0
"""Cells whose centres lie this near to a border of a tile are compared with the others."""

SEAM_TOLERANCE, SEAM_SIGMAS = 0.1, 4.0
"""A slide's cells show its tiles if there are this much more or fewer of them, beyond chance."""

STANDS_OUT = 3.5
"""Modified z-score from which a value is an outlier: Iglewicz and Hoaglin (1993), section 3.3."""

LEAST_SLIDES = 5
"""With fewer slides none stands out."""


@dataclass(frozen=True)
class Figure:
    """A figure of quality: its name, what it is, decimals, and whether it is a share.

    An `optional` one is shown only where a slide has it.
    """

    title: str
    meaning: str
    digits: int = 2
    share: bool = False
    optional: bool = False


FIGURES = {
    "density": Figure("cells per mm²", "cells in an area of tissue", 0),
    "score": Figure("mean score", "mean probability of a cell, as the segmenter sees it"),
    "contrast": Figure("contrast", "median optical density of a cell over that of its ring"),
    "area": Figure("median area (µm²)", "median area of a cell", 0),
    "separation": Figure(
        "separation", "distance of nuclei and background in the pseudo mask, in spreads"
    ),
    "flipped": Figure(
        "flipped", "sampled tiles whose raw activation had to be turned round", 0, share=True
    ),
    "seams": Figure("at borders", "cells at borders of tiles, over those expected there"),
    "agreement": Figure("agreement", "F1 of the cells of the first two models, by their centres"),
    "committee": Figure(
        "committee agreement",
        "median of how far the members of the committee agree on a cell",
        optional=True,
    ),
    "excluded": Figure("excluded", "tissue left out for artefacts", 0, share=True),
}


def of_cells(cells: CellColumns, tiles: Tiles) -> dict[str, float | None]:
    """Figures that come from the cells of one model; None where they say nothing."""
    if not len(cells.x):
        return dict.fromkeys(("score", "contrast", "area", "seams", "committee"))
    return {
        "score": float(np.mean(cells.score, dtype=np.float64)),
        "contrast": _median(cells.contrast),
        "area": _median(cells.area_um2),
        "seams": seam_ratio(cells.x, cells.y, tiles),
        "committee": None if cells.agreement is None else _median(cells.agreement),
    }


def agreement(one: CellColumns, other: CellColumns, *, radius_px: float) -> float | None:
    """F1 of two sets of centres; partners are each other's nearest, `radius_px` away at most."""
    if not len(one.x) or not len(other.x):
        return None
    first, second = (np.stack([cells.x, cells.y], axis=1) for cells in (one, other))
    distance, to_second = KDTree(second).query(first, distance_upper_bound=radius_px)
    found = np.flatnonzero(np.isfinite(distance))
    _, to_first = KDTree(first).query(second[to_second[found]])
    matches = int((to_first == found).sum())
    return 2 * matches / (len(first) + len(second))


def seam_ratio(x: NDArray[np.float64], y: NDArray[np.float64], tiles: Tiles) -> float | None:
    """Cells within `SEAM_UM` of a border of their tile, over those expected of even density.

    Only tiles with kept tiles on all sides count: at the edge of tissue there are fewer cells.
    None where 100 cells or fewer are expected at borders. Centres are in level-0 pixels.
    """
    side, reach = tiles.grid.tile_px, SEAM_UM / tiles.mpp
    inner = ndimage.binary_erosion(tiles.kept, np.ones((3, 3), bool))
    col, row = (np.floor(centre / tiles.scale / side).astype(np.int64) for centre in (x, y))
    col, row = np.clip(col, 0, inner.shape[1] - 1), np.clip(row, 0, inner.shape[0] - 1)
    local = np.stack([x / tiles.scale - col * side, y / tiles.scale - row * side])
    local = local[:, inner[row, col]]
    share = 1 - max(0.0, 1 - 2 * reach / side) ** 2
    expected = local.shape[1] * share
    if expected <= 100:
        return None
    return float((np.minimum(local, side - local).min(axis=0) < reach).sum() / expected)


def doubts(figures: Figures, *, cells: int) -> list[str]:
    """What is doubtful in a slide by itself, each in a few words; the limits are natural ones."""
    if not cells:
        return ["no cell was found"]
    share = figures.get("seams")
    found = {
        "its cells are no darker than what surrounds them": _below(figures, "contrast", 0.0),
        "its cells show the borders of the tiles": share is not None and _shows(share, cells),
        "the two segmenters agree on less than half": _below(figures, "agreement", 0.5),
        "more than half of its tissue is excluded": _above(figures, "excluded", 0.5),
        "parts of its file could not be read": _above(figures, "unreadable", 0.0),
    }
    return [words for words, holds in found.items() if holds]


def outliers(values: Sequence[float | None]) -> list[float]:
    """Modified z-score of each value, Iglewicz and Hoaglin (1993); 0 where there is none.

    0.6745 (x - median) / MAD; all 0 with fewer than `LEAST_SLIDES` values, or without spread.
    """
    known = np.array([math.nan if value is None else value for value in values], np.float64)
    finite = known[np.isfinite(known)]
    if len(finite) < LEAST_SLIDES:
        return [0.0] * len(values)
    middle = float(np.median(finite))
    spread = float(np.median(np.abs(finite - middle)))
    if not spread:
        return [0.0] * len(values)
    return [float(z) for z in np.nan_to_num(0.6745 * (known - middle) / spread)]


def standing_out(slides: Sequence[Figures]) -> list[list[str]]:
    """For each slide, the figures in which it stands out of the cohort, in words."""
    found: list[list[str]] = [[] for _ in slides]
    for name, figure in FIGURES.items():
        scores = outliers([slide.get(name) for slide in slides])
        for words, z in zip(found, scores, strict=True):
            if abs(z) > STANDS_OUT:
                side = "high" if z > 0 else "low"
                words.append(f"{figure.title} unusually {side} in this cohort")
    return found


def _shows(ratio: float, cells: int) -> bool:
    """Whether a ratio of cells at borders is more than chance; all cells bound their number."""
    return abs(ratio - 1) > max(SEAM_TOLERANCE, SEAM_SIGMAS / math.sqrt(cells))


def _below(figures: Figures, name: str, limit: float) -> bool:
    value = figures.get(name)
    return value is not None and value <= limit


def _above(figures: Figures, name: str, limit: float) -> bool:
    value = figures.get(name)
    return value is not None and value > limit


def _median(values: NDArray[np.float32]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None
