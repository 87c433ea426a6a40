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

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from wsipsm.types import Region

WEIGHT_UNIT = 1 << 12
BETWEEN_UNIT = 1 << 4
BLOCK_PIXELS = 1 << 22
"""Source pixels held at once: 4 million, about 120 MB as they are multiplied."""

STRETCH_PX = 64
"""Source pixels along an axis that one product of matrices takes: few products, few zeros."""

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
    top, down = axis_weights(region.y, region.height, step=step[0], size=source_px[0])
    left, across = axis_weights(region.x, region.width, step=step[1], size=source_px[1])
    pixels = planes(read(Region(top, left, down.shape[1], across.shape[1])))
    return _weighted(pixels, down, across)


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


def _weighted(pixels: NDArray[np.uint8], down: csr_array, across: csr_array) -> NDArray[np.uint8]:
    """Weighted means of planes (3, y, x) along both axes; every sum is a whole number < 2**24."""
    height, width = down.shape[0], across.shape[0]
    lines = pixels.reshape(-1, pixels.shape[2])
    between = np.empty((len(lines), width), np.float32)
    for rows, part, weights in _stretches(across):
        np.matmul(lines[:, part].astype(np.float32), weights.T, out=between[:, rows])
    np.rint(between * np.float32(BETWEEN_UNIT / WEIGHT_UNIT), out=between)
    between = between.reshape(3, -1, width)
    out = np.empty((3, height, width), np.uint8)
    unit = np.float32(1 / (BETWEEN_UNIT * WEIGHT_UNIT))
    for rows, part, weights in _stretches(down):
        out[:, rows] = np.floor(np.matmul(weights, between[:, part]) * unit + np.float32(0.5))
    return out


def _stretches(matrix: csr_array) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Rows of a banded matrix, the columns they need, and their weights in units, float32."""
    count = max(1, round(STRETCH_PX * matrix.shape[0] / matrix.shape[1]))
    for start in range(0, matrix.shape[0], count):
        rows = matrix[start : start + count]
        columns = slice(int(rows.indices.min()), int(rows.indices.max()) + 1)
        weights = (rows[:, columns] * WEIGHT_UNIT).toarray().astype(np.float32)
        yield slice(start, start + rows.shape[0]), columns, weights


def axis_weights(start: int, count: int, *, step: float, size: int) -> tuple[int, csr_array]:
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
    The first source pixel that is needed, and weights float64 (count, needed pixels); each row
    sums to exactly 1.
    """
    index = np.arange(start, start + count)
    lowest, weights = _area(index, step, size) if step >= 1 else _linear(index, step, size)
    columns = lowest[:, None] + np.arange(weights.shape[1])
    used = weights > 0
    first, last = int(columns[used].min()), int(columns[used].max())
    rows = np.broadcast_to(np.arange(count)[:, None], columns.shape)
    matrix = csr_array(
        (weights[used], (rows[used], columns[used] - first)), shape=(count, last + 1 - first)
    )
    return first, matrix


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
