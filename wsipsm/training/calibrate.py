"""What a trained network needs to segment, found without truth: threshold and size of cells."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsipsm.models.segmenter import Maps, Segmented, UNetSegmenter
from wsipsm.training.pool import Place, Pool
from wsipsm.training.targets import IGNORE

REGIONS = 48
RANGE = (0.1, 0.8)
"""Regions that set the threshold of foreground, and its range."""


@dataclass(frozen=True)
class Fit:
    """Threshold of foreground probability, and median area of the cells that it gives."""

    foreground: float
    median_area_um2: float


def calibrate(segmenter: UNetSegmenter, pool: Pool, *, workers: int) -> Fit:
    """Foreground above which lie as many pixels as the first labels call foreground.

    Labels that disagree from place to place leave a network unsure, and unsure of the rarer class
    above all: half is too much to ask.
    """
    specimens = pool.of_specimens(pool.places[:REGIONS])
    places = [place for same in specimens for place in same]

    def look(same: list[Place]) -> list[Maps]:
        own = pool.met(segmenter, same)
        found = [own.maps(pool.image(place)[None]) for place in same]
        return [(chances[0], height[0], spread[0]) for chances, height, spread in found]

    with ThreadPoolExecutor(workers) as workshop:
        seen = [maps for each in workshop.map(look, specimens) for maps in each]
        wanted = np.stack([pool.labels(0, place)[0] for place in places])
        chances = np.stack([1 - maps[0][0] for maps in seen])
        foreground = _matching(chances[wanted != IGNORE], wanted[wanted != IGNORE])
        fitted = segmenter.adapted(foreground=foreground)
        areas = list(workshop.map(lambda maps: _areas(fitted.cells(*maps)), seen))
    all_areas = np.concatenate(areas)
    median = float(np.median(all_areas)) if len(all_areas) else 0.0
    return Fit(foreground, round(median * segmenter.mpp**2, 3))


def _matching(chances: NDArray[np.float32], classes: NDArray[np.uint8]) -> float:
    share = (classes > 0).mean() if len(classes) else 0.0
    if share == 0:
        return RANGE[1]
    return round(float(np.clip(np.quantile(chances, 1 - share), *RANGE)), 3)


def _areas(found: Segmented) -> NDArray[np.int64]:
    """Pixels of each cell."""
    return np.bincount(found.labels.ravel(), minlength=1)[1:]
