"""Sign and range of activation maps, set once for a slide: bright must mean nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOW, HIGH = 0.5, 99.5
"""Percentiles of a slide's raw values that become 0 and 1."""


@dataclass(frozen=True)
class Orientation:
    """For each block of the tapped stage: the sign, and the raw values that become 0 and 1.

    `flipped_share` is the share of sample tiles whose own correlation with stain density has
    the other sign than the slide's: a measure of how far the map can be trusted.
    """

    signs: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    flipped_share: float

    def apply(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Oriented activation maps in [0, 1], (n, y, x), of raw maps (n, blocks, y, x).

        Each block's map is oriented and brought to [0, 1] by the slide's range, and the mean
        is taken over blocks (section 2.1 of the paper, with one range for the slide in place
        of one for each tile).
        """
        shape = (1, -1, 1, 1)
        signs, lows, highs = (
            np.array(values, np.float32).reshape(shape)
            for values in (self.signs, self.lows, self.highs)
        )
        scaled = (maps * signs - lows) / np.maximum(highs - lows, np.float32(1e-12))
        return np.asarray(np.clip(scaled, 0, 1).mean(axis=1), np.float32)


def orient(maps: NDArray[np.float32], density: NDArray[np.float32]) -> Orientation:
    """Find the orientation from a sample of a slide's tiles.

    Parameters
    ----------
    maps
        Raw maps, float32 (n, blocks, y, x).
    density
        Nuclear stain density on the same grid, float32 (n, y, x).
    """
    blocks = maps.shape[1]
    signs = [_sign(maps[:, block], density) for block in range(blocks)]
    oriented = maps * np.array(signs, np.float32).reshape(1, -1, 1, 1)
    lows, highs = (
        tuple(float(np.percentile(oriented[:, block], q)) for block in range(blocks))
        for q in (LOW, HIGH)
    )
    mean = oriented.mean(axis=1)
    flipped = [_sign(one, own) < 0 for one, own in zip(mean, density, strict=True)]
    return Orientation(tuple(signs), lows, highs, float(np.mean(flipped)))


def align(
    weights: list[Tensor], maps: NDArray[np.float32], density: NDArray[np.float32]
) -> list[Tensor]:
    """One set of channel weights for a slide: the mean of its sample tiles' oriented weights.

    Parameters
    ----------
    weights
        For each block the tiles' own weights (n, c).
    maps, density
        The maps that these weights give, and stain density, as for `orient`. A tile whose map
        is dark where stain is dense has its weights' sign turned.

    Returns
    -------
    list
        A tensor (1, c) for each block.
    """
    shared = []
    for block, own in enumerate(weights):
        signs = [_sign(m[block], d) for m, d in zip(maps, density, strict=True)]
        shared.append((torch.tensor(signs)[:, None] * own).mean(0, keepdim=True))
    return shared


def _sign(values: NDArray[np.float32], density: NDArray[np.float32]) -> float:
    """Sign of the covariance of a map and stain density; +1 where there is none."""
    x, y = values.astype(np.float64).ravel(), density.astype(np.float64).ravel()
    return -1.0 if np.mean((x - x.mean()) * (y - y.mean())) < 0 else 1.0
