"""The activation network and its prior self-activation maps (Chen et al., MICCAI 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint

STAGES = ("layer1", "layer2", "layer3", "layer4")


class Encoder(nn.Module):
    """A timm network from random weights with `outputs` numbers as its output.

    Parameters
    ----------
    backbone
        Name of a timm network of the ResNet family, such as resnet18 or the paper's
        res2net101_26w_4s.
    outputs
        1: the output is the score s of the paper. More: s is half the squared norm.
    """

    def __init__(self, backbone: str, *, outputs: int = 1) -> None:
        super().__init__()
        self.architecture = {"backbone": backbone, "outputs": outputs}
        self.backbone: Any = _create(backbone, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (n, outputs) of images (n, 3, y, x)."""
        output: Tensor = self.backbone(images)
        return output

    def tapped(self, images: Tensor, layer: str) -> list[Tensor]:
        """Activations (n, c, y, x) of every block of a stage; nothing above it is computed.

        Where gradients are enabled, the graph begins at the first block's output.
        """
        net = self.backbone
        with torch.no_grad():
            features = net.maxpool(net.act1(net.bn1(net.conv1(images))))
            for stage in STAGES[: self._position(layer)]:
                features = getattr(net, stage)(features)
            first, *others = getattr(net, layer)
            features = first(features)
        taken = [features.requires_grad_(torch.is_grad_enabled())]
        for block in others:
            taken.append(block(taken[-1]))
        return taken

    def score_from(self, features: Tensor, layer: str) -> Tensor:
        """The number s, (n,), from the output of a stage."""
        for stage in STAGES[self._position(layer) + 1 :]:
            features = getattr(self.backbone, stage)(features)
        return _score(self.backbone.forward_head(features))

    def _position(self, layer: str) -> int:
        if layer not in STAGES:
            raise SettingsError(f"activation.layer: no stage {layer!r}; use {', '.join(STAGES)}")
        return STAGES.index(layer)


def _create(backbone: str, outputs: int) -> nn.Module:
    try:
        network = timm.create_model(backbone, pretrained=False, num_classes=outputs)
    except RuntimeError:
        network = None
    if not isinstance(network, ResNet):
        raise SettingsError(
            f"pretraining.backbone: {backbone!r} is no network of timm's ResNet family;"
            " use resnet18, resnet50 or res2net101_26w_4s"
        )
    return network


def map_stride(layer: str) -> int:
    """Pixels of a tile in one pixel of the activation map of a stage: 4 for layer1."""
    return int(4 * 2 ** STAGES.index(layer))


def _score(outputs: Tensor) -> Tensor:
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs.square().sum(1) / 2


def channel_weights(encoder: Encoder, images: Tensor, *, layer: str) -> list[Tensor]:
    """Weight of every channel of every block of a stage: the spatial mean of ds/dA.

    Returns a tensor (n, c) for each block (Chen et al. 2023, section 2.1). Only gradients with
    respect to activations are computed; the parameters are to be frozen.
    """
    with torch.enable_grad():
        taken = encoder.tapped(images, layer)
        score = encoder.score_from(taken[-1], layer).sum()
        gradients = torch.autograd.grad(score, taken)
    return [gradient.mean((2, 3)) for gradient in gradients]


def activation_maps(
    encoder: Encoder, images: Tensor, *, layer: str = "layer1", weights: list[Tensor] | None = None
) -> Tensor:
    """Raw prior self-activation maps, one for each block of a stage.

    The map of block b is the sum over channels of weight x activation, without ReLU. Signs
    and ranges are as they come.

    Parameters
    ----------
    encoder
        Frozen, in evaluation mode.
    images
        Input (n, 3, y, x) as `to_input` makes it.
    weights
        A tensor (1, c) for each block, one for all images: then nothing above the stage is
        computed, and maps of neighbouring tiles have no seam. Left out: each image's own
        weights, as in the paper.

    Returns
    -------
    Tensor
        float32 (n, blocks, y / 4, x / 4) for `layer1`.
    """
    if weights is None:
        weights = channel_weights(encoder, images, layer=layer)
    with torch.no_grad():
        taken = encoder.tapped(images, layer)
        maps = [
            torch.einsum("ncyx,nc->nyx", activation, weight.expand(len(images), -1))
            for activation, weight in zip(taken, weights, strict=True)
        ]
        return torch.stack(maps, dim=1).float()


def load_encoder(path: Path) -> tuple[Encoder, dict[str, Any]]:
    """The trained activation network, frozen in evaluation mode, and its record."""
    state, record = load_checkpoint(path)
    encoder = Encoder(**record["architecture"])
    encoder.load_state_dict(state)
    return frozen(encoder), record


def untrained_like(record: dict[str, Any], *, seed: int) -> Encoder:
    """A network of the same architecture with random weights: the control of the method."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return frozen(Encoder(**record["architecture"]))


def frozen(encoder: Encoder) -> Encoder:
    """Evaluation mode, no gradient of any parameter, channels last."""
    encoder.eval().requires_grad_(False)
    return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
