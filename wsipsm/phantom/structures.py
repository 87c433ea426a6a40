"""What a slide holds beside nuclei: glands, fat, red blood cells and fibres."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from wsipsm.phantom.noise import lattice
from wsipsm.phantom.scene import BLOCK_UM, Points, Scene, look
from wsipsm.phantom.shape import depth
from wsipsm.types import Region

FAT_UM = 34.0
"""Mean distance of two fat cells."""

GLAND = np.dtype(
    [
        *((name, "f8") for name in ("y", "x", "long", "short", "angle", "bend")),
        ("wobble", "f8", (2, 3)),
        ("lumen", "f8"),
        ("secretion", "f8"),
    ]
)
"""A gland: a shape (see `shape.outlines`), the share of its radius that is lumen, its content."""

_GLAND_UM = (24.0, 52.0)


def blocks_near(scene: Scene, region: Region, *, margin_um: float) -> list[tuple[int, int]]:
    """Row and column of the blocks within `margin_um` of a region, row by row."""
    side, last = BLOCK_UM / scene.mpp, scene.blocks - 1
    grown = region.grown(scene.px(margin_um))
    rows = range(max(int(grown.y // side), 0), min(int((grown.y + grown.height) // side), last) + 1)
    cols = range(max(int(grown.x // side), 0), min(int((grown.x + grown.width) // side), last) + 1)
    return [(row, col) for row in rows for col in cols]


def blocks_around(scene: Scene, row: int, col: int) -> list[tuple[int, int]]:
    """Row and column of a block and of its neighbours, row by row."""
    rows = range(max(row - 1, 0), min(row + 2, scene.blocks))
    cols = range(max(col - 1, 0), min(col + 2, scene.blocks))
    return [(r, c) for r in rows for c in cols]


@functools.lru_cache(maxsize=4096)
def glands(scene: Scene, row: int, col: int) -> NDArray[np.void]:
    """Glands (0 or 1) whose centre is in a block; no two glands of a slide overlap."""
    own = _gland_site(scene, row, col)
    if own is None:
        return np.zeros(0, GLAND)
    others = [_gland_site(scene, r, c) for r, c in blocks_around(scene, row, col)]
    gaps = [np.hypot(own[0] - o[0], own[1] - o[1]) for o in others if o is not None and o != own]
    rng = np.random.default_rng([scene.seed, 2, row, col])
    short = min([rng.uniform(*_GLAND_UM), *(gap / 2 / 1.3 for gap in gaps)])
    ring = np.arange(8) * np.pi / 4
    y, x = own[0] + 1.3 * short * np.sin(ring), own[1] + 1.3 * short * np.cos(ring)
    if short < _GLAND_UM[0] or not (scene.tissue_at(y, x) > 0.01).all():
        return np.zeros(0, GLAND)
    gland = np.zeros(1, GLAND)
    gland["y"], gland["x"], gland["short"] = own[0], own[1], short
    gland["long"] = min(short * rng.uniform(1, 1.25), _GLAND_UM[1] * 1.05)
    gland["angle"] = rng.uniform(0, np.pi)
    gland["wobble"] = rng.uniform(-0.05, 0.05, (2, 3)) * np.array([1.0, 1.0, 0.7])
    gland["lumen"] = max(1 - rng.uniform(14, 19) / short, 0.15)
    gland["secretion"] = rng.choice([0.0, 0.5, 1.0])
    return gland


def _gland_site(scene: Scene, row: int, col: int) -> tuple[float, float] | None:
    rng = np.random.default_rng([scene.seed, 1, row, col])
    y, x = (row + rng.uniform(0.1, 0.9)) * BLOCK_UM, (col + rng.uniform(0.1, 0.9)) * BLOCK_UM
    at = np.array([y]), np.array([x])
    wanted = scene.field_at("gland", *at)[0] > 0 and scene.field_at("fat", *at)[0] < -0.05
    return (y, x) if wanted else None


def in_gland(scene: Scene, block: tuple[int, int], y_um: Points, x_um: Points) -> NDArray[np.bool_]:
    """Which points of a block lie in a gland or within 4 microns of one."""
    found = np.zeros(len(y_um), bool)
    for row, col in blocks_around(scene, *block):
        for gland in glands(scene, row, col):
            near = np.hypot(y_um - gland["y"], x_um - gland["x"]) < 90
            out = depth(gland, y_um[near], x_um[near])[0]
            found[near] |= out < 1 + 4 / gland["short"]
    return found


def fat_sites(scene: Scene, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Points:
    """Centres (..., 2) as (y, x) in microns of the fat cells of a jittered lattice."""
    y = (rows + 0.5 + 0.34 * lattice(scene.seed + 7, rows, cols)) * FAT_UM
    x = (cols + 0.5 + 0.34 * lattice(scene.seed + 8, rows, cols)) * FAT_UM
    return np.stack([y, x], axis=-1).astype(np.float64)


def fat_cells(scene: Scene, region: Region) -> list[tuple[Points, Points]]:
    """Fat cells that may reach into a region: centre (2,) and those of 8 neighbours (8, 2)."""
    reach_um = 0.9 * FAT_UM
    first = np.floor((np.array([region.y, region.x]) * scene.mpp - reach_um) / FAT_UM)
    size = np.array([region.height, region.width]) * scene.mpp
    last = np.floor((np.array([region.y, region.x]) * scene.mpp + size + reach_um) / FAT_UM)
    rows, cols = (np.arange(first[i], last[i] + 1).astype(np.int64) for i in range(2))
    grid = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    centres = fat_sites(scene, grid[:, 0], grid[:, 1])
    y, x = centres.T
    fat = (scene.field_at("fat", y, x) > 0) & scene.inside(y, x, margin_um=FAT_UM / 2)
    return [(centres[i], _neighbours(scene, *grid[i])) for i in np.flatnonzero(fat)]


def in_fat(scene: Scene, block: tuple[int, int], y_um: Points, x_um: Points) -> NDArray[np.bool_]:
    """Which points of a block lie in the white of a fat cell."""
    side = BLOCK_UM / scene.mpp
    region = Region(int(block[0] * side), int(block[1] * side), int(side) + 2, int(side) + 2)
    found = np.zeros(len(y_um), bool)
    for centre, neighbours in fat_cells(scene, region):
        near = np.hypot(y_um - centre[0], x_um - centre[1]) < FAT_UM
        found[near] |= fat_depth(centre, neighbours, y_um[near], x_um[near]) > 0
    return found


def fat_depth(
    centre: Points, neighbours: Points, y_um: Points, x_um: Points
) -> NDArray[np.float32]:
    """Distance in microns into a fat cell: a Voronoi cell with round corners.

    `y_um` and `x_um` broadcast, as (n, 1) and (1, m) for pixels; float32 as they do.
    """
    dy, dx = y_um - centre[0], x_um - centre[1]
    out = np.float32(0.56 * FAT_UM) - np.sqrt((dy * dy + dx * dx).astype(np.float32))
    for other in neighbours:
        away = other - centre
        gap = float(np.sqrt(away @ away))
        plane = gap / 2 - (dy * (away[0] / gap) + dx * (away[1] / gap))
        np.minimum(out, plane.astype(np.float32), out=out)
    return np.asarray(out - np.float32(0.8))


def _neighbours(scene: Scene, row: int, col: int) -> Points:
    around = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
    offsets = np.array(around)
    return fat_sites(scene, row + offsets[:, 0], col + offsets[:, 1])


@functools.lru_cache(maxsize=4096)
def red_cells(scene: Scene, row: int, col: int) -> Points:
    """Red blood cells of the vessels of a block: (n, 3) as y, x, radius in microns."""
    rng = np.random.default_rng([scene.seed, 3, row, col])
    if rng.random() < 0.6:
        return np.zeros((0, 3))
    count = int(rng.integers(8, 30))
    middle = (np.array([row, col]) + rng.uniform(0.2, 0.8, 2)) * BLOCK_UM
    angle = rng.uniform(0, np.pi)
    along, aside = rng.normal(0, 13, count), rng.normal(0, 3.5, count)
    y = middle[0] + along * np.sin(angle) + aside * np.cos(angle)
    x = middle[1] + along * np.cos(angle) - aside * np.sin(angle)
    cells = np.stack([y, x, rng.uniform(2.6, 3.6, count)], axis=1)
    keep = scene.inside(y, x, margin_um=4) & (scene.field_at("sheet", y, x) < 0)
    keep &= ~in_gland(scene, (row, col), y, x) & ~in_fat(scene, (row, col), y, x)
    return cells[keep]


def fibre_phase_at(scene: Scene, y_um: Points, x_um: Points) -> Points:
    """Coordinate across the fibres in microns: fibres run where it is constant."""
    angle = look(scene).fibre_angle
    weave = 60 * scene.field_at("weave", y_um, x_um)
    return np.asarray(x_um * np.cos(angle) + y_um * np.sin(angle) + weave)


def fibre_angle_at(scene: Scene, y_um: Points, x_um: Points) -> Points:
    """Direction of the fibres at points, radians from x to y."""
    step = 2.0
    down = fibre_phase_at(scene, y_um + step, x_um) - fibre_phase_at(scene, y_um - step, x_um)
    across = fibre_phase_at(scene, y_um, x_um + step) - fibre_phase_at(scene, y_um, x_um - step)
    return np.arctan2(down, across) + np.pi / 2
