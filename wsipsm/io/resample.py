"""Resampling of one level of a slide to any resolution, the same whatever region is asked for.

Working pixel i covers [i * step, (i + 1) * step) source pixels. With step > 1 its value is the
mean over that stretch (area weights); with step < 1 it is interpolated linearly between pixel
centres, the border repeated; with step = 1 the pixels are copied, with any other whole number the
means of whole blocks are rounded. Else weights depend on the absolute index alone and are multiples
of 2**-12, and what lies between the two axes is kept to 2**-4 grey levels, so that every sum is
exact in float32: neither the region, the order of the sums nor the machine changes one bit. The
result is within 0.6 of the exact mean, 0.5 of it by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsipsm.types import Region

WEIGHT_UNIT = 1 << 12
BETWEEN_UNIT = 1 << 4
BLOCK_PIXELS = 1 << 22
"""Source pixels held at once: 4 million, about 120 MB as they are multiplied."""

Read = Callable[[Region], NDArray[np.uint8]]


def resample(
    read: Read,
    region: Region,
    *,
    source_px: tuple[int, int],
    step: tuple[float, float],
    tile_px: tuple[int, int] = (256, 256),
) -> NDArray[np.uint8]:
    """Read a region of the working grid of a source image.

    The source is read in blocks of at most about `BLOCK_PIXELS`, so that the memory does not
    grow with the step.

    Parameters
    ----------
    read
        Gives source pixels, uint8 (height, width, 3), of a region inside the source.
    region
        On the working grid.
    source_px
        Height and width of the source.
    step
        Source pixels in one working pixel, along y and x.
    tile_px
        Height and width in which the source is stored; blocks are at least as wide.

    Returns
    -------
    uint8 (3, height, width).
    """
    down, across = max(step[0], 1), max(step[1], 1)
    cols = min(region.width, max(1, int(max(2048, tile_px[1]) / across)))
    rows = min(region.height, max(1, int(BLOCK_PIXELS / (cols * across) / down)))
    if (rows, cols) == (region.height, region.width):
        return _block(read, region, source_px, step)
    out = np.empty((3, region.height, region.width), np.uint8)
    for top in range(0, region.height, rows):
        for left in range(0, region.width, cols):
            height, width = min(rows, region.height - top), min(cols, region.width - left)
            block = Region(region.y + top, region.x + left, height, width)
            where = (slice(None), slice(top, top + height), slice(left, left + width))
            out[where] = _block(read, block, source_px, step)
    return out


def _block(
    read: Read, region: Region, source_px: tuple[int, int], step: tuple[float, float]
) -> NDArray[np.uint8]:
    if not all(one >= 1 and one.is_integer() for one in step):
        return _by_weights(read, region, source_px, step)
    down, across = factors = int(step[0]), int(step[1])
    rows = max(0, min(region.height, source_px[0] // down - region.y))
    cols = max(0, min(region.width, source_px[1] // across - region.x))
    source = Region(region.y * down, region.x * across, rows * down, cols * across)
    if (rows, cols) == (region.height, region.width):
        return planes(_shrink(read(source), factors))
    out = np.empty((3, region.height, region.width), np.uint8)  # the source ends within a pixel
    if rows and cols:
        out[:, :rows, :cols] = planes(_shrink(read(source), factors))
    bottom = Region(region.y + rows, region.x, region.height - rows, region.width)
    right = Region(region.y, region.x + cols, rows, region.width - cols)
    for border in (bottom, right):
        if border.height and border.width:
            place = border.within(region).slices
            out[(slice(None), *place)] = _by_weights(read, border, source_px, step)
    return out


def _by_weights(
    read: Read, region: Region, source_px: tuple[int, int], step: tuple[float, float]
) -> NDArray[np.uint8]:
    """Weighted means along both axes; every sum is a whole number < 2**24."""
    top, down = axis_weights(region.y, region.height, step=step[0], size=source_px[0])
    left, across = axis_weights(region.x, region.width, step=step[1], size=source_px[1])
    pixels = read(Region(top, left, down.needed, across.needed))
    between = _rows(pixels, down, BETWEEN_UNIT / WEIGHT_UNIT).astype(np.uint16)
    turned = _rows(cv2.transpose(between), across, 1 / (BETWEEN_UNIT * WEIGHT_UNIT))
    return planes(np.asarray(cv2.transpose(turned.astype(np.uint8)), np.uint8))


def _rows(lines: NDArray[Any], weights: Weights, unit: float) -> NDArray[np.float32]:
    """Weighted sums of rows of an image (y, x, 3), in `unit`, halves rounded up."""
    flat = lines.reshape(len(lines), -1)
    out = np.zeros((len(weights.lowest), flat.shape[1]), np.float32)
    part = np.empty_like(out)
    for at, column in enumerate(weights.units.T):
        rows = np.take(flat, weights.lowest + at, axis=0, mode="clip")
        np.multiply(rows, column[:, None], out=part)
        out += part
    out *= np.float32(unit)
    out += np.float32(0.5)
    return np.floor(out, out=out).reshape(-1, *lines.shape[1:])


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) as (3, height, width)."""
    out = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(pixels), list(out))
    return out


