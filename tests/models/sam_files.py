"""Small Segment Anything models, and their weights under the published names."""

import functools
import re

import torch
from segment_anything import modeling
from torch import Tensor, nn

from wsipsm.models.sam import HEADS
from wsipsm.models.sam_tiny import TinyEncoder

SAM = {"input_px": 128, "width": 32, "mlp": 64}


def vit_sam(*, dim: int = 32, depth: int = 3, window: int = 3, image_px: int = 128) -> nn.Module:
    """Segment-anything's own model at toy width: the second block attends to the whole image."""
    encoder = modeling.ImageEncoderViT(
        img_size=image_px,
        embed_dim=dim,
        depth=depth,
        num_heads=4,
        out_chans=SAM["width"],
        norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1,),
    )
    return _sam(encoder, image_px, width=SAM["width"], mlp=SAM["mlp"])


def tiny_sam(
    dims: tuple[int, ...] = (16, 32, 32, 64), *, depths: tuple[int, ...] = (1, 1, 2, 1),
    heads: tuple[int, ...] = (2, 2, 4), width: int = 32, mlp: int = 64, image_px: int = 128,
) -> nn.Module:  # fmt: skip
    """MobileSAM's model: the published sizes are those of `MOBILE`."""
    windows = (7, 14, 7)[: len(heads)]
    shapes: dict[str, Tensor] = {
        "neck.0.weight": torch.empty(width, dims[-1], 1, 1),
        "layers.0.blocks.0.conv1.c.weight": torch.empty(4 * dims[0], dims[0], 1, 1),
    }
    for number, (dim, head, window) in enumerate(zip(dims[1:], heads, windows, strict=True), 1):
        place = f"layers.{number}.blocks.0"
        shapes[f"{place}.attn.attention_biases"] = torch.empty(head, window**2)
        shapes[f"{place}.mlp.fc1.weight"] = torch.empty(4 * dim, dim)
    for stage, depth in enumerate(depths):
        shapes |= {f"layers.{stage}.blocks.{i}.any": torch.empty(0) for i in range(depth)}
    encoder = TinyEncoder(shapes)
    encoder.img_size = image_px  # which segment-anything's own `forward` asks for
    return _sam(encoder, image_px, width=width, mlp=mlp)


MOBILE = {
    "dims": (64, 128, 160, 320),
    "depths": (2, 2, 6, 2),
    "heads": (4, 5, 10),
    "width": 256,
    "mlp": 2048,
    "image_px": 1024,
}
"""Sizes of MobileSAM as published."""


SMALL = {
    "dims": (32, 64, 96, 128),
    "depths": (1, 1, 2, 1),
    "heads": (2, 3, 4),
    "width": 64,
    "mlp": 512,
    "image_px": 128,
}
"""Sizes of a model that a CPU trains from scratch in minutes: 0.85 million parameters."""


def shake(sam: nn.Module, *, seed: int = 0) -> nn.Module:
    """Give a model random weights everywhere, also where it starts with zeros."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sam.state_dict().items():
        if value.is_floating_point() and "running_var" not in name:
            value += torch.randn(value.shape, generator=generator) * 0.05
    return sam.eval()


def published(sam: nn.Module) -> dict[str, Tensor]:
    """Weights of a model under the names that its authors publish."""
    tiny = isinstance(sam.image_encoder, TinyEncoder)
    return {_published(key) if tiny else key: value for key, value in sam.state_dict().items()}


def _published(key: str) -> str:
    """The inverse of the renaming that loading does."""
    key = key.replace("image_encoder.body.", "image_encoder.")
    for name, number in (("conv1", 0), ("conv2", 2)):
        key = key.replace(f"patch_embed.{name}.", f"patch_embed.seq.{number}.")
    key = key.replace(".conv.weight", ".c.weight")
    key = re.sub(
        r"stages\.(\d+)\.downsample", lambda at: f"layers.{int(at[1]) - 1}.downsample", key
    )
    return key.replace("stages.", "layers.")


def _sam(encoder: nn.Module, image_px: int, *, width: int, mlp: int) -> nn.Module:
    side = image_px // 16
    return modeling.Sam(
        encoder,
        modeling.PromptEncoder(width, (side, side), (image_px, image_px), 16),
        modeling.MaskDecoder(
            transformer_dim=width,
            transformer=modeling.TwoWayTransformer(2, width, HEADS, mlp),
            iou_head_hidden_dim=width,
        ),
    ).eval()
