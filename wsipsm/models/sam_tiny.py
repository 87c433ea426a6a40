"""MobileSAM's encoder: timm's TinyViT in Segment Anything's frame, at stride 16."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor, nn

NECK_KERNEL = 3

_RENAMED = (
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"\.c\.weight$", ".conv.weight"),
)


class TinyEncoder(nn.Module):
    """TinyViT (Wu et al. 2022) whose last stage keeps the stride, and a neck as SAM's.

    Parameters
    ----------
    state
        Weights of a MobileSAM encoder under their published names; they give every size.

    Notes
    -----
    It has no table of positions: images of any size that is a multiple of 16 will do.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        from segment_anything.modeling.common import LayerNorm2d
        from timm.models.tiny_vit import TinyVit

        body: Any = TinyVit(num_classes=0, global_pool="", drop_path_rate=0, **_sizes(state))
        body.head = nn.Identity()
        body.stages[-1].downsample.conv2.conv.stride = (1, 1)
        self.body = body
        width, inputs = state["neck.0.weight"].shape[:2]
        self.neck = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            LayerNorm2d(width),
            nn.Conv2d(width, width, NECK_KERNEL, padding=1, bias=False),
            LayerNorm2d(width),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, c, y / 16, x / 16) of normalised images (n, 3, y, x)."""
        found: Tensor = self.neck(self.body.forward_features(images))
        return found


def is_tiny(state: dict[str, Tensor]) -> bool:
    """Whether the weights of an encoder are those of a TinyViT."""
    return "patch_embed.seq.0.c.weight" in state


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a MobileSAM encoder under the names that `TinyEncoder` gives them."""
    dropped = ("norm_head.", "head.")
    return {
        _name(key): value
        for key, value in state.items()
        if not key.startswith(dropped) and not key.endswith("attention_bias_idxs")
    }


def _name(key: str) -> str:
    if key.startswith("neck."):
        return key
    for pattern, name in _RENAMED:
        key = re.sub(pattern, name, key)
    # a stage ends with its downsampling there, and begins with it here
    moved = re.sub(
        r"^layers\.(\d+)\.downsample", lambda at: f"stages.{int(at[1]) + 1}.downsample", key
    )
    return "body." + re.sub(r"^layers\.", "stages.", moved)


def _sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    """Sizes of the stages, read from the shapes of their weights."""
    stages = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("layers."))
    depths = [
        len({key.split(".")[3] for key in state if key.startswith(f"layers.{i}.blocks.")})
        for i in range(stages)
    ]
    biases = [state[f"layers.{i}.blocks.0.attn.attention_biases"] for i in range(1, stages)]
    mixers = [state[f"layers.{i}.blocks.0.mlp.fc1.weight"] for i in range(1, stages)]
    first = state["layers.0.blocks.0.conv1.c.weight"]
    return {
        "embed_dims": (first.shape[1], *(mixer.shape[1] for mixer in mixers)),
        "depths": tuple(depths),
        # the first stage has convolutions only
        "num_heads": (1, *(bias.shape[0] for bias in biases)),
        "window_sizes": (7, *(math.isqrt(bias.shape[1]) for bias in biases)),
        "mlp_ratio": mixers[0].shape[0] / mixers[0].shape[1],
        "mbconv_expand_ratio": first.shape[0] / first.shape[1],
    }
