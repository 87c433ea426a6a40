"""What the U-Net is fed: augmented tiles of the pool, with the labels of a round."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsipsm.learning.augment import restain, roughen, turn
from wsipsm.learning.loop import PARTS
from wsipsm.models.input import to_input
from wsipsm.training.pool import Pool

FIRST_SHARE = 0.25
"""Share of the samples of a later round that keep the labels of the first."""

LOG_SCALE, GAIN, SHIFT = 0.5, 0.25, 0.05
"""How far tiles are scaled and stained anew (`learning.augment`), so that what is learnt holds on
slides of another kind."""


class Samples:
    """Samples of one round: a tile drawn from the pool, its classes, and what the head is to say.

    The tiles of a part of a batch come from one specimen, stained alike: in training as in
    inference the network sees each on its own scale (`models.unet.statistics_of`).
    """

    def __init__(self, pool: Pool, *, labels: int, side_px: int, batch: int, seed: int) -> None:
        self.pool, self.labels, self.side_px, self.seed = pool, labels, side_px, seed
        self.part = math.ceil(batch / PARTS)

    def __call__(self, step: int, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Float (3, y, x) input, int64 (y, x) classes (255 ignore), float (channels, y, x) maps."""
        rng = np.random.default_rng([self.seed, self.labels, step, index])
        together = np.random.default_rng([self.seed, self.labels, step, index // self.part, 0])
        place = self.pool.draw(rng, together)
        first = rng.random() < FIRST_SHARE
        image = torch.from_numpy(self.pool.image(place)).float()
        labels = self.pool.labels(0 if first else self.labels, place)
        image, turned = turn(
            rng,
            image,
            torch.from_numpy(labels).float(),
            side_px=self.side_px,
            wander=0 if place.annotated else 1,
            log_scale=LOG_SCALE,
        )
        pixels = image.round().byte().numpy()
        stained: NDArray[np.uint8] = restain(together, pixels, gain=GAIN, shift=SHIFT)
        classes, kept = turned
        rough = roughen(rng, to_input(stained[None])[0])
        return rough, classes.long(), self.pool.goal.target(kept)
