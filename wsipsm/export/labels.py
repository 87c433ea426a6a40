"""Cells as a label image in OME-NGFF 0.5, on the grid of the slide's tiles."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import zarr

from wsipsm.export.rows import Cells
from wsipsm.io import ngff
from wsipsm.io.product import Partial, Provenance, write_record
from wsipsm.io.pyramid import FACTOR, levels_intact
from wsipsm.io.raster import fill_polygons
from wsipsm.io.tiles import Tiles
from wsipsm.types import Region


def write_labels(
    cells: Cells, tiles: Tiles, partial: Partial, provenance: Provenance, *, target: Path
) -> None:
    """Write a pyramid of instance ids, uint32 (y, x), at the working resolution.

    The id of a cell is its row in the cell table, counted from 1; where two overlap, the later
    wins. Levels, chunks and shards are those of the tiles; shards without cells are not written.
    """
    group = ngff.open_group(partial.path, "a")
    images = ngff.open_group(tiles.path)
    about: dict[str, Any] = images.attrs.asdict()
    names = [level["path"] for level in about["ome"]["multiscales"][0]["datasets"]]
    levels = [_like(group, images[name], name) for name in names]
    for shard in tiles.grid.shards():
        region = tiles.grid.shard(*shard)
        if not partial.done(*shard, intact=functools.partial(levels_intact, levels, region)):
            _write_shard(cells, region, levels, scale=tiles.scale)
            partial.finish(*shard)
    scales = ngff.multiscales("cells", axes="yx", mpp=tiles.mpp, levels=len(levels), factor=FACTOR)
    image = os.path.relpath(tiles.path.absolute(), target.absolute())
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [scales],
        "image-label": {"source": {"image": image}},
    }
    write_record(partial.path, provenance, cells=cells.count)


def _like(group: zarr.Group, image: object, name: str) -> zarr.Array[Any]:
    """Array of ids for one level of an image (c, y, x)."""
    assert isinstance(image, zarr.Array)
    assert image.shards is not None
    return ngff.create_array(
        group,
        name,
        shape=image.shape[-2:],
        chunk_px=image.chunks[-1],
        shard_px=image.shards[-1],
        dtype="uint32",
    )


def _write_shard(
    cells: Cells, region: Region, levels: list[zarr.Array[Any]], *, scale: float
) -> None:
    """Write one shard of every level, if a cell reaches into it."""
    corners = np.array([region.x, region.y, region.x + region.width, region.y + region.height])
    left, top, right, bottom = (corners * scale).tolist()
    found = cells.within((left, top, right, bottom), ["geometry"])
    if not len(found):
        return
    outlines = shapely.from_wkb(found["geometry"].to_numpy())
    ids = found["row"].to_numpy() + 1
    pixels = fill_polygons(outlines, ids, region, scale=scale).astype(np.uint32)
    for level, array in enumerate(levels):
        ngff.write_shard(array, region.scaled_down(FACTOR**level), pixels)
        pixels = ngff.decimate(pixels, FACTOR)
