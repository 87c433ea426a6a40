"""Masks of single cells, cut out at once: what is stable, what overlaps, and one label image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.types import Region

STABILITY_OFFSET = 1.0
"""How far the threshold of logits is moved to either side, as in segment-anything."""


@dataclass(frozen=True)
class Mask:
    """One cell: its place in the image, its pixels (bool, as large), its score, its class."""

    place: Region
    pixels: NDArray[np.bool_]
    score: float
    kind: int

    @property
    def area(self) -> int:
        """Number of its pixels."""
        return int(self.pixels.sum())


def stability(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """How little masks (n, y, x) depend on the threshold, (n,), 0 to 1; 0 for an empty one.

    The mask at a threshold above zero over the mask at one as far below (Kirillov et al. 2023).
    """
    inner = (logits > STABILITY_OFFSET).sum(axis=(1, 2))
    outer = (logits > -STABILITY_OFFSET).sum(axis=(1, 2))
    return np.asarray(inner / np.maximum(outer, 1), np.float64)


def cut_out(logits: NDArray[np.float32], *, view: Region, score: float, kind: int) -> Mask | None:
    """The mask of positive logits (y, x) of a square view, in pixels of the image; None if empty.

    Only the part around the mask is enlarged (linearly), so that its cost is that of a cell.
    """
    rows, cols = (np.flatnonzero((logits > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    scale = view.height / len(logits)
    down, top = _enlarge(rows[0], rows[-1], len(logits), scale)
    across, left = _enlarge(cols[0], cols[-1], len(logits), scale)
    pixels = down @ logits @ across.T > 0
    if not pixels.any():
        return None
    place = Region(view.y + top, view.x + left, *pixels.shape)
    return Mask(place, pixels, score, kind)


def suppress(masks: Sequence[Mask], *, overlap: float) -> list[int]:
    """Positions of the masks that stay, by falling score, of which no two overlap by more.

    The overlap of two is their intersection over their union. Only masks whose boxes meet are
    compared, and only with those that stay: the same as from the matrix of all pairs.
    """
    if not masks:
        return []
    boxes = shapely.box(*np.array([_bounds(mask.place) for mask in masks], float).T)
    first, second = shapely.STRtree(boxes).query(boxes)
    order = np.argsort(first, kind="stable")
    starts = np.searchsorted(first[order], np.arange(len(masks) + 1))
    neighbours = second[order]
    areas = [mask.area for mask in masks]
    stays = np.zeros(len(masks), bool)
    found = []
    for index in np.argsort([-mask.score for mask in masks], kind="stable"):
        near = neighbours[starts[index] : starts[index + 1]]
        for other in near[stays[near]]:
            shared = _shared(masks[index], masks[other])
            if shared > overlap * (areas[index] + areas[other] - shared):
                break
        else:
            stays[index] = True
            found.append(int(index))
    return found


def paint(masks: Sequence[Mask], *, shape: tuple[int, int]) -> NDArray[np.int32]:
    """A label image of masks: the n-th is n + 1, and small ones lie over large ones."""
    labels = np.zeros(shape, np.int32)
    image = Region(0, 0, *shape)
    for index in np.argsort([-mask.area for mask in masks], kind="stable"):
        place, pixels = _within(masks[index], image)
        labels[place.slices][pixels] = index + 1
    return labels


def _enlarge(first: int, last: int, count: int, scale: float) -> tuple[NDArray[np.float32], int]:
    """Weights (pixels, count) of linear interpolation around the places first ... last.

    Also the first pixel. Half a place is added on either side, where logits may still be positive.
    """
    begin, end = max(0, math.floor((first - 1) * scale)), math.ceil((last + 2) * scale)
    end = min(end, round(count * scale))
    at = np.clip((np.arange(begin, end) + 0.5) / scale - 0.5, 0, count - 1)
    weights = np.zeros((len(at), count), np.float32)
    low = np.minimum(at.astype(int), max(count - 2, 0))
    rows = np.arange(len(at))
    weights[rows, low] = 1 - (at - low)
    weights[rows, np.minimum(low + 1, count - 1)] += at - low
    return weights, begin


def _bounds(place: Region) -> tuple[int, int, int, int]:
    return place.x, place.y, place.x + place.width, place.y + place.height


def _shared(one: Mask, other: Mask) -> int:
    """Pixels of both."""
    left, top, right, bottom = (
        pick(pair)
        for pick, pair in zip(
            (max, max, min, min), zip(_bounds(one.place), _bounds(other.place), strict=True),
            strict=True,
        )
    )  # fmt: skip
    if left >= right or top >= bottom:
        return 0
    both = Region(top, left, bottom - top, right - left)
    parts = [mask.pixels[both.within(mask.place).slices] for mask in (one, other)]
    return int((parts[0] & parts[1]).sum())


def _within(mask: Mask, image: Region) -> tuple[Region, NDArray[np.bool_]]:
    """The part of a mask that lies in the image."""
    left, top, right, bottom = _bounds(mask.place)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, image.width), min(bottom, image.height)
    place = Region(top, left, max(bottom - top, 0), max(right - left, 0))
    return place, mask.pixels[place.within(mask.place).slices]
