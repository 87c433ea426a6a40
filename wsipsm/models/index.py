"""Labelling index of a slide: shares of classes with intervals, and where the index is highest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

CONFIDENCE = 0.95

HOT_SPOT_UM = 250.0
"""Radius of a hot spot: a disk of 0.2 square millimetres, about a field at 40 x."""

HOT_SPOTS, LEAST_CELLS = 3, 20
BINS = 10
"""Hot spots that are named, the fewest cells in one, and the bins along its radius."""

Batch = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


@dataclass(frozen=True)
class Share:
    """Number of cells of a kind among others, their share, and its 95 % interval."""

    count: int
    total: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class HotSpot:
    """A disk of radius `HOT_SPOT_UM` around a centre in level-0 pixels, and the share in it."""

    x: float
    y: float
    share: Share


def share_of(count: int, total: int) -> Share:
    """Share with Wilson's score interval (Wilson 1927, by SciPy); 0 to 1 where there is nothing.

    Cells are taken as independent; neighbours are not quite, so that the interval is a narrow one.
    """
    if total == 0:
        return Share(0, 0, float("nan"), 0.0, 1.0)
    found = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count, total, count / total, float(found.low), float(found.high))


def hot_spots(batches: Iterable[Batch], *, size_px: tuple[int, int], mpp: float) -> list[HotSpot]:
    """Disks where the index is highest, the highest first, none within another.

    Parameters
    ----------
    batches
        Centroids x and y in level-0 pixels, and whether each cell is positive, a few at a time.
    size_px
        Level-0 height and width of the slide.
    mpp
        Microns per level-0 pixel.

    Notes
    -----
    Cells are counted in bins of a tenth of the radius, and a disk counts the bins whose centres
    lie in it. Disks are ranked by the lower end of their interval, so that a few cells do not
    make a hot spot.
    """
    bin_px = HOT_SPOT_UM / mpp / BINS
    positive, every = _binned(batches, size_px=size_px, bin_px=bin_px)
    y, x = np.mgrid[-BINS : BINS + 1, -BINS : BINS + 1]
    disk = (y**2 + x**2 <= BINS**2).astype(float)
    hits, total = (
        np.rint(signal.fftconvolve(counts, disk, mode="same")).astype(np.int64)
        for counts in (positive, every)
    )
    rank = np.where((total >= LEAST_CELLS) & (hits > 0), _wilson_low(hits, total), 0)
    found: list[HotSpot] = []
    while len(found) < HOT_SPOTS and rank.max(initial=0) > 0:
        row, col = (int(at) for at in np.unravel_index(np.argmax(rank), rank.shape))
        share = share_of(int(hits[row, col]), int(total[row, col]))
        found.append(HotSpot((col + 0.5) * bin_px, (row + 0.5) * bin_px, share))
        rows, cols = np.ogrid[: rank.shape[0], : rank.shape[1]]
        rank = np.where((rows - row) ** 2 + (cols - col) ** 2 <= (2 * BINS) ** 2, 0, rank)
    return found


def _binned(
    batches: Iterable[Batch], *, size_px: tuple[int, int], bin_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positive and all cells in each bin (y, x)."""
    rows, cols = (max(1, int(np.ceil(size / bin_px))) for size in size_px)
    counts = np.zeros((2, rows * cols))
    for x, y, positive in batches:
        row = np.clip((y // bin_px).astype(np.int64), 0, rows - 1)
        col = np.clip((x // bin_px).astype(np.int64), 0, cols - 1)
        place = row * cols + col
        counts[0] += np.bincount(place[positive], minlength=rows * cols)
        counts[1] += np.bincount(place, minlength=rows * cols)
    return counts[0].reshape(rows, cols), counts[1].reshape(rows, cols)


def _wilson_low(hits: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower end of Wilson's interval, of many shares at once."""
    z = stats.norm.ppf((1 + CONFIDENCE) / 2)
    n = np.maximum(total, 1)
    share = hits / n
    middle = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray((middle - half) / (1 + z**2 / n))
