"""How far the masks and scores of points are from the cells that they stand on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsipsm.models.adapters import AdaptedSam
from wsipsm.models.sam import decode, embed

KEPT_BYTES = 2**30
"""Memory for the embeddings of views that come again."""


class SamLoss:
    """Cross entropy of the masks of cells, and squared error of the score: 1 on a cell, else 0.

    Parameters
    ----------
    dice
        Weight of the Dice loss (Milletari et al. 2016) beside cross entropy.
    """

    def __init__(self, *, dice: float) -> None:
        self.dice = dice
        self.kept: dict[int, Tensor] = {}

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, *asked: Tensor
    ) -> Tensor:
        """Mean over the views of a chunk; `asked` is what `sam_samples.Views` gives after them."""
        assert isinstance(network, AdaptedSam)
        *prompts, seeds, keys = asked
        network.seed(int(seeds[0]))
        embeddings = self._embed(network.sam, images, keys)
        losses = [
            self._of_view(network.sam, *view)
            for view in zip(embeddings, labels, *prompts, strict=True)
        ]
        return torch.stack(losses).mean()

    def _embed(self, sam: nn.Module, images: Tensor, keys: Tensor) -> Tensor:
        if (keys < 0).any():
            return embed(sam, images)
        found = []
        for image, key in zip(images, keys.tolist(), strict=True):
            embedding = self.kept.get(key)
            if embedding is None:
                with torch.no_grad():
                    embedding = embed(sam, image[None])[0]
                if len(self.kept) * embedding.nbytes < KEPT_BYTES:
                    self.kept[key] = embedding
            found.append(embedding)
        return torch.stack(found)

    def _of_view(
        self, sam: nn.Module, embedding: Tensor, labels: Tensor, points: Tensor, *rest: Tensor
    ) -> Tensor:
        given = rest[2] > 0
        if not given.any():
            return embedding.sum() * 0
        points, (how, ids, weights) = points[given], (each[given] for each in rest)
        logits, scores = decode(sam, embedding, points, how)
        cells = ids > 0
        wrong = (scores.float() - cells.float()).square()
        loss = (wrong * weights).sum() / weights.sum()
        if cells.any():
            wanted = (labels == ids[cells, None, None]).float()
            masks = self._of_masks(logits[cells].float(), wanted, (labels >= 0).float())
            loss = loss + (masks * weights[cells]).sum() / weights[cells].sum()
        return loss

    def _of_masks(self, logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
        """Loss of each mask (n, y, x) over the pixels that are known, (n,)."""
        entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        loss: Tensor = (entropy * known).sum((1, 2)) / known.sum().clamp(min=1)
        if self.dice:
            chance = logits.sigmoid() * known
            shared = (chance * wanted).sum((1, 2))
            total = chance.sum((1, 2)) + (wanted * known).sum((1, 2))
            loss = loss + self.dice * (1 - (2 * shared + 1) / (total + 1))
        return loss
