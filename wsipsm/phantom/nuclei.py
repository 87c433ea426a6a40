"""The nuclei of a block: kinds, places by chance, and who gives way to whom."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsipsm.phantom.scene import BLOCK_UM, Points, Scene
from wsipsm.phantom.shape import reach
from wsipsm.phantom.structures import (
    blocks_around,
    blocks_near,
    fibre_angle_at,
    glands,
    in_fat,
    in_gland,
)
from wsipsm.types import Region

NUCLEUS = np.dtype(
    [
        *((name, "f8") for name in ("y", "x", "long", "short", "angle", "bend")),
        ("wobble", "f8", (2, 3)),
        *((name, "f4") for name in ("density", "dab", "texture", "rim", "soft_um", "halo")),
        ("spot", "f4", (3,)),
        ("room", "f4"),
        ("positive", "?"),
    ]
)
"""A nucleus: a shape (see `shape.outlines`) and how it is stained.

`density` of haematoxylin and `dab`; `texture`, contrast of its chromatin; `rim`, how much denser
the envelope is; `soft_um`, width of its edge; `halo`, density of the cytoplasm around; `spot`,
nucleolus (strength, and place in half axes); `room`, share of its radius that others respect.
"""

LARGEST_UM = 11.0
"""Radius of a circle that holds any nucleus."""

_GLAND_REACH_UM = 80.0
_SPACING_UM = 5.8


@dataclass(frozen=True)
class Kind:
    """Ranges that a kind of nucleus is drawn from; lengths in microns."""

    short: tuple[float, float]
    ratio: tuple[float, float]
    wobble: float
    density: tuple[float, float]
    texture: tuple[float, float]
    rim: tuple[float, float]
    halo: tuple[float, float]
    nucleolus: float
    bend: float = 0.0


KINDS = {
    "round": Kind((2.6, 3.7), (1, 1.35), 0.03, (0.22, 0.5), (0.2, 0.5), (0, 0.6), (-0.3, 0.3), 0.3),
    "large": Kind((3.0, 4.6), (1, 1.5), 0.06, (0.14, 0.42), (0.3, 0.8), (0.3, 1), (-0.2, 0.4), 0.7),
    "dark": Kind((2.4, 3.8), (1, 1.8), 0.09, (0.5, 0.85), (0.1, 0.3), (0, 0.2), (-0.6, 0), 0.0),
    "lymph": Kind((2.4, 3.1), (1, 1.2), 0.02, (0.42, 0.75), (0.3, 0.6), (0, 0.3), (-0.4, 0.1), 0.0),
    "spindle": Kind((1.2, 1.9), (2.6, 5), 0.05, (0.25, 0.6), (0.1, 0.4), (0, 0.4), (0, 0), 0, 0.03),
    "tall": Kind((2.3, 3.1), (1.3, 2.1), 0.04, (0.25, 0.6), (0.2, 0.6), (0, 0.6), (0, 0.2), 0.3),
}


@functools.lru_cache(maxsize=1024)
def nuclei(scene: Scene, row: int, col: int) -> NDArray[np.void]:
    """Nuclei of a block, structured (n,) of `NUCLEUS`; those before it have been given way to.

    A gland's nuclei belong to the block of its centre, and may lie outside that block.
    """
    found = _candidates(scene, row, col)
    if not len(found):
        return found
    clear = np.ones(len(found), bool)
    for other in blocks_around(scene, row, col):
        if other < (row, col):
            clear &= ~_crowded(found, _candidates(scene, *other)).any(axis=1)
    return found[clear]


def nuclei_near(scene: Scene, region: Region) -> NDArray[np.void]:
    """Nuclei that may reach into a region, in the order of their blocks."""
    margin = _GLAND_REACH_UM + LARGEST_UM
    blocks = blocks_near(scene, region, margin_um=margin)
    found = np.concatenate([np.zeros(0, NUCLEUS), *(nuclei(scene, *block) for block in blocks)])
    return found[touches(scene, found, region)]


def painted_um(some: NDArray[np.void]) -> Points:
    """Radius in microns of circles that hold nuclei and their halos."""
    return np.asarray(1.6 * reach(some) + 1)


def touches(scene: Scene, some: NDArray[np.void], region: Region) -> NDArray[np.bool_]:
    """Which nuclei may reach into a region."""
    y, x = some["y"] / scene.mpp, some["x"] / scene.mpp
    border = painted_um(some) / scene.mpp + 2
    inside = (y > region.y - border) & (y < region.y + region.height + border)
    return inside & (x > region.x - border) & (x < region.x + region.width + border)


@functools.lru_cache(maxsize=1024)
def _candidates(scene: Scene, row: int, col: int) -> NDArray[np.void]:
    rng = np.random.default_rng([scene.seed, 5, row, col])
    found = np.concatenate([_ring(scene, rng, row, col), _free(scene, rng, row, col)])
    found = found[scene.inside(found["y"], found["x"], margin_um=LARGEST_UM)]
    if scene.stain == "ihc":
        _stain_dab(scene, rng, found)
    clash = _crowded(found, found)
    kept: list[int] = []
    for index in range(len(found)):
        if not clash[index, kept].any():
            kept.append(index)
    return found[kept]


def _crowded(some: NDArray[np.void], others: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which of `some` (rows) come too close to which of `others` (columns)."""
    dy = others["y"][None, :] - some["y"][:, None]
    dx = others["x"][None, :] - some["x"][:, None]
    distance = np.hypot(dy, dx)
    close = distance < 2 * LARGEST_UM
    here, there = np.nonzero(close)
    direction = np.arctan2(dy[close], dx[close])
    radii = _radius(some[here], direction) + _radius(others[there], direction)
    close[here, there] = distance[close] < radii * (some["room"][here] + others["room"][there]) / 2
    return np.asarray(close)


