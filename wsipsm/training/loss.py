"""What the U-Net is punished for: wrong classes, too little overlap, wrong distances."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsipsm.training.targets import IGNORE

OVERLAP_WEIGHT = 0.5


@dataclass(frozen=True)
class Loss:
    """Cross entropy, half the soft Dice loss of foreground, and the distance head's loss."""

    distance_weight: float

    def __call__(
        self, network: torch.nn.Module, images: Tensor, classes: Tensor, distance: Tensor
    ) -> Tensor:
        """Loss of a batch: images (n, 3, y, x), classes (255 ignore) and distance (n, y, x)."""
        output = network(images)
        scores, height = output[:, :-1].float(), output[:, -1].float()
        known = (classes != IGNORE).float()
        count = known.sum().clamp(min=1)
        entropy = functional.cross_entropy(scores, classes, ignore_index=IGNORE, reduction="sum")
        away = functional.smooth_l1_loss(height, distance, reduction="none")
        chance = 1 - torch.softmax(scores, dim=1)[:, 0]
        loss: Tensor = (
            entropy / count
            + OVERLAP_WEIGHT * _overlap_loss(chance * known, (classes > 0) * known)
            + self.distance_weight * (away * known).sum() / count
        )
        return loss


def _overlap_loss(chance: Tensor, wanted: Tensor) -> Tensor:
    """1 - soft Dice over a batch (Milletari et al. 2016, section 3, without the squares)."""
    shared = (chance * wanted).sum()
    return 1 - (2 * shared + 1) / (chance.sum() + wanted.sum() + 1)
