"""U-Nets: any timm encoder that offers its stages, or a small one for CPUs, under one decoder."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsipsm.errors import SettingsError
from wsipsm.models.heads import HEADS

N = TypeVar("N", bound=nn.Module)

SMALL_WIDTHS = (24, 48, 96, 144)


class UNet(nn.Module):
    """Class scores of every pixel, and the maps of a head that parts touching cells.

    Parameters
    ----------
    backbone
        `small`, or a timm network with `features_only` (the paper: resnet34).
    classes
        Number of classes of cells, k.
    head
        One of `models.heads.HEADS`, with h channels.

    Notes
    -----
    Output (n, k + 1 + h, y, x) for input (n, 3, y, x) with sides that are multiples of 32:
    channels 0 ... k are class scores before softmax (0 = background), the last h are the head's.
    """

    def __init__(self, backbone: str, *, classes: int, head: str = "distance") -> None:
        super().__init__()
        facts = {"backbone": backbone, "classes": classes, "head": head}
        self.architecture: dict[str, Any] = facts
        self.encoder = SmallEncoder() if backbone == "small" else TimmEncoder(backbone)
        widths = self.encoder.widths
        above = [*widths[1:-1], widths[-1]]
        self.decoder = nn.ModuleList(
            Block(skip + deep, skip) for skip, deep in zip(widths[:-1], above, strict=True)
        )
        outputs = classes + 1 + HEADS[head].channels
        self.head = nn.Conv2d(widths[0], outputs * self.encoder.stride**2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores and maps, (n, k + 1 + h, y, x)."""
        *skips, deep = self.encoder(images)
        for skip, block in zip(reversed(skips), reversed(self.decoder), strict=True):
            raised = functional.interpolate(deep, size=skip.shape[-2:], mode="nearest")
            deep = block(torch.cat([skip, raised], dim=1))
        return functional.pixel_shuffle(self.head(deep), self.encoder.stride)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Give the encoder the weights of the same timm network, whatever else that one has."""
        assert isinstance(self.encoder, TimmEncoder)
        body = self.encoder.body
        body.load_state_dict({name: weights[name] for name in body.state_dict()})


class Committee(nn.Module):
    """U-Nets that differ in their seeds alone, and are asked together.

    Output (members, n, k + 1 + h, y, x): what each says of images (n, 3, y, x).
    """

    def __init__(self, members: Sequence[UNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.architecture = {**members[0].architecture, "members": len(members)}

    @classmethod
    def of(cls, backbone: str, *, classes: int, members: int, head: str = "distance") -> Committee:
        """A committee of networks with random weights."""
        return cls([UNet(backbone, classes=classes, head=head) for _ in range(members)])

    def forward(self, images: Tensor) -> Tensor:
        """Scores and maps, (members, n, k + 1 + h, y, x)."""
        return torch.stack([member(images) for member in self.members])


Statistics = dict[str, NDArray[np.float32]]
"""What the batch norms of a network know of a specimen: means and variances by buffer name."""


def statistics_of(network: nn.Module, inputs: Tensor) -> Statistics:
    """Mean and variance of every batch norm over images of one specimen, (n, 3, y, x).

    Networks learn from batches whose parts come from one slide each, so that they see each slide
    on its own scale; with the statistics of another, its stain would look foreign (adaptive batch
    normalisation: Li et al. 2016, arXiv 1603.04779).
    """
    looking = _same_weights(network)
    for module in looking.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.train()
    with torch.inference_mode():
        looking(inputs)
    known = {name: value for name, value in looking.named_buffers() if value.ndim}
    return {name: value.float().cpu().numpy() for name, value in known.items()}


def with_statistics(network: N, statistics: Statistics) -> N:
    """A network of the same weights that sees the specimen whose statistics these are."""
    own = _same_weights(network)
    own.load_state_dict({k: torch.from_numpy(v) for k, v in statistics.items()}, strict=False)
    return own


def _same_weights(network: N) -> N:
    """A copy of a network that shares its parameters, and has buffers of its own."""
    return copy.deepcopy(network, {id(weight): weight for weight in network.parameters()})


class Block(nn.Sequential):
    """Two 3 x 3 convolutions with batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [
                nn.Conv2d(width, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class SmallEncoder(nn.Module):
    """Four stages on the image folded 2 x 2 into channels: 0.9 million parameters in the U-Net."""

    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.widths = list(SMALL_WIDTHS)
        inputs = (3 * self.stride**2, *SMALL_WIDTHS)
        self.stages = nn.ModuleList(
            Block(i, o) for i, o in zip(inputs[:-1], SMALL_WIDTHS, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of every stage, from fine to coarse."""
        features = functional.pixel_unshuffle(images, self.stride)
        found = []
        for number, stage in enumerate(self.stages):
            features = stage(functional.max_pool2d(features, 2) if number else features)
            found.append(features)
        return found


class TimmEncoder(nn.Module):
    """The stages of a timm network from random weights."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        import timm  # takes seconds, and the small network does not need it

        try:
            body: Any = timm.create_model(backbone, pretrained=False, features_only=True)
        except RuntimeError:
            raise SettingsError(
                f"training.backbone: timm has no network {backbone!r} that offers its stages;"
                " use small, resnet18 or resnet34"
            ) from None
        self.body = body
        self.widths: list[int] = body.feature_info.channels()
        self.stride: int = body.feature_info.reduction()[0]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of every stage, from fine to coarse."""
        found: list[Tensor] = self.body(images)
        return found
