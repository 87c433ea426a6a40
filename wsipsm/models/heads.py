"""Heads of the U-Net that part touching cells: their maps, how these turn, and their height."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

GRADIENT_UM = 0.56
"""Sigma of the Gaussian whose derivatives are the gradients of horizontal and vertical maps."""

FALL = 2 / (math.sqrt(2 * math.pi) * GRADIENT_UM)
"""How fast they fall, a micron, where a cell ends and another begins: from 1 to -1 at once."""

RISE = 1 / 3
"""How fast they rise, a micron, in a cell 6 microns wide."""


class Head(Protocol):
    """What a network says of cells beside their classes.

    Attributes
    ----------
    channels
        Number of its maps, the last channels of the network's output.
    """

    channels: int

    def turned(self, maps: Tensor, turns: int) -> Tensor:
        """Maps (..., channels, y, x) after so many quarter turns anticlockwise of the image."""
        ...

    def height(
        self, maps: NDArray[np.float32], foreground: NDArray[np.float32], *, mpp: float
    ) -> NDArray[np.float32]:
        """A map (y, x), about 0 to 1, high in each cell and low where it ends.

        Parameters
        ----------
        maps
            What the head says, float32 (channels, y, x).
        foreground
            Foreground probability, float32 (y, x).
        mpp
            Microns per pixel.
        """
        ...


class Distance:
    """Distance to the outline over its largest value in the cell: 1 at its centre, 0 outside."""

    channels = 1

    def turned(self, maps: Tensor, turns: int) -> Tensor:
        """The map (..., 1, y, x), each value moved."""
        return torch.rot90(maps, turns, (-2, -1))

    def height(
        self,
        maps: NDArray[np.float32],
        foreground: NDArray[np.float32],  # noqa: ARG002
        *,
        mpp: float,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """The map itself (y, x)."""
        height: NDArray[np.float32] = maps[0]
        return height


class Offsets:
    """Horizontal and vertical offset from the centre of the cell, each -1 to 1.

    The maps of HoVer-Net (Graham et al. 2019, arXiv 1812.06499, section 3.1).
    """

    channels = 2

    def turned(self, maps: Tensor, turns: int) -> Tensor:
        """The maps (..., 2, y, x): what pointed right points up after a quarter turn."""
        across, down = torch.rot90(maps, turns, (-2, -1)).unbind(-3)
        for _ in range(turns % 4):
            across, down = down, -across
        return torch.stack([across, down], dim=-3)

    def height(
        self, maps: NDArray[np.float32], foreground: NDArray[np.float32], *, mpp: float
    ) -> NDArray[np.float32]:
        """The smaller gradient of the two, each along its own axis: 0 is a fall to another cell.

        Inside a cell both maps rise, by 1 over half its side; where it ends, one of them falls.
        The post-processing of HoVer-Net (section 3.2), but for two things: gradients are scaled by
        what they are in cells that touch, and not by their extremes in an image, which would depend
        on how a slide is cut into tiles; and they are those of a Gaussian, to which its Sobel
        kernel (21 pixels of 0.25 microns) is near.
        """
        sigma = GRADIENT_UM / mpp
        right = ndimage.gaussian_filter(maps[0], sigma, order=(0, 1))
        below = ndimage.gaussian_filter(maps[1], sigma, order=(1, 0))
        slope = np.minimum(right, below) / mpp
        return np.asarray(foreground * np.clip((slope + FALL) / (FALL + RISE), 0, 1), np.float32)


HEADS: dict[str, Head] = {"distance": Distance(), "hv": Offsets()}
"""Heads by the name that `training.head` uses."""