def _radius(some: NDArray[np.void], direction: Points) -> Points:
    turned = direction - some["angle"]
    along, aside = np.cos(turned) / some["long"], np.sin(turned) / some["short"]
    return np.asarray(1 / np.hypot(along, aside))


def _free(scene: Scene, rng: np.random.Generator, row: int, col: int) -> NDArray[np.void]:
    """Nuclei outside glands: of a jittered lattice, the points that their surroundings take."""
    side = int(BLOCK_UM / _SPACING_UM)
    grid = (np.argwhere(np.ones((side, side))) + 0.5) * (BLOCK_UM / side)
    points = grid + rng.uniform(-0.5, 0.5, grid.shape) * _SPACING_UM
    y, x = (points + np.array([row, col]) * BLOCK_UM).T
    kind, draw = np.full(len(y), "spindle", "U8"), rng.random(len(y))
    share = np.full(len(y), 0.13)
    for name, likely, field in (("large", 0.75, "sheet"), ("lymph", 0.8, "crowd")):
        here = scene.field_at(field, y, x) > 0
        kind[here], share[here] = name, likely
    sheet = kind == "large"
    small = scene.field_at("thickness", y + 700, x) > 0.1
    kind[sheet & small] = "round"
    kind[sheet & (rng.random(len(y)) < 0.07)] = "dark"
    fat = scene.field_at("fat", y, x) > -0.06
    kind[fat & sheet], share[fat] = "spindle", 0.3
    keep = (draw < share) & (scene.tissue_at(y, x) > 0)
    block, y, x, kind = (row, col), y[keep], x[keep], kind[keep]
    keep = ~in_gland(scene, block, y, x) & ~in_fat(scene, block, y, x)
    keep &= ~in_cleft(scene, y, x)
    return _draw(scene, rng, y[keep], x[keep], kind[keep])[rng.permutation(int(keep.sum()))]


def in_cleft(scene: Scene, y_um: Points, x_um: Points) -> NDArray[np.bool_]:
    """Which points lie in a tear of the tissue."""
    thin = np.abs(scene.field_at("cleft", y_um, x_um)) < 0.06
    return thin & (scene.field_at("torn", y_um, x_um) > 0)


