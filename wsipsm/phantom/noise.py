"""Value noise on hashed lattices: the same at a pixel whatever region it is computed with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsipsm.types import Region

_WIDE = 16


def lattice(seed: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
    """Values in [-1, 1) at lattice points; `rows` and `cols` broadcast, as does the result."""
    return (hashed(seed, rows, cols) >> np.uint32(8)).astype(np.float32) * np.float32(2**-23) - 1


def hashed(seed: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint32]:
    """32 mixed bits for each lattice point (the finaliser of MurmurHash3)."""
    down = rows.astype(np.uint32) * np.uint32(0x9E3779B1)
    across = cols.astype(np.uint32) * np.uint32(0x85EBCA77)
    bits = (down ^ np.uint32(seed & 0xFFFFFFFF)) + (across ^ np.uint32(0x27D4EB2F))
    bits ^= bits >> np.uint32(16)
    bits *= np.uint32(0x85EBCA6B)
    bits ^= bits >> np.uint32(13)
    bits *= np.uint32(0xC2B2AE35)
    bits ^= bits >> np.uint32(16)
    return bits


def noise(seed: int, region: Region, *, step_px: int) -> NDArray[np.float32]:
    """Smooth noise float32 (y, x) in [-1, 1] over a region; features are about `step_px` wide."""
    top, left = region.y // step_px, region.x // step_px
    rows = np.arange(top, (region.y + region.height - 1) // step_px + 2)
    cols = np.arange(left, (region.x + region.width - 1) // step_px + 2)
    points = lattice(seed, rows[:, None], cols[None, :])
    ease = _ease((np.arange(step_px) + 0.5) / step_px).astype(np.float32)
    tall = points[:-1, None] + (points[1:] - points[:-1])[:, None] * ease[:, None]
    first = region.y - top * step_px
    tall = tall.reshape(-1, len(cols))[first : first + region.height]
    wide = _interpolate(tall, ease)
    first = region.x - left * step_px
    return wide[:, first : first + region.width]


def noise_at(
    seed: int, y_px: NDArray[np.float64], x_px: NDArray[np.float64], *, step_px: int
) -> NDArray[np.float64]:
    """The noise of `noise` at points (level-0 pixels, pixel centres at halves)."""
    top, left = np.floor(y_px / step_px), np.floor(x_px / step_px)
    down, across = _ease(y_px / step_px - top), _ease(x_px / step_px - left)
    row, col = top.astype(np.int64), left.astype(np.int64)
    corners = lattice(seed, np.stack([row, row, row + 1, row + 1]), np.stack([col, col + 1] * 2))
    upper = corners[0] * (1 - across) + corners[1] * across
    lower = corners[2] * (1 - across) + corners[3] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float64)


def grain(seed: int, region: Region) -> NDArray[np.float32]:
    """Independent noise of every pixel and channel: float32 (3, y, x), triangular in [-1, 1]."""
    rows = np.arange(region.y, region.y + region.height)[:, None]
    cols = np.arange(region.x, region.x + region.width)[None, :]
    bits = hashed(seed, rows, cols)
    out = np.empty((3, region.height, region.width), np.float32)
    for channel in range(3):
        part = bits >> np.uint32(10 * channel)
        total = (part & np.uint32(31)) + ((part >> np.uint32(5)) & np.uint32(31))
        np.multiply(total, np.float32(1 / 31), out=out[channel], casting="unsafe")
    out -= 1
    return out


def _ease(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share * share * (3 - 2 * share)


def _interpolate(points: NDArray[np.float32], ease: NDArray[np.float32]) -> NDArray[np.float32]:
    start, rise = points[:, :-1], points[:, 1:] - points[:, :-1]
    out = np.empty((*start.shape, len(ease)), np.float32)
    if len(ease) >= _WIDE:
        np.multiply(rise[:, :, None], ease, out=out)
        out += start[:, :, None]
    else:
        for index, share in enumerate(ease):
            out[:, :, index] = rise * share + start
    return out.reshape(len(points), -1)
