"""Arrays at the size of a page: whole slides by means over blocks, details by every n-th pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsipsm.io import ngff
from wsipsm.io.pyramid import FACTOR
from wsipsm.io.tiles import Tiles
from wsipsm.types import Region

Read = Callable[[Region], NDArray[Any]]
Size = tuple[int, int]
Plane = zarr.Array[Any]

DETAIL_READ_PX = 1024
"""Longest side of what is read for a detail view; a larger one is read from a coarser level."""

DENSITY_BINS, DENSITY_SIGMA = 150, 2.5
"""Bins along the longest side of a map of cell density, and the sigma that smooths them."""


def frame_size(tiles: Tiles, *, longest_px: int) -> Size:
    """Height and width of a slide's overview on the page; never more than the slide has."""
    height, width = tiles.grid.height_px, tiles.grid.width_px
    factor = min(1, longest_px / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def block_means(
    read: Read, regions: Iterable[Region], *, shape: Size, out: Size
) -> NDArray[np.float32]:
    """Shrink an array to means over blocks, holding one region at a time.

    Parameters
    ----------
    read
        Gives the pixels (c, y, x) of a region.
    regions
        Where there is something else than 0; disjoint.
    shape, out
        Height and width of the array, and of the result, where that is smaller.

    Returns
    -------
    NDArray[np.float32]
        (c, y, x).
    """
    out = (min(out[0], shape[0]), min(out[1], shape[1]))
    rows, cols = (np.arange(n) * m // n for n, m in zip(shape, out, strict=True))
    sums: NDArray[np.float64] | None = None
    for region in regions:
        pixels = read(region).astype(np.float32)
        y, x = rows[region.slices[0]], cols[region.slices[1]]
        part = np.add.reduceat(pixels, np.flatnonzero(np.diff(y, prepend=-1)), axis=-2)
        part = np.add.reduceat(part, np.flatnonzero(np.diff(x, prepend=-1)), axis=-1)
        if sums is None:
            sums = np.zeros((len(pixels), *out))
        sums[:, y[0] : y[-1] + 1, x[0] : x[-1] + 1] += part
    if sums is None:
        return np.zeros((1, *out), np.float32)
    area = np.bincount(rows)[:, None] * np.bincount(cols)[None, :]
    return (sums / area).astype(np.float32)


def resized(planes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Planes (c, y, x) brought to (height, width): smooth or, smaller, as means."""
    shrinks = planes.shape[-2] >= size[0]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    images = [Image.fromarray(plane).resize(size[::-1], method) for plane in planes]
    return np.stack([np.asarray(image, np.float32) for image in images])


def overview(tiles: Tiles, size: Size) -> NDArray[np.uint8]:
    """The whole slide, uint8 (3, y, x); sharp in tissue where stage 1's overview is not."""
    coarse = tiles.overview()
    image = resized(coarse.astype(np.float32), size)
    if coarse.shape[1] < size[0]:
        level, array = _level(tiles, max(1, tiles.grid.height_px // size[0]))
        fine = block_means(
            lambda region: np.asarray(array[(slice(None), *region.slices)]),
            [tiles.grid.shard(*shard).scaled_down(FACTOR**level) for shard in tiles.kept_shards()],
            shape=(array.shape[1], array.shape[2]),
            out=size,
        )
        written = _kept_pixels(tiles, size)
        image = np.where(written, resized(fine, size), image)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def activation_overview(
    tiles: Tiles, array: Plane, *, stride: int, size: Size
) -> NDArray[np.float32]:
    """Mean activation, float32 (y, x) in [0, 1], 0 beside the tissue."""
    means = block_means(
        lambda region: np.asarray(array[region.slices], np.float32)[None],
        [tiles.grid.shard(*shard).scaled_down(stride) for shard in tiles.kept_shards()],
        shape=(array.shape[0], array.shape[1]),
        out=size,
    )
    shown: NDArray[np.float32] = np.clip(resized(means, size)[0], 0, 1)
    return shown


def class_overview(tiles: Tiles, array: Plane, *, classes: int, size: Size) -> NDArray[np.float32]:
    """Share of each class of the pseudo mask, float32 (classes, y, x) in [0, 1]."""
    numbers = np.arange(1, classes + 1)[:, None, None]
    means = block_means(
        lambda region: np.asarray(array[region.slices])[None] == numbers,
        [tiles.grid.shard(*shard) for shard in tiles.kept_shards()],
        shape=(array.shape[0], array.shape[1]),
        out=size,
    )
    return np.clip(resized(means, size), 0, 1)


def cell_density(
    tiles: Tiles, x: NDArray[np.float64], y: NDArray[np.float64], size: Size
) -> tuple[NDArray[np.float32], float]:
    """Smooth map, float32 (y, x) in [0, 1], of centroids (level-0 pixels); cells per mm² at 1."""
    step = max(size) / DENSITY_BINS
    bins = (max(1, round(size[0] / step)), max(1, round(size[1] / step)))
    full = (tiles.grid.height_px * tiles.scale, tiles.grid.width_px * tiles.scale)
    counts, _, _ = np.histogram2d(y, x, bins=bins, range=[(0, full[0]), (0, full[1])])
    smooth = ndimage.gaussian_filter(counts, DENSITY_SIGMA)
    peak = float(smooth.max())
    area_um2 = tiles.grid.height_px * tiles.grid.width_px * tiles.mpp**2 / (bins[0] * bins[1])
    shown = resized((smooth / max(peak, 1e-9))[None].astype(np.float32), size)[0]
    return np.clip(shown, 0, 1), peak / area_um2 * 1e6


def densest_box(
    tiles: Tiles, x: NDArray[np.float64], y: NDArray[np.float64], side_um: float
) -> Region:
    """The box, of a grid of side `side_um`, that holds most centroids (level-0 pixels).

    The first of several in reading order; without cells, the tile with most tissue. In working
    pixels, inside the slide.
    """
    side = max(1, round(side_um / tiles.mpp))
    if len(x):
        cols = np.floor(x / tiles.scale / side).astype(np.int64)
        rows = np.floor(y / tiles.scale / side).astype(np.int64)
        boxes, counts = np.unique(np.stack([rows, cols], axis=1), axis=0, return_counts=True)
        row, col = boxes[np.argmax(counts)]
        centre = (row * side + side / 2, col * side + side / 2)
    else:
        best = np.argmax(np.where(tiles.kept, tiles.tissue_share, -1))
        tile = tiles.grid.tile(*(int(i) for i in np.unravel_index(best, tiles.kept.shape)))
        centre = (tile.y + tile.height / 2, tile.x + tile.width / 2)
    return box_around(tiles, centre, side)


def box_around(tiles: Tiles, centre: tuple[float, float], side: int) -> Region:
    """A box of `side` working pixels around a centre (y, x), moved and cut to lie in the slide."""
    height, width = min(side, tiles.grid.height_px), min(side, tiles.grid.width_px)
    top = min(max(0, int(centre[0] - height / 2)), tiles.grid.height_px - height)
    left = min(max(0, int(centre[1] - width / 2)), tiles.grid.width_px - width)
    return Region(top, left, height, width)


def plane(group: zarr.Group, name: str) -> Plane:
    """An array (y, x) of a product."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def detail_image(
    tiles: Tiles, box: Region, *, longest_px: int = DETAIL_READ_PX
) -> NDArray[np.uint8]:
    """Pixels of a box, uint8 (3, y, x), no side longer than `longest_px`."""
    shrink = _shrink(box, longest_px)
    level, array = _level(tiles, shrink)
    pixels = np.asarray(array[(slice(None), *box.scaled_down(FACTOR**level).slices)])
    for _ in range((shrink // FACTOR**level).bit_length() - 1):
        pixels = ngff.halve(pixels)
    return pixels


def detail_plane(array: Plane, box: Region, *, stride: int = 1) -> NDArray[Any]:
    """A box of an array (y, x) with one pixel for `stride` working pixels."""
    step = max(1, _shrink(box, DETAIL_READ_PX) // stride)
    return np.asarray(array[_every(box.scaled_down(stride), step)])


def _shrink(box: Region, longest_px: int) -> int:
    """Working pixels in one pixel that is read: a power of two."""
    shrink = 1
    while max(box.height, box.width) > longest_px * shrink:
        shrink *= 2
    return shrink


def _every(box: Region, step: int) -> tuple[slice, slice]:
    rows, cols = box.slices
    return slice(rows.start, rows.stop, step), slice(cols.start, cols.stop, step)


def _level(tiles: Tiles, shrink: int) -> tuple[int, zarr.Array[Any]]:
    """The coarsest level of the image that is at most `shrink` times coarser than its first."""
    group, level = ngff.open_group(tiles.path), 0
    while FACTOR ** (level + 1) <= shrink and str(level + 1) in group:
        level += 1
    array = group[str(level)]
    assert isinstance(array, zarr.Array)
    return level, array


def _kept_pixels(tiles: Tiles, size: Size) -> NDArray[np.bool_]:
    """Pixels of an overview that lie in tiles with tissue, bool (y, x)."""
    shape = (tiles.grid.height_px, tiles.grid.width_px)
    rows, cols = (
        np.arange(n) * full // n // tiles.grid.tile_px for n, full in zip(size, shape, strict=True)
    )
    return np.asarray(tiles.kept[np.ix_(rows, cols)])
