"""What spoils a slide: a stroke of a pen, a fold, an air bubble, a place out of focus."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.phantom.scene import Points, Scene
from wsipsm.phantom.shape import depth, outlines
from wsipsm.types import Region

BLUR_UM = 3.0
"""Gaussian sigma out of focus; in focus it is a tenth of that."""

_BLOT = np.dtype(
    [
        *((name, "f8") for name in ("y", "x", "long", "short", "angle", "bend")),
        ("wobble", "f8", (2, 3)),
    ]
)
_FOLD_LAYERS = np.float32(1.3)
_SITES, _PROBES = 96, 24
_INK_EDGE_UM, _FOLD_EDGE_UM, _BLUR_EDGE_UM = 1.2, 1.5, 12.0


Circle = tuple[float, float, float]


@dataclass(frozen=True)
class Stroke:
    """A wavy band with round ends; lengths in microns, the angle in radians from x to y."""

    y: float
    x: float
    angle: float
    half_length: float
    half_width: float
    wave: float

    def depth(self, y_um: Points, x_um: Points) -> NDArray[np.float32]:
        """How far inside the band points are, microns; `y_um` and `x_um` broadcast."""
        dy, dx = y_um - self.y, x_um - self.x
        along = dx * np.cos(self.angle) + dy * np.sin(self.angle)
        aside = dy * np.cos(self.angle) - dx * np.sin(self.angle) - self._bend(along)
        beyond = np.maximum(np.abs(along) - self.half_length, 0)
        return np.asarray(self.half_width - np.hypot(aside, beyond), np.float32)

    def points(self, share: Points) -> Points:
        """Points (n, 2) as (y, x) on the middle line, from -1 at one end to 1 at the other."""
        along = share * self.half_length
        aside, cos, sin = self._bend(along), np.cos(self.angle), np.sin(self.angle)
        y, x = self.y + along * sin + aside * cos, self.x + along * cos - aside * sin
        return np.stack([y, x], axis=-1)

    def _bend(self, along: Points) -> Points:
        return np.asarray(self.wave * np.cos(along * (3 / self.half_length)))


@dataclass(frozen=True)
class Artefacts:
    """What spoils one slide; `bubble` and `blur` are shapes (see `shape.outlines`)."""

    pen: Stroke
    fold: Stroke
    bubble: np.void
    blur: np.void


@functools.lru_cache(maxsize=64)
def artefacts(scene: Scene) -> Artefacts:
    """The artefacts that a slide's seed draws: apart, where few cells are, sized as the slide."""
    side = scene.size_px * scene.mpp
    rng = np.random.default_rng([scene.seed, 4])
    pen = _pen(rng, side)
    taken = [(pen.y, pen.x, pen.half_length)]
    half, wave = min(0.1 * side, 600), rng.uniform(0.05, 0.12)
    y, x = _site(scene, rng, half, taken, tissue=1)
    angle = float(rng.uniform(0, np.pi))
    fold = Stroke(y, x, angle, half, min(0.014 * side, 30), half * wave)
    blur = _blot(scene, rng, min(0.08 * side, 400), taken, tissue=1)
    bubble = _blot(scene, rng, min(0.06 * side, 300), taken, tissue=0.4)
    return Artefacts(pen, fold, bubble, blur)


def ink(scene: Scene, region: Region) -> NDArray[np.float32] | None:
    """Density of the pen's ink, float32 (y, x), or None where there is none."""
    inside = _stroke(scene, region, artefacts(scene).pen)
    if inside is None:
        return None
    streaks = scene.field("mottle", region) * np.float32(0.1) + np.float32(0.75)
    return np.asarray(np.clip(inside / np.float32(_INK_EDGE_UM), 0, 1) * streaks)


def layers(scene: Scene, region: Region) -> NDArray[np.float32] | None:
    """Layers of tissue, float32 (y, x), 1 and more, or None where nothing folds."""
    inside = _stroke(scene, region, artefacts(scene).fold)
    if inside is None:
        return None
    return np.asarray(1 + _FOLD_LAYERS * np.clip(inside / np.float32(_FOLD_EDGE_UM), 0, 1))


def air(scene: Scene, region: Region) -> NDArray[np.float32] | None:
    """Grey density of a bubble, float32 (y, x): a dark rim and a veil; None where there is none."""
    bubble = artefacts(scene).bubble
    inside = _inside(scene, region, bubble, margin_um=0)
    if inside is None:
        return None
    rim_um = np.float32(0.07 * bubble["short"])
    rim = np.sqrt(np.clip(1 - np.abs(inside / rim_um - 1), 0, 1))
    return np.asarray(np.float32(0.75) * rim + np.float32(0.04) * np.clip(inside / rim_um, 0, 1))


def blur(scene: Scene, region: Region) -> NDArray[np.float32] | None:
    """Share of light out of focus, float32 (y, x), 0 to 1, or None where all is sharp."""
    inside = _inside(scene, region, artefacts(scene).blur, margin_um=_BLUR_EDGE_UM / 2)
    if inside is None:
        return None
    return np.asarray(np.clip(inside / np.float32(_BLUR_EDGE_UM) + np.float32(0.5), 0, 1))


