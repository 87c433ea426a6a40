"""What each head of the U-Net is to learn of objects, and what it is punished for."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsipsm.training.targets import IGNORE, distance_of, offsets_of, pieces_of

FULL = 255
"""Value of a kept distance of 1."""

GRADIENT_WEIGHT = 2.0
"""Weight of the gradients of horizontal and vertical maps, beside the maps themselves."""


class Goal(Protocol):
    """What a head of `models.heads` is to say of objects."""

    def keep(self, instances: NDArray[np.integer]) -> NDArray[Any]:
        """What the pool keeps of instances (y, x): values that a turn of the image only moves."""
        ...

    def target(self, kept: Tensor) -> Tensor:
        """What the head is to say, float32 (channels, y, x), of what was kept (y, x)."""
        ...

    def loss(self, maps: Tensor, wanted: Tensor, classes: Tensor) -> Tensor:
        """Mean loss of maps (n, channels, y, x) where classes (n, y, x) are not ignored."""
        ...


class DistanceGoal:
    """The distance to the outline, by smooth L1."""

    def keep(self, instances: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Distance, 0 to 255."""
        return np.rint(FULL * distance_of(instances)).astype(np.uint8)

    def target(self, kept: Tensor) -> Tensor:
        """Distance (1, y, x), 0 to 1."""
        return kept[None] / FULL

    def loss(self, maps: Tensor, wanted: Tensor, classes: Tensor) -> Tensor:
        """Mean smooth L1 loss of known pixels."""
        known = (classes != IGNORE).float()
        away = functional.smooth_l1_loss(maps[:, 0], wanted[:, 0], reduction="none")
        return (away * known).sum() / known.sum().clamp(min=1)


class OffsetsGoal:
    """Offsets from the centre, by the squares of their errors and of their gradients' errors.

    They change with a turn, so that the objects are kept, and measured after it.
    """

    def keep(self, instances: NDArray[np.integer]) -> NDArray[np.int32]:
        """Numbers 1 ... n of the pieces of objects."""
        return pieces_of(instances)

    def target(self, kept: Tensor) -> Tensor:
        """Horizontal and vertical offset (2, y, x), -1 to 1."""
        return torch.from_numpy(offsets_of(kept.numpy().astype(np.int32)))

    def loss(self, maps: Tensor, wanted: Tensor, classes: Tensor) -> Tensor:
        """Loss of HoVer-Net (arXiv 1812.06499, section 3.1).

        The mean square error of both maps in known pixels, and that of the gradient of each along
        its own axis in known objects.
        """
        known = (classes != IGNORE).float()
        inside = (classes > 0) * known
        error = (maps - wanted) * known[:, None]  # its gradient is the error of the gradient
        across = (error[:, 0, :, 2:] - error[:, 0, :, :-2]) / 2
        down = (error[:, 1, 2:] - error[:, 1, :-2]) / 2
        steep = (across.square() * inside[:, :, 1:-1]).sum()
        steep = steep + (down.square() * inside[:, 1:-1]).sum()
        return error.square().sum() / known.sum().clamp(min=1) + (
            GRADIENT_WEIGHT * steep / inside.sum().clamp(min=1)
        )


GOALS: dict[str, Goal] = {"distance": DistanceGoal(), "hv": OffsetsGoal()}
"""Goals by the name that `training.head` uses."""