def _ring(scene: Scene, rng: np.random.Generator, row: int, col: int) -> NDArray[np.void]:
    """Nuclei of the gland of a block: one or two uneven rings around its lumen."""
    parts = [np.zeros(0, NUCLEUS)]
    for gland in glands(scene, row, col):
        for depth_um, share in ((rng.uniform(4.5, 6), 0.95), (rng.uniform(9, 11), 0.5)):
            circumference = 2 * np.pi * (gland["long"] + gland["short"]) / 2
            count = int(circumference / rng.uniform(5.4, 6.6))
            theta = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * (2 * np.pi / count)
            level = 1 - (depth_um + rng.normal(0, 1.1, count)) / gland["short"]
            theta, level = theta[rng.random(count) < share], level[: len(theta)]
            level = np.maximum(level[: len(theta)], gland["lumen"] + 3.2 / gland["short"])
            along = gland["long"] * level * np.cos(theta)
            aside = gland["short"] * level * np.sin(theta)
            cos, sin = np.cos(gland["angle"]), np.sin(gland["angle"])
            y, x = gland["y"] + along * sin + aside * cos, gland["x"] + along * cos - aside * sin
            some = _draw(scene, rng, y, x, np.full(len(y), "tall"))
            out = np.arctan2(y - gland["y"], x - gland["x"])
            some["angle"] = out + rng.normal(0, 0.2, len(y))
            parts.append(some)
    return np.concatenate(parts)


def _draw(
    scene: Scene, rng: np.random.Generator, y: Points, x: Points, kind: NDArray[np.str_]
) -> NDArray[np.void]:
    """Nuclei of given kinds at given places, everything else by chance."""
    count = len(y)
    out = np.zeros(count, NUCLEUS)
    out["y"], out["x"] = y, x
    names = list(KINDS)
    index = np.array([names.index(name) for name in kind], int)
    kinds = list(KINDS.values())
    for name in ("short", "density", "texture", "rim", "halo"):
        low, high = np.array([getattr(each, name) for each in kinds]).T
        out[name] = rng.uniform(low[index], high[index]) if count else 0
    low, high = np.array([each.ratio for each in kinds]).T
    out["long"] = np.minimum(out["short"] * rng.uniform(low[index], high[index]), 7.5)
    spread = np.array([each.wobble for each in kinds])[index]
    wobble = np.clip(rng.normal(0, 1, (count, 2, 3)), -1.8, 1.8)
    out["wobble"] = wobble * spread[:, None, None] * np.array([1.0, 0.7, 0.5])
    out["bend"] = np.array([each.bend for each in kinds])[index] * rng.uniform(-1, 1, count)
    spindle = kind == "spindle"
    angle = fibre_angle_at(scene, y, x) + rng.normal(0, 0.15, count)
    out["angle"] = np.where(spindle, angle, rng.uniform(0, np.pi, count))
    likely = np.array([each.nucleolus for each in kinds])[index]
    out["spot"][:, 0] = (rng.random(count) < likely) * rng.uniform(0.3, 0.8, count)
    out["spot"][:, 1:] = rng.uniform(-0.45, 0.45, (count, 2))
    _fade(rng, out)
    out["room"] = np.where(rng.random(count) < 0.45, rng.uniform(0.66, 0.88, count), 0.98)
    return out


def _fade(rng: np.random.Generator, some: NDArray[np.void]) -> None:
    """Cut some nuclei thin or out of focus: pale, and soft at the edge."""
    count = len(some)
    pale = rng.random(count) < 0.22
    some["soft_um"] = np.where(pale, rng.uniform(0.9, 1.6, count), rng.uniform(0.35, 0.7, count))
    some["density"] *= np.where(pale, rng.uniform(0.4, 0.75, count), 1)


def _stain_dab(scene: Scene, rng: np.random.Generator, some: NDArray[np.void]) -> None:
    """Make some nuclei positive: brown over blue, from weak to strong, more in some regions."""
    count = len(some)
    near = scene.field_at("positive", some["y"], some["x"])
    some["positive"] = rng.random(count) < np.clip(0.28 + 0.5 * near, 0.04, 0.75)
    some["density"] = some["density"] * 0.75
    dab = rng.uniform(0.22, 1.05, count)
    some["dab"] = np.where(some["positive"], dab, rng.uniform(0, 0.03, count))
    some["density"] *= np.where(some["positive"], rng.uniform(0.4, 0.8, count), 1)
