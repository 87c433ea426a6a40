"""The self-supervised tasks: what the activation network is shown, and what it must say.

Five are the paper's (Chen et al. 2023): similarity, contrastive, rotation, simsiam, mean_pixel.
`stain` is ours: it has a direction, so that the sign of the map does not depend on the seed.
`simclr` and `vicreg` cannot collapse: their losses are large where all embeddings are alike.
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
from wsipsm.learning.augment import restain, roughen
from wsipsm.models.encoder import Encoder
from wsipsm.models.input import to_input
from wsipsm.pretraining.losses import nt_xent, vicreg

MARGIN = 10.0
EMBEDDING, PROJECTION = 64, 256


@dataclass(frozen=True)
class Tile:
    """What a proxy may look at: a tile; if it asks, another of the cohort, and what is stained.

    `stained` gives the share of stained nuclei, as 0 +- 1 over the cohort.
    """

    image: NDArray[np.uint8]
    other: Callable[[], NDArray[np.uint8]]
    stained: Callable[[], float]


class Learner(nn.Module):
    """The activation network, and what only its training needs on top of its embeddings."""

    def __init__(self, encoder: Encoder, *, projected: bool, predicted: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = _layers(EMBEDDING, PROJECTION) if projected else nn.Identity()
        self.predictor = _layers(PROJECTION, PROJECTION // 4) if predicted else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (n, d) as the loss compares them."""
        embeddings: Tensor = self.projector(self.encoder(images))
        return embeddings


def _layers(inputs: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, PROJECTION),
    )


@dataclass(frozen=True)
class Task:
    """One proxy: number of outputs, the views of a tile, and the loss of a batch of views.

    projected: the loss compares the projected embeddings of all tiles of a batch. predicted:
    one view is predicted from the other.
    """

    outputs: int
    views: Callable[[np.random.Generator, Tile], tuple[Tensor, ...]]
    loss: Callable[..., Tensor]
    projected: bool = False
    predicted: bool = False


def learner_for(proxy: Proxy, *, backbone: str, seed: int) -> Learner:
    """A network with random weights for a proxy, the same for a seed."""
    task = TASKS[proxy]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(backbone, outputs=task.outputs)
        return Learner(encoder, projected=task.projected, predicted=task.predicted)


def _input(image: NDArray[np.uint8]) -> Tensor:
    return to_input(np.ascontiguousarray(image)[None])[0]


def _half_turn(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[:, ::-1, ::-1]


def _stain_views(rng: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    return _input(restain(rng, tile.image)), torch.tensor([tile.stained()], dtype=torch.float32)


def _similarity_views(_: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    return _input(tile.image), _input(_half_turn(tile.image))


def _contrastive_views(_: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    return _input(tile.image), _input(_half_turn(tile.image)), _input(tile.other())


def _rotation_views(rng: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    turns = int(rng.integers(4))
    return _input(np.rot90(tile.image, turns, axes=(1, 2))), torch.tensor(turns)


def _two_views(rng: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    """The tile twice: turned, flipped, stained by another laboratory, blurred or noisy."""

    def view() -> Tensor:
        turned = np.rot90(tile.image, int(rng.integers(4)), axes=(1, 2))
        flipped = turned[:, :: 1 - 2 * int(rng.integers(2))]
        return roughen(rng, _input(restain(rng, np.ascontiguousarray(flipped))))

    return view(), view()


def _mean_pixel_views(_: np.random.Generator, tile: Tile) -> tuple[Tensor, ...]:
    image = _input(tile.image)
    return image, image.mean()[None]


def _regression_loss(learner: Learner, images: Tensor, wanted: Tensor) -> Tensor:
    return functional.smooth_l1_loss(learner(images), wanted)


def _similarity_loss(learner: Learner, images: Tensor, turned: Tensor) -> Tensor:
    return functional.l1_loss(learner(images), learner(turned))


def _contrastive_loss(learner: Learner, images: Tensor, turned: Tensor, other: Tensor) -> Tensor:
    anchor = learner(images)
    near = (anchor - learner(turned)).square().sum(1)
    far = (anchor - learner(other)).square().sum(1)
    loss: Tensor = near + functional.relu(MARGIN - far)
    return loss.mean()


def _rotation_loss(learner: Learner, images: Tensor, turns: Tensor) -> Tensor:
    return functional.cross_entropy(learner(images), turns)


def _simsiam_loss(learner: Learner, first: Tensor, second: Tensor) -> Tensor:
    z1, z2 = learner(first), learner(second)
    p1, p2 = learner.predictor(z1), learner.predictor(z2)
    towards = functional.cosine_similarity(p1, z2.detach())
    return -(towards + functional.cosine_similarity(p2, z1.detach())).mean() / 2


def _simclr_loss(learner: Learner, first: Tensor, second: Tensor) -> Tensor:
    return nt_xent(learner(first), learner(second))


def _vicreg_loss(learner: Learner, first: Tensor, second: Tensor) -> Tensor:
    return vicreg(learner(first), learner(second))


TASKS: dict[Proxy, Task] = {
    "stain": Task(1, _stain_views, _regression_loss),
    "similarity": Task(1, _similarity_views, _similarity_loss),
    "contrastive": Task(EMBEDDING, _contrastive_views, _contrastive_loss),
    "rotation": Task(4, _rotation_views, _rotation_loss),
    "simsiam": Task(EMBEDDING, _two_views, _simsiam_loss, projected=True, predicted=True),
    "mean_pixel": Task(1, _mean_pixel_views, _regression_loss),
    "simclr": Task(EMBEDDING, _two_views, _simclr_loss, projected=True),
    "vicreg": Task(EMBEDDING, _two_views, _vicreg_loss, projected=True),
}
