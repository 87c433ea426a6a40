"""The truth of a scene: cells and artefacts to GeoJSON, and the label pyramid of the cells."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
import zarr
from numpy.typing import NDArray

from wsipsm.io import ngff
from wsipsm.phantom.artefacts import artefact_polygons
from wsipsm.phantom.nuclei import NUCLEUS, nuclei
from wsipsm.phantom.scene import Scene, look
from wsipsm.phantom.shape import outlines
from wsipsm.phantom.structures import blocks_around, blocks_near
from wsipsm.types import Region

COLOURS = {
    "nucleus": [45, 90, 200],
    "negative": [60, 110, 220],
    "positive": [180, 80, 30],
    "pen": [20, 20, 20],
    "fold": [150, 60, 20],
    "bubble": [30, 140, 160],
    "blur": [120, 90, 160],
}
"""Class of a true cell or an artefact: its colour in QuPath."""

DECIMALS = 2
"""Decimals of the coordinates of a polygon."""

_CHUNK_PX = 512
_SHARD_PX = 2048
_REACH_UM = 100.0

Starts = NDArray[np.int64]


@functools.lru_cache(maxsize=256)
def visible(scene: Scene, row: int, col: int) -> tuple[list[shapely.Polygon], list[str]]:
    """Polygons (x, y) in level-0 pixels and classes of the nuclei of a block.

    Where two nuclei overlap, the earlier one (in the order of blocks, then of `nuclei`) is in
    front, and the other keeps what is visible of it: no two polygons overlap.
    """
    own = nuclei(scene, row, col)
    before = [nuclei(scene, *b) for b in blocks_around(scene, row, col) if b < (row, col)]
    everything = np.concatenate([np.zeros(0, NUCLEUS), *before, own])
    shapes = shapely.polygons(np.round(outlines(everything) / scene.mpp, DECIMALS))
    first = len(everything) - len(own)
    below, above = shapely.STRtree(shapes).query(shapes[first:], predicate="intersects")
    found = shapes[first:].copy()
    for index in np.unique(below[above < below + first]):
        front = shapely.union_all(shapes[above[(below == index) & (above < index + first)]])
        found[index] = shapely.difference(found[index], front, grid_size=10.0**-DECIMALS)
    broken = ~shapely.is_valid(found)
    found[broken] = shapely.make_valid(found[broken])
    return [_largest(shape) for shape in found], [_class(scene, one) for one in own["positive"]]


def write_geojson(scene: Scene, path: Path, *, name: str) -> Starts:
    """Write the true cells as a FeatureCollection, block by block.

    Parameters
    ----------
    scene, path
        What is drawn, and the file.
    name
        Name of the slide: the ids of the cells derive from it and from the seed.

    Returns
    -------
    int64 (blocks, blocks): how many cells come before each block; cell ids go on from there.
    """
    starts = np.zeros((scene.blocks, scene.blocks), np.int64)
    count = 0
    with path.open("wb") as file:
        file.write(b'{"type":"FeatureCollection","features":[')
        for row, col in np.ndindex(starts.shape):
            starts[row, col] = count
            for polygon, kind in zip(*visible(scene, row, col), strict=True):
                file.write(b",\n" if count else b"\n")
                count += 1
                identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{name}/{scene.seed}/{count}")
                file.write(orjson.dumps(_feature(polygon, kind, str(identity))))
        file.write(b"\n]}\n")
    return starts


def write_artefacts(scene: Scene, path: Path, *, name: str) -> None:
    """Write the outlines of what spoils the slide as a FeatureCollection.

    The name of a feature is the colour of the pen, or its kind.
    """
    features = []
    for kind, polygon in artefact_polygons(scene).items():
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{name}/{scene.seed}/{kind}")
        feature = _feature(polygon, kind, str(identity))
        feature["properties"]["name"] = look(scene).ink if kind == "pen" else kind
        features.append(feature)
    path.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": features}) + b"\n")


def write_labels(scene: Scene, path: Path, starts: Starts) -> None:
    """Write the label pyramid (OME-NGFF 0.5, uint32 (y, x), whole shards).

    `starts` is what `write_geojson` returned: label i is the i-th feature, from 1.
    """
    group = ngff.open_group(path, "w")
    array = _create(group, 0, scene.size_px)
    for region in _shards(scene.size_px):
        ngff.write_shard(array, region, labels(scene, region, starts))
    level, size = 1, scene.size_px
    while size > _CHUNK_PX:
        size = -(-size // 2)
        array, finer = _create(group, level, size), array
        for region in _shards(size):
            y, x = (slice(2 * part.start, 2 * part.stop) for part in region.slices)
            ngff.write_shard(array, region, ngff.decimate(np.asarray(finer[y, x])))
        level += 1
    image = ngff.multiscales("nuclei", axes="yx", mpp=scene.mpp, levels=level)
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image], "image-label": {}}


def labels(scene: Scene, region: Region, starts: Starts) -> NDArray[np.uint32]:
    """Label image uint32 (y, x) of a region: a pixel is the cell's that holds its centre."""
    out = np.zeros((region.height, region.width), np.uint32)
    for block in blocks_near(scene, region, margin_um=_REACH_UM):
        polygons, _ = visible(scene, *block)
        for index, polygon in enumerate(polygons, start=int(starts[block]) + 1):
            left, top, right, bottom = polygon.bounds
            if (
                left < region.x + region.width
                and right > region.x
                and top < region.y + region.height
                and bottom > region.y
            ):
                _draw(out, region, polygon, index)
    return out