def _shrink(pixels: NDArray[np.uint8], factors: tuple[int, int]) -> NDArray[np.uint8]:
    """Means of blocks of pixels, rounded; each is the sum of whole numbers, so that it is exact."""
    if factors == (1, 1):
        return pixels
    size = (pixels.shape[1] // factors[1], pixels.shape[0] // factors[0])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Weights:
    """Weights of source pixels in the working pixels of a stretch of one axis.

    Attributes
    ----------
    lowest
        int64 (count,): the first source pixel of each, counted from the first that is needed.
    units
        float32 (count, n): whole multiples of 1 / `WEIGHT_UNIT`, of that pixel and those after it.
    needed
        Source pixels that are needed for all.
    """

    lowest: NDArray[np.int64]
    units: NDArray[np.float32]
    needed: int


def axis_weights(start: int, count: int, *, step: float, size: int) -> tuple[int, Weights]:
    """Weights of source pixels in the working pixels [start, start + count) of one axis.

    Parameters
    ----------
    step
        Source pixels in one working pixel.
    size
        Number of source pixels; what a working pixel covers beyond them does not count, and
        one that lies beyond them altogether repeats the last.

    Returns
    -------
    The first source pixel that is needed, and weights, of which each row sums to 1.
    """
    index = np.arange(start, start + count)
    lowest, weights = _area(index, step, size) if step >= 1 else _linear(index, step, size)
    used = weights > 0
    columns = lowest[:, None] + np.arange(weights.shape[1])
    first, last = int(columns[used].min()), int(columns[used].max())
    taps = int(np.flatnonzero(used.any(axis=0))[-1]) + 1
    units = (weights[:, :taps] * WEIGHT_UNIT).astype(np.float32)
    return first, Weights(lowest - first, units, last + 1 - first)


def _area(
    index: NDArray[np.int64], step: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    begin, end = np.minimum(index * step, size), np.minimum((index + 1) * step, size)
    lowest = np.minimum(np.floor(begin), size - 1).astype(np.int64)
    borders = lowest[:, None] + np.arange(int(np.ceil(step)) + 2)
    covered = np.clip(borders, begin[:, None], end[:, None]) - begin[:, None]
    length = (end - begin)[:, None]
    share = np.where(length > 1e-6, covered / np.maximum(length, 1e-6), borders > lowest[:, None])
    return lowest, np.diff(np.rint(share * WEIGHT_UNIT), axis=1) / WEIGHT_UNIT


def _linear(
    index: NDArray[np.int64], step: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    centre = np.clip((index + 0.5) * step - 0.5, 0, size - 1)
    lowest = np.floor(centre).astype(np.int64)
    upper = np.rint((centre - lowest) * WEIGHT_UNIT) / WEIGHT_UNIT
    return lowest, np.stack([1 - upper, upper], axis=1)
