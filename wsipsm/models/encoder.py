"""The activation network and its prior self-activation maps (Chen et al., MICCAI 2023)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional

from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint

STAGES = ("layer1", "layer2", "layer3", "layer4")
SHALLOW = ("layer1",)
"""What the paper taps."""


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

    def tapped(self, images: Tensor, layers: Sequence[str] = SHALLOW) -> list[Tensor]:
        """Activations (n, c, y, x) of every block of some stages; nothing above is computed.

        Where gradients are enabled, the graph begins at the first tapped block's output.
        """
        net, taps = self.backbone, _positions(layers)
        with torch.no_grad():
            features = net.maxpool(net.act1(net.bn1(net.conv1(images))))
            for stage in STAGES[: taps[0]]:
                features = getattr(net, stage)(features)
            features = getattr(net, STAGES[taps[0]])[0](features)
        features.requires_grad_(torch.is_grad_enabled())
        taken = [features]
        for position in range(taps[0], taps[-1] + 1):
            for block in getattr(net, STAGES[position])[int(position == taps[0]) :]:
                features = block(features)
                if position in taps:
                    taken.append(features)
        return taken

    def score_from(self, features: Tensor, layers: Sequence[str] = SHALLOW) -> Tensor:
        """The number s, (n,), from the output of the deepest of some stages."""
        for stage in STAGES[_positions(layers)[-1] + 1 :]:
            features = getattr(self.backbone, stage)(features)
        outputs: Tensor = self.backbone.forward_head(features)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs.square().sum(1) / 2


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


def _positions(layers: Sequence[str]) -> list[int]:
    unknown = [layer for layer in layers if layer not in STAGES]
    if unknown or not layers:
        named = repr(unknown[0]) if unknown else "''"
        raise SettingsError(f"activation.layers: no stage {named}; use {', '.join(STAGES)}")
    return sorted({STAGES.index(layer) for layer in layers})


def map_stride(layers: Sequence[str] = SHALLOW) -> int:
    """Pixels of a tile in one pixel of a map, that of the finest stage: 4 for layer1."""
    return 4 << _positions(layers)[0]


def reach_px(encoder: Encoder, layers: Sequence[str] = SHALLOW) -> int:
    """How far from a pixel of the map, in pixels of a tile, the image can change it.

    Half the receptive field of the deepest stage: in a copy of the network with even weights,
    and means in place of maxima, nothing is cut off or cancelled, so that the gradient of the
    middle of a strip (one pixel high) tells which pixels reach it.
    """
    net = copy.deepcopy(encoder.backbone).double()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, module.kernel_size[1] / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    last = _positions(layers)[-1]
    stages = [getattr(net, stage) for stage in STAGES[: last + 1]]
    body = nn.Sequential(net.conv1, net.bn1, net.act1, nn.AvgPool2d(3, 2, padding=1), *stages)
    with torch.enable_grad():
        strip = torch.ones(1, 3, 1, 512 << 2 * last, dtype=torch.float64, requires_grad=True)
        features = body.eval()(strip)
        middle = features.shape[-1] // 2
        (gradient,) = torch.autograd.grad(features[0, :, 0, middle].sum(), strip)
    reached = gradient[0].abs().sum((0, 1)).nonzero()
    return int((reached - middle * map_stride(STAGES[last : last + 1])).abs().max())


def channel_weights(
    encoder: Encoder, images: Tensor, *, layers: Sequence[str] = SHALLOW
) -> list[Tensor]:
    """Weight of every channel of every block of some stages: the spatial mean of ds/dA.

    Returns a tensor float32 (n, c) for each block (Chen et al. 2023, section 2.1). Only
    gradients with respect to activations are computed; the parameters are to be frozen.
    """
    with torch.enable_grad():
        taken = encoder.tapped(images, layers)
        score = encoder.score_from(taken[-1], layers).sum()
        gradients = torch.autograd.grad(score, taken)
    return [gradient.float().mean((2, 3)) for gradient in gradients]


def activation_maps(
    encoder: Encoder,
    images: Tensor,
    *,
    layers: Sequence[str] = SHALLOW,
    weights: list[Tensor] | None = None,
) -> Tensor:
    """Raw prior self-activation maps, one for each block of some stages.

    The map of block b is the sum over channels of weight x activation, without ReLU. Signs
    and ranges are as they come. Maps of deeper stages are enlarged to the grid of the finest.

    Parameters
    ----------
    encoder
        Frozen, in evaluation mode.
    images
        Input (n, 3, y, x) as `to_input` makes it.
    layers
        The tapped stages, of "layer1" to "layer4".
    weights
        A tensor (1, c) for each block, one for all images: then nothing above the stages is
        computed, and maps of neighbouring tiles have no seam. Left out: each image's own
        weights, as in the paper.

    Returns
    -------
    Tensor
        float32 (n, blocks, y / 4, x / 4) if `layers` holds layer1.
    """
    if weights is None:
        weights = channel_weights(encoder, images, layers=layers)
    with torch.no_grad():
        taken = encoder.tapped(images, layers)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        finest = taken[0].shape[-1]
        maps = [
            _enlarge(_weighted(block.float(), own), finest)
            for block, own in zip(taken, weights, strict=True)
        ]
        return torch.stack(maps, dim=1)


def _weighted(block: Tensor, weights: Tensor) -> Tensor:
    """Sum over channels of weight x activation, the same whatever the batch: (n, y, x)."""
    kernels = weights[:, None, :, None, None]
    if len(kernels) == 1:
        return functional.conv2d(block, kernels[0])[:, 0]
    pairs = zip(torch.split(block, 1), kernels, strict=True)
    return torch.cat([functional.conv2d(one, kernel)[:, 0] for one, kernel in pairs])


def _enlarge(maps: Tensor, width: int) -> Tensor:
    """Linear interpolation of maps (n, y, x) whose pixel j is centred on fine pixel factor * j."""
    factor = width // maps.shape[-1]
    if factor == 1:
        return maps
    height = maps.shape[-2] * factor
    padded = functional.pad(maps[:, None], (0, 1, 0, 1), mode="replicate")
    fine = functional.interpolate(
        padded, size=(height + 1, width + 1), mode="bilinear", align_corners=True
    )
    return fine[:, 0, :height, :width]


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