def artefact_polygons(scene: Scene) -> dict[str, shapely.Polygon]:
    """Outline (x, y) in level-0 pixels of each artefact, by kind."""
    found, share = artefacts(scene), np.linspace(-1, 1, 41)
    shapes = {}
    for name in ("pen", "fold"):
        stroke: Stroke = getattr(found, name)
        shapes[name] = shapely.LineString(stroke.points(share)[:, ::-1]).buffer(stroke.half_width)
    for name in ("bubble", "blur"):
        shapes[name] = shapely.Polygon(outlines(np.array([getattr(found, name)]))[0])
    slide = shapely.box(0, 0, scene.size_px, scene.size_px)
    return {
        name: shapely.transform(shape, lambda xy: xy / scene.mpp).intersection(slide)
        for name, shape in shapes.items()
    }


def _pen(rng: np.random.Generator, side: float) -> Stroke:
    """A stroke across a corner."""
    flip_y, flip_x = rng.random(2) < 0.5
    at, wave = rng.uniform(0.1, 0.125), rng.uniform(0.007, 0.02)
    half_width, half_length = rng.uniform(0.012, 0.018), rng.uniform(0.1, 0.14)
    y, x = (1 - at if flip_y else at), (1 - at if flip_x else at)
    angle = np.pi / 4 if flip_y != flip_x else -np.pi / 4
    lengths = (half_length * side, half_width * side, wave * side)
    return Stroke(y * side, x * side, angle, *lengths)


def _blot(
    scene: Scene, rng: np.random.Generator, radius_um: float, taken: list[Circle], *, tissue: float
) -> np.void:
    """A nearly round shape."""
    blot = np.zeros(1, _BLOT)
    blot["y"], blot["x"] = _site(scene, rng, radius_um, taken, tissue=tissue)
    blot["long"], blot["short"] = radius_um, radius_um * rng.uniform(0.85, 1)
    blot["angle"] = rng.uniform(0, np.pi)
    blot["wobble"] = rng.uniform(-0.01, 0.01, (2, 3))
    one: np.void = blot[0]
    return one


def _site(
    scene: Scene, rng: np.random.Generator, radius_um: float, taken: list[Circle], *, tissue: float
) -> tuple[float, float]:
    """Middle (y, x) of a free circle with few cells and the wanted share of tissue: taken now."""
    sites = rng.uniform(0.08, 0.92, (_SITES, 1, 2)) * scene.size_px * scene.mpp
    turn, out = np.arange(_PROBES) * 2.4, np.sqrt((np.arange(_PROBES) + 0.5) / _PROBES)
    probes = sites + (out * np.stack([np.sin(turn), np.cos(turn)])).T * radius_um
    y, x = probes[..., 0], probes[..., 1]
    inside = scene.tissue_at(y, x) > 0
    crowded = (scene.field_at("sheet", y, x) > 0) | (scene.field_at("crowd", y, x) > 0)
    empty = scene.field_at("fat", y, x) > -0.06
    cost = (inside & crowded).mean(axis=1) + 2 * (inside & empty).mean(axis=1)
    cost += 4 * np.abs(inside.mean(axis=1) - tissue)
    for other_y, other_x, other_um in taken:
        away = np.hypot(sites[:, 0, 0] - other_y, sites[:, 0, 1] - other_x)
        cost += 10 * (away < 1.1 * (other_um + radius_um))
    best_y, best_x = (float(at) for at in sites[np.argmin(cost), 0])
    taken.append((best_y, best_x, radius_um))
    return best_y, best_x


def _stroke(scene: Scene, region: Region, stroke: Stroke) -> NDArray[np.float32] | None:
    """How far inside a stroke pixels are, microns, or None where none is."""
    reach = stroke.half_length + stroke.half_width + stroke.wave
    if not _meet(scene, region, (stroke.y, stroke.x), reach):
        return None
    inside = stroke.depth(*_centres(scene, region))
    return inside if inside.max() > 0 else None


def _inside(
    scene: Scene, region: Region, shape: np.void, *, margin_um: float
) -> NDArray[np.float32] | None:
    """How far inside a shape pixels are, microns, or None where none is within the margin."""
    if not _meet(scene, region, (shape["y"], shape["x"]), 1.1 * shape["long"] + margin_um):
        return None
    inside = (1 - depth(shape, *_centres(scene, region))[0]) * np.float32(shape["short"])
    return np.asarray(inside) if inside.max() > -margin_um else None


def _meet(scene: Scene, region: Region, centre_um: tuple[float, float], radius_um: float) -> bool:
    low = np.array([region.y, region.x]) * scene.mpp - radius_um
    high = np.array([region.y + region.height, region.x + region.width]) * scene.mpp + radius_um
    return bool((low < centre_um).all() and (high > centre_um).all())


def _centres(scene: Scene, region: Region) -> tuple[Points, Points]:
    rows = np.arange(region.y, region.y + region.height, dtype=np.float64) + 0.5
    cols = np.arange(region.x, region.x + region.width, dtype=np.float64) + 0.5
    return rows[:, None] * scene.mpp, cols[None, :] * scene.mpp
