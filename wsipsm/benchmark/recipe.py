"""The paper's recipe in numbers, and how its two U-Nets learn: tiles, labels, losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from wsipsm.config import Pretraining, Section
from wsipsm.io.tiles import Tiles
from wsipsm.models.input import to_input
from wsipsm.types import Region

CENTRE_UM = 128.0
"""Side of the paper's tiles: 512 px at 0.25 microns per pixel."""

NOTHING = 255


class Recipe(Section):
    """The settings of the paper's recipe; the defaults are the paper's."""

    clusters: int = Field(3, ge=2, description="k of the clustering")
    classes: int = Field(1, ge=1, description="clusters that are nuclei")
    oriented: bool = Field(False, description="turn each tile's map so that dense stain is bright")
    tile_px: int = Field(512, ge=64, description="side of the tiles that the U-Nets learn from")
    backbone: str = Field("resnet34", description="encoder of both U-Nets")
    batch: int = Field(4, ge=1, description="tiles in a step")
    steps: int = Field(750, ge=1, description="steps of each U-Net; 750: 100 epochs of 30 fields")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of each U-Net")
    voronoi_weight: float = Field(1.5, ge=0, description="weight of the Voronoi loss")


PAPER_PRETRAINING = Pretraining(
    backbone="res2net101_26w_4s",
    proxy="similarity",
    steps=3000,
    batch=1,
    tile_px=512,
    learning_rate=1e-4,
)
"""The paper's activation network: 100 epochs of 30 fields."""


def centre_of(slide: Tiles) -> Region:
    """The tile in the middle of a field: all of a small field."""
    side = round(CENTRE_UM / slide.mpp)
    height, width = slide.grid.height_px, slide.grid.width_px
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return Region(top, left, min(side, height), min(side, width))


class Samples:
    """Tiles out of the centres of fields, with their labels, turned and flipped."""

    def __init__(
        self, fields: list[tuple[Tiles, dict[str, NDArray[Any]]]], settings: Recipe, seed: int
    ) -> None:
        self.fields, self.seed, self.side_px = fields, seed, settings.tile_px

    def __call__(self, step: int, index: int) -> tuple[Tensor, ...]:
        """Input, classes and Voronoi labels of one sample, the same for a step and an index."""
        rng = np.random.default_rng([self.seed, step, index])
        slide, labels = self.fields[int(rng.integers(len(self.fields)))]
        centre = centre_of(slide)
        y, x = (
            start + int(rng.integers(max(0, length - self.side_px) + 1))
            for start, length in ((centre.y, centre.height), (centre.x, centre.width))
        )
        region = Region(y, x, self.side_px, self.side_px)
        none = np.full(labels["classes"].shape, NOTHING, np.uint8)
        wanted = [_padded(labels.get(name, none), region) for name in ("classes", "voronoi")]
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        image, *wanted = (_turned(part, turns, flip) for part in (slide.read(region), *wanted))
        return to_input(image[None])[0], *(torch.from_numpy(one).long() for one in wanted)


def _turned(part: NDArray[Any], turns: int, flip: bool) -> NDArray[Any]:
    part = np.rot90(part, turns, axes=(-2, -1))
    return np.ascontiguousarray(part[..., ::-1] if flip else part)


def _padded(labels: NDArray[Any], region: Region) -> NDArray[np.uint8]:
    part = labels[region.slices].astype(np.uint8)
    missing = [(0, side - size) for side, size in
               zip((region.height, region.width), part.shape, strict=True)]  # fmt: skip
    return np.pad(part, missing, constant_values=NOTHING)


class Loss:
    """NLL of the classes, and of the Voronoi labels where there are some."""

    def __init__(self, settings: Recipe) -> None:
        self.weight = settings.voronoi_weight

    def __call__(
        self, network: torch.nn.Module, images: Tensor, classes: Tensor, voronoi: Tensor
    ) -> Tensor:
        """Loss of a batch."""
        scores = network(images)[:, :-1].float()  # the last channel is a distance: not the paper's
        return _nll(scores, classes) + self.weight * _nll(scores, voronoi)


def _nll(scores: Tensor, wanted: Tensor) -> Tensor:
    loss = functional.cross_entropy(scores, wanted, ignore_index=NOTHING, reduction="sum")
    mean: Tensor = loss / (wanted != NOTHING).sum().clamp(min=1)
    return mean
