"""What the U-Net is punished for: wrong classes, too little overlap, and what its head errs in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsipsm.training.goals import Goal
from wsipsm.training.targets import IGNORE

OVERLAP_WEIGHT = 0.5


@dataclass(frozen=True)
class Loss:
    """Cross entropy, half the soft Dice loss of foreground, and the weighted loss of the head."""

    goal: Goal
    weight: float

    def __call__(
        self, network: torch.nn.Module, images: Tensor, classes: Tensor, wanted: Tensor
    ) -> Tensor:
        """Loss of a batch.

        Images (n, 3, y, x), classes (n, y, x) (255 ignore) and what the head is to say
        (n, channels, y, x).
        """
        output, channels = network(images), wanted.shape[1]
        scores, maps = output[:, :-channels].float(), output[:, -channels:].float()
        known = (classes != IGNORE).float()
        count = known.sum().clamp(min=1)
        entropy = functional.cross_entropy(scores, classes, ignore_index=IGNORE, reduction="sum")
        chance = 1 - torch.softmax(scores, dim=1)[:, 0]
        loss: Tensor = (
            entropy / count
            + OVERLAP_WEIGHT * _overlap_loss(chance * known, (classes > 0) * known)
            + self.weight * self.goal.loss(maps, wanted, classes)
        )
        return loss


def _overlap_loss(chance: Tensor, wanted: Tensor) -> Tensor:
    """1 - soft Dice over a batch (Milletari et al. 2016, section 3, without the squares)."""
    shared = (chance * wanted).sum()
    return 1 - (2 * shared + 1) / (chance.sum() + wanted.sum() + 1)
