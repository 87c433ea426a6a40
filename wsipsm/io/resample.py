"""Resampling of one level of a slide to any resolution, the same whatever region is asked for.

Working pixel i covers [i * step, (i + 1) * step) source pixels. With step > 1 its value is the
mean over that stretch (area weights); with step < 1 it is interpolated linearly between pixel
centres, the border repeated; with step = 1 the pixels are copied. Weights depend on the absolute
index alone and are multiples of 2**-20, so that every sum of products with 8-bit pixels is exact
in float64: neither the region, the order of the sums nor the machine changes one bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from wsipsm.types import Region

WEIGHT_UNIT = 1 << 20
BLOCK_PIXELS = 1 << 22
"""Source pixels held at once: 4 million, about 150 MB as they are multiplied."""

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
    out = np.empty((3, region.height, region.width), np.uint8)
    down, across = max(step[0], 1), max(step[1], 1)
    cols = min(region.width, max(1, int(max(2048, tile_px[1]) / across)))
    rows = max(1, int(BLOCK_PIXELS / (cols * across) / down))
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
    top, down = axis_weights(region.y, region.height, step=step[0], size=source_px[0])
    left, across = axis_weights(region.x, region.width, step=step[1], size=source_px[1])
    pixels = read(Region(top, left, down.shape[1], across.shape[1]))
    if step == (1.0, 1.0) and pixels.shape[:2] == (region.height, region.width):
        return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    rows = down @ pixels.reshape(down.shape[1], -1)
    rows = np.moveaxis(rows.reshape(region.height, -1, 3), 1, 0)
    image = across @ rows.reshape(across.shape[1], -1)
    image = image.reshape(region.width, region.height, 3)
    return np.asarray(np.rint(image), np.uint8).transpose(2, 1, 0)


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
