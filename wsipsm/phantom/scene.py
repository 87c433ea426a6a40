"""A slide as a function of position: its tissue, its compartments and the look of its stain."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb_from_hed

from wsipsm.config import Stain
from wsipsm.phantom.noise import noise, noise_at
from wsipsm.types import Region

BLOCK_UM = 128.0
"""Side of a block, the unit in which nuclei and structures are drawn by chance."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Octave:
    """One layer of noise: weight and width of its features in microns."""

    weight: float
    width_um: float


_FIELDS: dict[str, tuple[float, tuple[Octave, ...]]] = {
    "sheet": (0.02, (Octave(0.7, 170), Octave(0.35, 60), Octave(0.08, 11))),
    "fat": (-0.38, (Octave(0.75, 230), Octave(0.25, 80))),
    "crowd": (-0.42, (Octave(0.8, 120), Octave(0.2, 40))),
    "gland": (0.05, (Octave(1.0, 300),)),
    "positive": (0.0, (Octave(1.0, 110),)),
    "thickness": (0.0, (Octave(0.7, 240), Octave(0.3, 60))),
    "cleft": (0.0, (Octave(0.75, 60), Octave(0.2, 16), Octave(0.05, 4))),
    "torn": (-0.3, (Octave(0.8, 190), Octave(0.2, 40))),
    "focus": (0.0, (Octave(1.0, 260),)),
    "mottle": (0.0, (Octave(0.4, 1.2), Octave(0.35, 3.7), Octave(0.45, 13))),
    "chromatin": (0.0, (Octave(0.6, 0.65), Octave(0.4, 1.3))),
    "weave": (0.0, (Octave(0.8, 85), Octave(0.17, 23), Octave(0.03, 6))),
}
"""Name of a field: its level, and the noise added to it. Positive means: here."""

_NUMBER = {name: index for index, name in enumerate(_FIELDS, start=11)}
_OUTLINE = (Octave(0.16, 1 / 5), Octave(0.07, 1 / 15))
_GLASS = {"he": (236, 247), "ihc": (222, 240)}
_FRAY = (Octave(0.022, 38), Octave(0.008, 7))

INKS = {
    "blue": (0.95, 0.55, 0.12),
    "green": (0.9, 0.28, 0.62),
    "black": (0.8, 0.75, 0.72),
    "red": (0.06, 0.95, 0.75),
}
"""Colour of a pen: optical density of its ink."""


@dataclass(frozen=True)
class Look:
    """How a slide is stained and scanned.

    Attributes
    ----------
    vectors
        Optical density of a unit of stain, float64 (2, 3): haematoxylin, and eosin or DAB.
        They are the vectors of Ruifrok and Johnston (2001), tilted a little.
    strength
        Factor of each stain's density.
    ink
        Colour of the pen, of `INKS`.
    white
        Grey value of glass, (3,).
    """

    vectors: NDArray[np.float64]
    strength: tuple[float, float]
    ink: str
    white: NDArray[np.float64]
    fibre_angle: float


@dataclass(frozen=True)
class Scene:
    """Everything that is needed to draw any region of one slide."""

    seed: int
    size_px: int
    mpp: float
    stain: Stain

    @property
    def blocks(self) -> int:
        """Number of blocks along a side."""
        return int(-(-self.size_px * self.mpp // BLOCK_UM))

    def px(self, length_um: float) -> int:
        """Whole pixels, at least one, nearest to a length."""
        return max(1, round(length_um / self.mpp))

    def field(self, name: str, region: Region) -> NDArray[np.float32]:
        """A named field over a region, float32 (y, x)."""
        level, octaves = _FIELDS[name]
        total = None
        for index, octave in enumerate(octaves):
            seed = self.seed + 101 * _NUMBER[name] + index
            layer = noise(seed, region, step_px=self.px(octave.width_um))
            layer *= np.float32(octave.weight)
            total = layer if total is None else np.add(total, layer, out=total)
        assert total is not None
        return total if level == 0 else np.add(total, np.float32(level), out=total)

    def field_at(self, name: str, y_um: Points, x_um: Points) -> Points:
        """A named field at points given in microns."""
        level, octaves = _FIELDS[name]
        total = np.full(np.shape(y_um), level)
        for index, octave in enumerate(octaves):
            seed, step_px = self.seed + 101 * _NUMBER[name] + index, self.px(octave.width_um)
            layer = noise_at(seed, y_um / self.mpp, x_um / self.mpp, step_px=step_px)
            total = total + octave.weight * layer
        return total

    def tissue(self, region: Region) -> NDArray[np.float32]:
        """Above 0 inside the tissue, float32 (y, x): an ellipse with an irregular outline."""
        centres = (region.y, region.height), (region.x, region.width)
        y, x = (_from_centre(np.arange(at, at + n) + 0.5, self.size_px) for at, n in centres)
        out = (1 - y.astype(np.float32))[:, None] - x.astype(np.float32)[None, :]
        for index, (weight, step_px) in enumerate(self._outline()):
            out += np.float32(weight) * noise(self.seed + index + 1, region, step_px=step_px)
        return out

    def tissue_at(self, y_um: Points, x_um: Points) -> Points:
        """The field of `tissue` at points given in microns."""
        y_px, x_px = y_um / self.mpp, x_um / self.mpp
        out = 1 - _from_centre(y_px, self.size_px) - _from_centre(x_px, self.size_px)
        for index, (weight, step_px) in enumerate(self._outline()):
            out = out + weight * noise_at(self.seed + index + 1, y_px, x_px, step_px=step_px)
        return out

    def inside(self, y_um: Points, x_um: Points, *, margin_um: float) -> NDArray[np.bool_]:
        """Whether points, and four more at `margin_um` around each, are in the tissue."""
        inside = self.tissue_at(y_um, x_um) > 0
        for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            y, x = y_um + down * margin_um, x_um + across * margin_um
            inside &= self.tissue_at(y, x) > 0
        return inside

    def _outline(self) -> list[tuple[float, int]]:
        layers = [(octave.weight, round(octave.width_um * self.size_px)) for octave in _OUTLINE]
        return layers + [(octave.weight, self.px(octave.width_um)) for octave in _FRAY]


@functools.lru_cache(maxsize=64)
def look(scene: Scene) -> Look:
    """The look that a slide's seed draws."""
    rng = np.random.default_rng([scene.seed, 0xC0105])
    second = rgb_from_hed[1 if scene.stain == "he" else 2]
    tilt = np.array([0.0, 0.0, rng.uniform(0.12, 0.42)]) if scene.stain == "he" else np.zeros(3)
    vectors = np.stack([rgb_from_hed[0], second + tilt]) + rng.normal(0, 0.02, (2, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Look(
        vectors=vectors,
        strength=(float(rng.uniform(0.82, 1.18)), float(rng.uniform(0.8, 1.2))),
        ink=str(rng.choice(list(INKS), p=(0.3, 0.3, 0.2, 0.2))),
        white=rng.uniform(*_GLASS[scene.stain]) + rng.normal(0, 1.5, 3),
        fibre_angle=float(rng.uniform(0, np.pi)),
    )


def _from_centre(at_px: NDArray[np.floating[Any]], size_px: int) -> Points:
    return np.asarray(((at_px / size_px - 0.5) / 0.44) ** 2)
