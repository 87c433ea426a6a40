"""Synthetic cells with truth: what tiles with a halo would tell of them, as stage 6 writes it.

True cells are round outlines of 32 corners on a shaken grid; one in 2,000 is larger than the halo.
A tile tells of each cell that reaches into it, cut where what it reads ends. Half of all views
have an outline of their own. A tile that does not hold a cell's centroid may see it as two, or two
as one, or miss it; a tile that does hold it may miss it too, if another tells of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsipsm.io.parquet import TILE_CELL_SCHEMA, part_of, write_cells
from wsipsm.io.product import Provenance, write_record
from wsipsm.types import MEASUREMENTS

TILE_PX, HALO_PX, SHARD_TILES = 768, 64, 4
SPACING_PX = 33.9  # 100,000 cells are 14 x 14 tiles
CORNERS = 32
GIANT_EVERY, GIANT_BLOCK, GIANT_PX = 2000, 5, 70.0
SPLIT, MERGED, MISSED, OWNER_MISSED = 0.1, 0.1, 0.05, 0.02
ALIKE = 0.5

_POLYGON = 3

Polygons = NDArray[np.object_]
Rng = np.random.Generator


def true_cells(count: int, *, seed: int = 0) -> Polygons:
    """Outlines (count,) that share no more than a sliver with each other."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count * (1 + 2 * GIANT_BLOCK**2 / GIANT_EVERY))))
    row, col = np.divmod(np.arange(side**2), side)
    giant = np.zeros(side**2, bool)
    blocks = side // GIANT_BLOCK
    middle = rng.choice(blocks**2, count // GIANT_EVERY, replace=False)
    half = GIANT_BLOCK // 2
    at = (middle // blocks * GIANT_BLOCK + half) * side + middle % blocks * GIANT_BLOCK + half
    giant[at] = True
    block = row // GIANT_BLOCK * blocks + col // GIANT_BLOCK
    free = ~np.isin(block, middle) | (row // GIANT_BLOCK >= blocks) | (col // GIANT_BLOCK >= blocks)
    small = rng.permutation(np.flatnonzero(free & ~giant))[: count - giant.sum()]
    chosen = np.sort(np.concatenate([small, at]))
    centres = np.stack([col, row], 1)[chosen] * SPACING_PX + SPACING_PX / 2
    sizes = np.where(giant[chosen], GIANT_PX, rng.uniform(8, 12.5, len(chosen)))
    return _round(centres + rng.uniform(-3, 3, centres.shape), sizes, rng)


def write_product(
    folder: Path, truth: Polygons, *, shard_tiles: int = SHARD_TILES, seed: int = 0
) -> None:
    """Write what tiles tell of the true cells as the product of stage 6 in `folder`."""
    rng = np.random.default_rng(seed)
    polygons, tiles, scores = _told(truth, rng)
    bounds = shapely.bounds(truth)
    reach = np.ceil(bounds[:, 2:].max(axis=0)).astype(int)
    measured = rng.random((len(tiles), len(MEASUREMENTS)), np.float32)
    folder.mkdir(parents=True)
    shards = tiles // shard_tiles
    for row, col in np.unique(shards, axis=0):
        here = np.flatnonzero((shards == (row, col)).all(axis=1))
        here = here[np.lexsort((tiles[here, 1], tiles[here, 0]))]
        table = _table(polygons[here], tiles[here], scores[here], reach, measured[here])
        write_cells(part_of(folder, (int(row), int(col))), table, {"shard": [int(row), int(col)]})
    write_record(
        folder,
        Provenance("segment", {}, {}),
        slide={"slide": "synthetic", "stain": "he"},
        model="synthetic",
        classes=["nucleus"],
        mpp=0.25,
        scale=1.0,
        tile_px=TILE_PX,
        shard_tiles=shard_tiles,
        halo_px=HALO_PX,
    )


def mistakes(found: Polygons, truth: Polygons) -> dict[str, int]:
    """Count how a result differs from the truth.

    missing: true cells of which no outline covers half or more of the union with it; doubled:
    outlines beyond the first that lie mostly in the same true cell; spurious: outlines that do
    not lie mostly in any.
    """
    first, second = shapely.STRtree(truth).query(found)
    shared = shapely.area(shapely.intersection(found[first], truth[second]))
    union = shapely.area(found)[first] + shapely.area(truth)[second] - shared
    inside = shared >= 0.5 * shapely.area(found)[first]
    matched = np.unique(second[shared >= 0.5 * union])
    homes = np.bincount(second[inside], minlength=len(truth))
    return {
        "missing": len(truth) - len(matched),
        "doubled": int(np.maximum(homes - 1, 0).sum()),
        "spurious": len(found) - len(np.unique(first[inside])),
    }


def _round(centres: NDArray[np.float64], sizes: NDArray[np.float64], rng: Rng) -> Polygons:
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    phase = rng.uniform(0, 2 * np.pi, (2, len(sizes), 1))
    waves = 1 + 0.12 * np.cos(2 * angle + phase[0]) + 0.05 * np.cos(3 * angle + phase[1])
    radius = sizes[:, None] * waves
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2) + centres[:, None]
    return np.asarray(shapely.polygons(ring))


def _told(truth: Polygons, rng: Rng) -> tuple[Polygons, NDArray[np.int64], NDArray[np.float64]]:
    """Views: outline, tile (row, col), score."""
    cell, tiles = _reached(truth)
    home = _tile_of(truth)[cell]
    guest = (tiles != home).any(axis=1)
    shared = np.bincount(cell, minlength=len(truth))[cell] > 1
    no_owner = rng.random(len(truth)) < OWNER_MISSED
    told = np.where(
        guest, no_owner[cell] | (rng.random(len(cell)) >= MISSED), ~(no_owner[cell] & shared)
    )
    may_err = guest & ~no_owner[cell]
    cell, tiles, may_err = cell[told], tiles[told], may_err[told]
    polygons = _own_outlines(truth[cell], rng)
    scores = rng.uniform(0.75, 0.98, len(truth))[cell] + rng.uniform(-0.02, 0.02, len(cell))

    split = may_err & (rng.random(len(cell)) < SPLIT)
    halves = [_half(polygons[split], side) for side in (0, 1)]
    pairs = _neighbours(cell, tiles, may_err & ~split)
    pairs = pairs[rng.random(len(pairs)) < MERGED]
    both = shapely.multipolygons(polygons[pairs]) if len(pairs) else np.zeros(0, object)
    rest = ~split
    rest[pairs.ravel()] = False
    polygons = np.concatenate([polygons[rest], *halves, shapely.convex_hull(both)])
    wrong = len(polygons) - int(rest.sum())
    scores = np.concatenate([scores[rest], rng.uniform(0.4, 0.7, wrong)])
    tiles = np.concatenate([tiles[rest], tiles[split], tiles[split], tiles[pairs[:, 0]]])
    polygons = _as_read(polygons, tiles)
    # real corners lie on the lines between pixels: their bytes compress about as well as these
    polygons = shapely.transform(polygons, lambda xy: xy.astype("f4").astype("f8"))
    told = (shapely.get_type_id(polygons) == _POLYGON) & (shapely.area(polygons) >= 1)
    return polygons[told], tiles[told], scores[told]


def _reached(truth: Polygons) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a cell and a tile (row, col) that it reaches into."""
    low, high = np.split((shapely.bounds(truth)[:, [1, 0, 3, 2]] // TILE_PX).astype(int), 2, axis=1)
    low = np.maximum(low, 0)
    corners = [np.stack([r[:, 0], c[:, 1]], 1) for r in (low, high) for c in (low, high)]
    cell = np.tile(np.arange(len(truth)), 4)
    pairs = np.unique(np.column_stack([cell, np.concatenate(corners)]), axis=0)
    cell, tiles = pairs[:, 0], pairs[:, 1:]
    reaches = shapely.intersects(truth[cell], _box(tiles, 0))
    return cell[reaches], tiles[reaches]


def _box(tiles: NDArray[np.int64], halo: float) -> Polygons:
    y, x = (tiles * float(TILE_PX)).T
    return np.asarray(shapely.box(x - halo, y - halo, x + TILE_PX + halo, y + TILE_PX + halo))


def _tile_of(polygons: Polygons) -> NDArray[np.int64]:
    centre = shapely.get_coordinates(shapely.centroid(polygons))[:, ::-1]
    return (centre // TILE_PX).astype(np.int64)


def _own_outlines(polygons: Polygons, rng: Rng) -> Polygons:
    """Move the corners of some outlines towards the centre or away from it, by 2 % or so."""
    own = rng.random(len(polygons)) >= ALIKE
    ring = shapely.get_coordinates(polygons[own]).reshape(-1, CORNERS + 1, 2)[:, :-1]
    centre = ring.mean(axis=1, keepdims=True)
    ring = centre + (ring - centre) * rng.normal(1, 0.02, (*ring.shape[:2], 1))
    polygons = polygons.copy()
    polygons[own] = shapely.polygons(ring)
    return polygons


def _half(polygons: Polygons, side: int) -> Polygons:
    """Left or right half of each."""
    left, top, right, bottom = shapely.bounds(polygons).T
    middle = (left + right) / 2
    sides = [(left - 1, middle), (middle, right + 1)][side]
    return np.asarray(shapely.intersection(polygons, shapely.box(sides[0], top, sides[1], bottom)))


def _neighbours(
    cell: NDArray[np.int64], tiles: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Pairs (n, 2) of views of one tile of cells that follow each other; each view once."""
    order = np.lexsort((cell, tiles[:, 1], tiles[:, 0]))
    order = order[allowed[order]]
    a, b = order[:-1:2], order[1::2]
    near = (cell[b] == cell[a] + 1) & (tiles[a] == tiles[b]).all(axis=1)
    return np.stack([a[near], b[near]], axis=1)


def _as_read(polygons: Polygons, tiles: NDArray[np.int64]) -> Polygons:
    """Outlines cut where what the tile reads ends."""
    box = _box(tiles, HALO_PX)
    leaves = ~shapely.covers(box, polygons)
    polygons = polygons.copy()
    polygons[leaves] = shapely.intersection(polygons[leaves], box[leaves])
    return polygons


def _table(
    polygons: Polygons,
    tiles: NDArray[np.int64],
    scores: NDArray[np.float64],
    reach: NDArray[np.int64],
    measured: NDArray[np.float32],
) -> pa.Table:
    bounds = shapely.bounds(polygons)
    corner = tiles[:, ::-1] * TILE_PX
    low, high = corner - HALO_PX, corner + TILE_PX + HALO_PX
    cut = ((bounds[:, :2] <= low) & (low > 0)) | ((bounds[:, 2:] >= high) & (high < reach))
    centre = shapely.get_coordinates(shapely.centroid(polygons))
    values: dict[str, Any] = {
        "geometry": shapely.to_wkb(polygons),
        "centroid_x": centre[:, 0],
        "centroid_y": centre[:, 1],
        "class": ["nucleus"] * len(polygons),
        "score": scores.astype("f4"),
        "agreement": np.ones(len(scores), "f4"),
        "tile_row": tiles[:, 0].astype("i4"),
        "tile_col": tiles[:, 1].astype("i4"),
        "owned": (_tile_of(polygons) == tiles).all(axis=1),
        "cut": cut.any(axis=1),
    }
    values |= dict(zip(MEASUREMENTS, measured.T, strict=True))
    return pa.table({name: values[name] for name in TILE_CELL_SCHEMA.names}, TILE_CELL_SCHEMA)