def _draw(out: NDArray[np.uint32], region: Region, polygon: shapely.Polygon, value: int) -> None:
    mask, y, x = _filled(shapely.get_coordinates(polygon.exterior))
    rows = slice(max(y, region.y), min(y + len(mask), region.y + region.height))
    cols = slice(max(x, region.x), min(x + mask.shape[1], region.x + region.width))
    inside = mask[rows.start - y : rows.stop - y, cols.start - x : cols.stop - x]
    y, x = region.y, region.x
    out[rows.start - y : rows.stop - y, cols.start - x : cols.stop - x][inside] = value


def _filled(ring: NDArray[np.float64]) -> tuple[NDArray[np.bool_], int, int]:
    """Pixels whose centre is in a closed ring (x, y): mask, and its top and left (even-odd)."""
    (left, top), (right, bottom) = np.floor(ring.min(axis=0)), np.ceil(ring.max(axis=0))
    height, width = int(bottom - top), int(right - left)
    x, y = (ring - (left + 0.5, top + 0.5)).T
    rows = np.arange(height)[:, None]
    row, edge = np.nonzero((y[:-1] <= rows) != (y[1:] <= rows))
    at = x[edge] + (row - y[edge]) * (x[edge + 1] - x[edge]) / (y[edge + 1] - y[edge])
    column = np.clip(np.ceil(at).astype(np.int64), 0, width)
    turns = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    crossed = np.cumsum(turns.reshape(height, width + 1), axis=1)[:, :width]
    return crossed % 2 == 1, int(top), int(left)


def _create(group: zarr.Group, level: int, size: int) -> zarr.Array[Any]:
    return ngff.create_array(
        group,
        str(level),
        shape=(size, size),
        chunk_px=_CHUNK_PX,
        shard_px=_SHARD_PX,
        dtype="uint32",
    )


def _shards(size: int) -> list[Region]:
    starts = range(0, size, _SHARD_PX)
    return [
        Region(y, x, min(_SHARD_PX, size - y), min(_SHARD_PX, size - x))
        for y in starts
        for x in starts
    ]


def _largest(shape: shapely.Geometry) -> shapely.Polygon:
    parts = [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
    return shapely.Polygon(max(parts, key=shapely.area).exterior)


def _class(scene: Scene, positive: np.bool_) -> str:
    if scene.stain == "he":
        return "nucleus"
    return "positive" if positive else "negative"


def _feature(polygon: shapely.Polygon, kind: str, identity: str) -> dict[str, Any]:
    ring = np.round(shapely.get_coordinates(polygon.exterior), DECIMALS)
    return {
        "type": "Feature",
        "id": identity,
        "geometry": {"type": "Polygon", "coordinates": [ring.tolist()]},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": kind, "color": COLOURS[kind]},
        },
    }
