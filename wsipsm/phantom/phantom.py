"""Draw slides with known nuclei: a pyramidal TIFF, its true cells and their label pyramid."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsipsm.config import Stain
from wsipsm.errors import SettingsError
from wsipsm.io import ngff
from wsipsm.io.product import code_version
from wsipsm.phantom.paint import paint
from wsipsm.phantom.scene import Scene
from wsipsm.phantom.truth import write_artefacts, write_geojson, write_labels
from wsipsm.types import Region

TILE_PX = 512
FACTOR = 4
QUALITY = 85

_LEAST_PX = 512
_LEAST_LEVEL_PX = 128
_MPP = (0.1, 1.0)
_TILES_AT_ONCE = 2
_BIG_PX = 32_768
_KEYS = ("seed", "size_px", "mpp", "stain")

Tile = NDArray[np.uint8]


def draw_slides(
    folder: Path, *, count: int, size_px: int, mpp: float, stain: Stain, seed: int
) -> list[Path]:
    """Draw slides with known nuclei into a folder; memory does not grow with their size.

    For each slide i from 1: `phantom_{i}.tiff` ("he") or `phantom_ihc_{i}.tiff` ("ihc"), a
    tiled pyramid at level-0 resolution `mpp`; beside it `.cells.geojson`, the true cells as
    polygons (x, y) in level-0 pixels, pixel (0, 0) covering 0 to 1; `.artefacts.geojson`, what
    spoils the slide (pen, fold, bubble, blur); and `.labels.zarr`, the cells as a label pyramid
    with ids in the order of the polygons. The same settings draw the
    same bytes. Files that exist are replaced when new ones are complete, and kept with their times
    where they are what would be drawn.

    Parameters
    ----------
    folder
        Made where it is missing.
    count, size_px
        Number of slides, and their side in pixels, at least 512.
    mpp
        Microns per pixel, 0.1 to 1; everything drawn has a physical size.
    stain
        "he" (haematoxylin, eosin) or "ihc" (haematoxylin, DAB; positive and negative nuclei).
    seed
        Draws the content and the look of every slide.

    Returns
    -------
    The files and folders written.

    Raises
    ------
    SettingsError
        A setting is out of its range.
    """
    _check(count=count, size_px=size_px, mpp=mpp, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for index in range(1, count + 1):
        stem = f"phantom_{index}" if stain == "he" else f"phantom_ihc_{index}"
        key = np.random.SeedSequence([seed, index, int(stain == "ihc")]).generate_state(1)
        scene = Scene(seed=int(key[0]), size_px=size_px, mpp=mpp, stain=stain)
        written += _draw_slide(scene, folder, stem)
    return written


def _check(*, count: int, size_px: int, mpp: float, seed: int) -> None:
    if count < 1:
        raise SettingsError(f"--count {count}: draw at least one slide")
    if size_px < _LEAST_PX:
        raise SettingsError(f"--size-px {size_px}: too small; take at least {_LEAST_PX}")
    if not _MPP[0] <= mpp <= _MPP[1]:
        raise SettingsError(f"--mpp {mpp}: out of range; take {_MPP[0]} to {_MPP[1]}")
    if seed < 0:
        raise SettingsError(f"--seed {seed}: negative; take 0 or more")


def _draw_slide(scene: Scene, folder: Path, stem: str) -> list[Path]:
    """Draw one slide and its truth in a private sibling, then rename all of it.

    What the same code has drawn of the same scene before is left as it is.
    """
    endings = ("tiff", "cells.geojson", "artefacts.geojson", "labels.zarr")
    names = [f"{stem}.{ending}" for ending in endings]
    drawn: dict[str, Any] = {
        "code": code_version(),
        "scene": {name: getattr(scene, name) for name in _KEYS},
    }
    if _drawn_before([folder / name for name in names]) == drawn:
        return [folder / name for name in names]
    private = folder / f"{stem}.partial"
    shutil.rmtree(private, ignore_errors=True)
    private.mkdir()
    starts = write_geojson(scene, private / names[1], name=stem)
    write_artefacts(scene, private / names[2], name=stem)
    write_labels(scene, private / names[3], starts)
    ngff.open_group(private / names[3], "a").attrs["wsipsm"] = drawn
    write_tiff(scene, private / names[0])
    for name in names:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        (private / name).replace(folder / name)
    shutil.rmtree(private)
    return [folder / name for name in names]


def _drawn_before(paths: list[Path]) -> object:
    """What the label pyramid says of how complete files were drawn."""
    if not all(path.exists() for path in paths):
        return None
    return ngff.open_group(paths[-1]).attrs.get("wsipsm")


def write_tiff(scene: Scene, path: Path) -> None:
    """Write a tiled JPEG pyramid; each level is a quarter of the side of the one before.

    Levels below the first wait in raw files beside `path`, which are deleted at the end.
    """
    sizes = [scene.size_px]
    while sizes[-1] // FACTOR >= _LEAST_LEVEL_PX:
        sizes.append(sizes[-1] // FACTOR)
    raw = [path.with_name(f"{path.name}.level{level}") for level in range(len(sizes))]
    with tifffile.TiffWriter(path, bigtiff=scene.size_px > _BIG_PX) as file:
        for level, size in enumerate(sizes):
            coarser = _new_raw(raw[level + 1], sizes[level + 1]) if level + 1 < len(sizes) else None
            source = _scene_tiles(scene) if level == 0 else _raw_tiles(raw[level], size)
            file.write(
                _passing_on(source, coarser),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": QUALITY},
                resolution=(1e4 / (scene.mpp * FACTOR**level),) * 2,
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                metadata=None,
                software=False,
                maxworkers=1,
            )
            raw[level].unlink(missing_ok=True)


def _passing_on(
    tiles: Iterator[tuple[int, int, Tile]], coarser: tuple[Path, int] | None
) -> Iterator[Tile]:
    """Yield the tiles of a level, and put their means into the raw file of the next."""
    for y, x, tile in tiles:
        if coarser is not None:
            _put(coarser, y // FACTOR, x // FACTOR, _shrink(tile))
        yield tile


def _scene_tiles(scene: Scene) -> Iterator[tuple[int, int, Tile]]:
    """Top, left and pixels of the tiles of level 0, row by row, painted a few at a time."""
    stride = TILE_PX * _TILES_AT_ONCE
    for y in range(0, scene.size_px, TILE_PX):
        for left in range(0, scene.size_px, stride):
            width = min(stride, -(-(scene.size_px - left) // TILE_PX) * TILE_PX)
            image = paint(scene, Region(y, left, TILE_PX, width))
            for x in range(0, width, TILE_PX):
                yield y, left + x, np.ascontiguousarray(image[:, x : x + TILE_PX])


def _raw_tiles(path: Path, size: int) -> Iterator[tuple[int, int, Tile]]:
    """Top, left and pixels of the tiles of a raw level, row by row; borders are repeated."""
    for y in range(0, size, TILE_PX):
        for x in range(0, size, TILE_PX):
            image = np.memmap(path, np.uint8, mode="r", shape=(size, size, 3))
            tile = np.array(image[y : y + TILE_PX, x : x + TILE_PX])
            del image
            border = [(0, TILE_PX - length) for length in tile.shape[:2]]
            yield y, x, np.pad(tile, [*border, (0, 0)], mode="edge")


def _new_raw(path: Path, size: int) -> tuple[Path, int]:
    with path.open("wb") as file:
        file.truncate(size * size * 3)
    return path, size


def _put(raw: tuple[Path, int], y: int, x: int, tile: Tile) -> None:
    path, size = raw
    image = np.memmap(path, np.uint8, mode="r+", shape=(size, size, 3))
    height, width = (min(length, size - at) for at, length in ((y, len(tile)), (x, len(tile))))
    if height > 0 and width > 0:
        image[y : y + height, x : x + width] = tile[:height, :width]


def _shrink(tile: Tile) -> Tile:
    side = len(tile) // FACTOR
    parts = tile.reshape(side, FACTOR, side, FACTOR, 3).astype(np.uint16)
    total = parts.sum(axis=(1, 3), dtype=np.uint16)
    means: Tile = ((total + FACTOR * FACTOR // 2) // (FACTOR * FACTOR)).astype(np.uint8)
    return means
