"""Low-rank adapters (Hu et al. 2022) on a Segment Anything model: the only weights that learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wsipsm.errors import SettingsError

Part = Literal["encoder", "decoder"]

_PLACES: dict[Part, str] = {
    "encoder": r"image_encoder\..*\.qkv\.(q_proj|v_proj)",
    "decoder": r"mask_decoder\..*\.(q_proj|v_proj)",
}


class SplitQkv(nn.Module):
    """A fused linear layer of queries, keys and values as three, with the same output.

    Parameters
    ----------
    fused
        Rows are all queries, all keys, all values; or, with `heads`, so within each head.
    """

    def __init__(self, fused: nn.Linear, *, heads: int | None) -> None:
        super().__init__()
        self.heads = heads
        rows = torch.arange(fused.out_features).view(heads or 1, 3, -1)
        for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
            own = rows[:, index].flatten()
            part = nn.Linear(fused.in_features, len(own), device=fused.weight.device)
            part.weight = nn.Parameter(fused.weight.detach()[own], requires_grad=False)
            part.bias = nn.Parameter(fused.bias.detach()[own], requires_grad=False)
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """What the fused layer gives."""
        parts = [part(x).unflatten(-1, (self.heads or 1, -1)) for part in self.children()]
        return torch.cat(parts, dim=-1).flatten(-2)


class Dropout(nn.Module):
    """Dropout that chance drawn elsewhere decides: `seed` first, then each call draws on."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of the values, and scale up the others."""
        if not self.training or not self.share:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.share
        return x * kept / (1 - self.share)


class AdaptedSam(nn.Module):
    """A model whose adapters learn while all else, batch norm too, stays as it is."""

    def __init__(self, sam: nn.Module) -> None:
        super().__init__()
        self.sam = sam

    def train(self, mode: bool = True) -> AdaptedSam:
        """Train the adapters: only their dropout knows the difference."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.training = mode
        return self

    def seed(self, value: int) -> None:
        """Let the dropout of all adapters follow from a number."""
        device = self.sam.get_buffer("pixel_mean").device
        generator = torch.Generator(device).manual_seed(value)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator


def adapt(
    sam: nn.Module, *, rank: int, alpha: int, dropout: float, parts: Sequence[Part]
) -> AdaptedSam:
    """Put adapters on the queries and values of a model, in place; at first they change nothing.

    Parameters
    ----------
    rank, alpha
        An adapter adds alpha / rank times B A to a weight; A is drawn by torch's chance, B is 0.
    parts
        Where: all blocks of the encoder, all attention of the decoder, or both.

    Raises
    ------
    SettingsError
        The extra `sam` is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise SettingsError(
            "models: sam_lora needs the extra `sam`; install it with pip install 'wsipsm[sam]'"
        ) from None
    if "encoder" in parts:
        split_qkv(sam.get_submodule("image_encoder"))
    places = "|".join(_PLACES[part] for part in sorted(parts))
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, target_modules=places, bias="none"), sam
    )
    for layer in _layers(sam).values():
        layer.lora_dropout["default"] = Dropout(dropout)
    return AdaptedSam(sam)


def split_qkv(encoder: nn.Module) -> None:
    """Split each fused layer of queries, keys and values of an encoder, in place."""
    for name, module in list(encoder.named_modules()):
        fused = getattr(module, "qkv", None)
        if isinstance(fused, nn.Linear):
            # timm's TinyViT keeps the rows of a head together, and segment-anything does not
            heads = module.num_heads if hasattr(module, "attention_biases") else None
            encoder.set_submodule(f"{name}.qkv", SplitQkv(fused, heads=heads))


def adapter_state(sam: nn.Module) -> dict[str, Tensor]:
    """The weights of the adapters, by name, and no others."""
    return {name: value for name, value in sam.state_dict().items() if ".lora_" in name}


def load_adapter(sam: nn.Module, state: dict[str, Tensor]) -> None:
    """Put the weights of `adapter_state` into a model that was adapted alike.

    Raises
    ------
    ValueError
        The weights are of other adapters, or of another base.
    """
    own = adapter_state(sam)
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in state.items()}:
        raise ValueError("the adapter does not fit")
    sam.load_state_dict(state, strict=False)


def merge(sam: nn.Module) -> nn.Module:
    """Add the adapters to the weights that they are for, in place, and take them away."""
    for name, layer in _layers(sam).items():
        layer.merge()
        sam.set_submodule(name, layer.get_base_layer())
    return sam.requires_grad_(False).eval()


def _layers(sam: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in sam.named_modules() if isinstance(module, LoraLayer)}
