"""Random changes of training tiles that leave their meaning: geometry and stain."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import rgb_from_hed
from torch import Tensor
from torch.nn import functional

from wsipsm.models.stain import optical_density

REACH = 2
"""Side of the region to read for `turn`, in sides of the tile that it returns."""


def turn(
    rng: np.random.Generator,
    image: Tensor,
    labels: Tensor,
    *,
    side_px: int,
    wander: float = 1,
    log_scale: float = 0.35,
) -> tuple[Tensor, Tensor]:
    """A tile from somewhere in a region: rotated, flipped and scaled by one random affine map.

    Parameters
    ----------
    image
        float (3, n, n), n at least `side_px`; `REACH * side_px` show any tile whole.
    labels
        float (..., n, n); values are kept (nearest pixel).
    wander
        How far from the middle of the region the tile may lie: 0 there, 1 anywhere.
    log_scale
        Largest logarithm of the scale, up and down.

    Returns
    -------
    tuple
        Image (3, side_px, side_px) and labels (..., side_px, side_px) after the map. What would
        lie outside the region is mirrored into it.
    """
    share = side_px / image.shape[-1]
    angle = rng.uniform(0, 2 * math.pi) if rng.random() < 0.5 else rng.integers(4) * math.pi / 2
    scale = math.exp(rng.uniform(-log_scale, log_scale)) * share
    flip = 1.0 if rng.random() < 0.5 else -1.0
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    x, y = wander * (1 - share) * rng.uniform(-1, 1, 2)
    matrix = torch.tensor([[cos * flip, -sin, x], [sin * flip, cos, y]])
    grid = functional.affine_grid(matrix[None], [1, 1, side_px, side_px], align_corners=False)
    return _sample(image, grid, "bilinear"), _sample(labels, grid, "nearest")


def _sample(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(
        image[None], grid.to(image.dtype), mode=mode, padding_mode="reflection", align_corners=False
    )[0]


def restain(
    rng: np.random.Generator, image: NDArray[np.uint8], *, gain: float = 0.15, shift: float = 0.03
) -> NDArray[np.uint8]:
    """Another laboratory's staining of an RGB tile (3, y, x), by Beer-Lambert.

    Each stain (haematoxylin, eosin, DAB) is multiplied by a factor from N(1, gain), and
    a density from N(0, shift) is added to all channels.
    """
    gains = rng.normal(1, gain, 3)
    mixing = np.linalg.inv(rgb_from_hed) @ np.diag(gains) @ rgb_from_hed
    density = np.einsum("cyx,cd->dyx", optical_density(image), mixing.astype(np.float32))
    density += np.float32(rng.normal(0, shift))
    pixels = 255 * np.power(10, -np.maximum(density, 0))
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def roughen(rng: np.random.Generator, image: Tensor) -> Tensor:
    """Blur (one time in four) and noise of a network input (3, y, x) in [-1, 1]."""
    if rng.random() < 0.25:
        sigma = rng.uniform(0.3, 1.2)
        offsets = torch.arange(-3, 4, dtype=torch.float32)
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        kernel /= kernel.sum()
        padded = functional.pad(image[:, None], (3, 3, 3, 3), mode="reflect")
        rows = functional.conv2d(padded, kernel.view(1, 1, 7, 1))
        image = functional.conv2d(rows, kernel.view(1, 1, 1, 7))[:, 0]
    noise = rng.normal(0, rng.uniform(0, 0.06), image.shape).astype(np.float32)
    return image + torch.from_numpy(noise)
