"""The self-supervised tasks: what the activation network is shown, and what it must say.

Five are the paper's (Chen et al. 2023): similarity, contrastive, rotation, simsiam, mean_pixel.
`stain` is ours: it has a direction, so that the sign of the map does not depend on the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsipsm.config import Proxy
from wsipsm.learning.augment import restain
from wsipsm.models.encoder import Encoder
from wsipsm.models.input import to_input

MARGIN = 10.0
EMBEDDING = 64


@dataclass(frozen=True)
class Tile:
    """What a proxy may look at: a tile, another of the cohort if it asks, the share of nuclei."""

    image: NDArray[np.uint8]
    other: Callable[[], NDArray[np.uint8]]
    stained_share: float


class Learner(nn.Module):
    """The activation network, and the predictor that SimSiam needs beside it."""

    def __init__(self, encoder: Encoder, *, predictor: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor: nn.Module = nn.Identity()
        if predictor:
            narrow = EMBEDDING // 2
            self.predictor = nn.Sequential(
                nn.Linear(EMBEDDING, narrow), nn.ReLU(), nn.Linear(narrow, EMBEDDING)
            )


@dataclass(frozen=True)
class Task:
    """One proxy: number of outputs, the views of a tile, and the loss of a batch of views."""

    outputs: int
    views: Callable[[np.random.Generator, Tile], tuple[Tensor, ...]]
    loss: Callable[..., Tensor]


def learner_for(proxy: Proxy, *, backbone: str, seed: int) -> Learner:
    """A network with random weights for a proxy, the same for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(backbone, outputs=TASKS[proxy].outputs)
        return Learner(encoder, predictor=proxy == "simsiam")


def _input(image: NDArray[np.uint8]) -> Tensor:
    return to_input(np.ascontiguousarray(image)[None])[0]


def _half_turn(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[:, ::-1, ::-1]


def _stain_views(rng: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    return _input(restain(rng, tile.image)), torch.tensor(tile.stained_share)


def _similarity_views(_: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    return _input(tile.image), _input(_half_turn(tile.image))


def _contrastive_views(_: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    return _input(tile.image), _input(_half_turn(tile.image)), _input(tile.other())


def _rotation_views(rng: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    turns = int(rng.integers(4))
    return _input(np.rot90(tile.image, turns, axes=(1, 2))), torch.tensor(turns)


def _simsiam_views(rng: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    def view() -> Tensor:
        turned = np.rot90(tile.image, int(rng.integers(4)), axes=(1, 2))
        return _input(restain(rng, np.ascontiguousarray(turned)))

    return view(), view()


def _mean_pixel_views(_: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    image = _input(tile.image)
    return image, image.mean()


def _regression_loss(learner: Learner, images: Tensor, wanted: Tensor) -> Tensor:
    return functional.l1_loss(learner.encoder(images)[:, 0], wanted)


def _similarity_loss(learner: Learner, images: Tensor, turned: Tensor) -> Tensor:
    return functional.l1_loss(learner.encoder(images), learner.encoder(turned))


def _contrastive_loss(learner: Learner, images: Tensor, turned: Tensor, other: Tensor) -> Tensor:
    anchor = learner.encoder(images)
    near = (anchor - learner.encoder(turned)).square().sum(1)
    far = (anchor - learner.encoder(other)).square().sum(1)
    loss: Tensor = near + functional.relu(MARGIN - far)
    return loss.mean()


def _rotation_loss(learner: Learner, images: Tensor, turns: Tensor) -> Tensor:
    return functional.cross_entropy(learner.encoder(images), turns)


def _simsiam_loss(learner: Learner, first: Tensor, second: Tensor) -> Tensor:
    z1, z2 = learner.encoder(first), learner.encoder(second)
    p1, p2 = learner.predictor(z1), learner.predictor(z2)
    towards = functional.cosine_similarity(p1, z2.detach())
    return -(towards + functional.cosine_similarity(p2, z1.detach())).mean() / 2


TASKS: dict[Proxy, Task] = {
    "stain": Task(1, _stain_views, _regression_loss),
    "similarity": Task(1, _similarity_views, _similarity_loss),
    "contrastive": Task(EMBEDDING, _contrastive_views, _contrastive_loss),
    "rotation": Task(4, _rotation_views, _rotation_loss),
    "simsiam": Task(EMBEDDING, _simsiam_views, _simsiam_loss),
    "mean_pixel": Task(1, _mean_pixel_views, _regression_loss),
}
