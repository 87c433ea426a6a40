"""Closed shapes around a centre: bent ellipses whose radius wobbles with the angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HARMONICS = (2, 3, 4)
VERTICES = 48


def outlines(shapes: NDArray[np.void]) -> NDArray[np.float64]:
    """Polygons of shapes, float64 (n, vertices, 2), as (x, y) in microns.

    Parameters
    ----------
    shapes
        Structured array (n,) with `y`, `x` (centre, microns), `long`, `short` (half axes,
        microns), `angle` (of the long axis from x to y, radians), `bend` (per micron) and
        `wobble` (2, 3): cosine and sine parts of the radius, harmonics 2, 3, 4.
    """
    theta = np.arange(VERTICES) * (2 * np.pi / VERTICES)
    radius = np.ones((len(shapes), VERTICES))
    for index, order in enumerate(HARMONICS):
        radius += shapes["wobble"][:, 0, index, None] * np.cos(order * theta)
        radius += shapes["wobble"][:, 1, index, None] * np.sin(order * theta)
    along = shapes["long"][:, None] * radius * np.cos(theta)
    aside = shapes["short"][:, None] * radius * np.sin(theta)
    aside = aside + shapes["bend"][:, None] * along**2
    cos, sin = np.cos(shapes["angle"])[:, None], np.sin(shapes["angle"])[:, None]
    x = shapes["x"][:, None] + along * cos - aside * sin
    y = shapes["y"][:, None] + along * sin + aside * cos
    return np.stack([x, y], axis=-1)


def reach(shapes: NDArray[np.void]) -> NDArray[np.float64]:
    """Radius in microns of circles that hold the shapes."""
    wobble = 1 + np.abs(shapes["wobble"]).sum(axis=(-2, -1))
    long = shapes["long"] * wobble
    return np.asarray(long + np.abs(shapes["bend"]) * long**2)


def depth(
    shape: np.void, y_um: NDArray[np.float64], x_um: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """How far points are out of one shape: 0 at its centre, 1 on its outline.

    Parameters
    ----------
    shape
        One item of what `outlines` takes.
    y_um, x_um
        Coordinates in microns; they broadcast, as (n, 1) and (1, m) for pixels.

    Returns
    -------
    out, along, aside
        float32 each: relative radius, and the two coordinates in half axes.
    """
    angle = float(shape["angle"])
    cos, sin = np.cos(angle), np.sin(angle)
    dy, dx = y_um - shape["y"], x_um - shape["x"]
    along = (dx * cos + dy * sin).astype(np.float32)
    aside = (dy * cos - dx * sin).astype(np.float32)
    if shape["bend"]:
        aside -= np.float32(shape["bend"]) * along * along
    along *= np.float32(1 / shape["long"])
    aside *= np.float32(1 / shape["short"])
    square = along * along + aside * aside
    radius = np.sqrt(square)
    safe = np.maximum(radius, np.float32(1e-6))
    return radius / _radius(along / safe, aside / safe, shape["wobble"]), along, aside


def _radius(
    cos: NDArray[np.float32], sin: NDArray[np.float32], wobble: NDArray[np.float64]
) -> NDArray[np.float32]:
    parts = wobble.astype(np.float32)
    out = np.ones_like(cos)
    cos_k, sin_k = cos, sin
    for index in range(len(HARMONICS)):
        cos_k, sin_k = cos_k * cos - sin_k * sin, sin_k * cos + cos_k * sin
        out += parts[0, index] * cos_k + parts[1, index] * sin_k
    return out
