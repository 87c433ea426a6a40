"""Segment Anything (Kirillov et al. 2023): built to the measure of its weights, asked by points."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsipsm.checks import WHERE
from wsipsm.errors import SettingsError
from wsipsm.models.sam_file import read_state
from wsipsm.models.sam_tiny import TinyEncoder, is_tiny, renamed

HEADS = 8
"""Heads of the decoder's attention in every published size; no shape of a weight tells it."""

STRIDE = 16
MASK_STRIDE = 4
"""Input pixels along the side of one place of the embedding, and of one pixel of a mask."""

PASSIVE, CELL = 0, 1
"""Labels of a point: beside the object that is asked for, and on it."""

_PREFIX = "image_encoder."


def load_sam(path: Path, *, input_px: int) -> nn.Module:
    """The model of a file of published weights, for square inputs of `input_px`, in eval mode.

    Raises
    ------
    SettingsError
        The file is damaged or of another kind, or the extra `sam` is not installed.
    """
    state = read_state(path)
    try:
        return build_sam(state, input_px=input_px)
    except (KeyError, ValueError, RuntimeError):
        raise SettingsError(
            f"sam.base: {path}: not the weights of a Segment Anything or MobileSAM model; {WHERE},"
            " and name it there"
        ) from None


def build_sam(state: dict[str, Tensor], *, input_px: int) -> nn.Module:
    """A `segment_anything.modeling.Sam` with the weights of `state`, by their published names.

    Every size is read from the shapes. Tables of positions are resized to `input_px`, a
    multiple of 16.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        Weights are missing, left over or of another shape.
    SettingsError
        The extra `sam` is not installed.
    """
    modeling = _modeling()
    encoder_state = {
        key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)
    }
    encoder: nn.Module
    if is_tiny(encoder_state):
        encoder, encoder_state = TinyEncoder(encoder_state), renamed(encoder_state)
    else:
        encoder = _vit(modeling, encoder_state, input_px)
        encoder_state = _resized(encoder_state, input_px // STRIDE)
    sam: nn.Module = modeling.Sam(encoder, _prompts(modeling, state, input_px), _masks(state))
    others = {key: value for key, value in state.items() if not key.startswith(_PREFIX)}
    weights = others | {_PREFIX + key: value for key, value in encoder_state.items()}
    sam.load_state_dict(weights, assign=True)
    return sam.requires_grad_(False).eval()


def embed(sam: nn.Module, images: Tensor) -> Tensor:
    """Embeddings (n, c, y / 16, x / 16) of RGB images (n, 3, y, x), 0 to 255."""
    mean, std = sam.get_buffer("pixel_mean"), sam.get_buffer("pixel_std")
    found: Tensor = sam.get_submodule("image_encoder")((images - mean) / std)
    return found


def decode(
    sam: nn.Module, embedding: Tensor, points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """One mask and one score for each point.

    Parameters
    ----------
    embedding
        Of one image, (c, y, x).
    points
        (n, 2): x and y in pixels of the input, from 0; pixel 0 covers 0 to 1.
    labels
        (n,): `CELL` or `PASSIVE`.

    Returns
    -------
    tuple
        Logits (n, y, x) at a quarter of the input's side, and scores (n,).
    """
    prompts: Any = sam.get_submodule("prompt_encoder")
    # segment-anything counts points from the centre of a pixel
    asked = (points - 0.5)[:, None], labels[:, None]
    with torch.autocast(points.device.type, enabled=False):  # eight bits do not tell places
        sparse, dense = prompts(points=asked, boxes=None, masks=None)
        places = prompts.get_dense_pe()
    masks, scores = sam.get_submodule("mask_decoder")(
        image_embeddings=embedding[None],
        image_pe=places,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return masks[:, 0], scores[:, 0]


def _modeling() -> Any:
    try:
        from segment_anything import modeling
    except ModuleNotFoundError:
        raise SettingsError(
            "models: sam_lora needs the extra `sam`; install it with pip install 'wsipsm[sam]'"
        ) from None
    return modeling


def _vit(modeling: Any, state: dict[str, Tensor], input_px: int) -> nn.Module:
    """A plain ViT encoder; the blocks whose table is as long as the image attend to all of it."""
    dim, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    reach = [len(state[f"blocks.{i}.attn.rel_pos_h"]) for i in range(depth)]
    whole = 2 * state["pos_embed"].shape[1] - 1
    sides = {(length + 1) // 2 for length in reach if length != whole}
    made: nn.Module = modeling.ImageEncoderViT(
        img_size=input_px,
        patch_size=patch,
        embed_dim=dim,
        depth=depth,
        num_heads=dim // state["blocks.0.attn.rel_pos_h"].shape[1],
        mlp_ratio=state["blocks.0.mlp.lin1.weight"].shape[0] / dim,
        out_chans=state["neck.0.weight"].shape[0],
        norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sides.pop() if sides else 0,
        global_attn_indexes=tuple(i for i, length in enumerate(reach) if length == whole),
    )
    return made


def _resized(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Weights of a ViT with its tables of positions for an embedding of `side` places."""
    table = state["pos_embed"].movedim(-1, 1)
    whole = 2 * table.shape[-1] - 1
    if table.shape[-1] == side:
        return state
    resized = functional.interpolate(table, (side, side), mode="bilinear")
    out = state | {"pos_embed": resized.movedim(1, -1)}
    for key, value in state.items():
        if key.endswith(("rel_pos_h", "rel_pos_w")) and len(value) == whole:
            longer = functional.interpolate(value.T[None], 2 * side - 1, mode="linear")
            out[key] = longer[0].T
    return out


def _prompts(modeling: Any, state: dict[str, Tensor], input_px: int) -> nn.Module:
    made: nn.Module = modeling.PromptEncoder(
        embed_dim=state["prompt_encoder.no_mask_embed.weight"].shape[1],
        image_embedding_size=(input_px // STRIDE, input_px // STRIDE),
        input_image_size=(input_px, input_px),
        mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    )
    return made


def _masks(state: dict[str, Tensor]) -> nn.Module:
    modeling = _modeling()
    part = "mask_decoder."
    tokens, dim = state[part + "mask_tokens.weight"].shape
    layers = {key.split(".")[3] for key in state if key.startswith(part + "transformer.layers.")}
    head = [key for key in state if key.startswith(part + "iou_prediction_head.")]
    made: nn.Module = modeling.MaskDecoder(
        transformer_dim=dim,
        transformer=modeling.TwoWayTransformer(
            depth=len(layers),
            embedding_dim=dim,
            num_heads=HEADS,
            mlp_dim=state[part + "transformer.layers.0.mlp.lin1.weight"].shape[0],
        ),
        num_multimask_outputs=tokens - 1,
        iou_head_depth=len(head) // 2,
        iou_head_hidden_dim=state[part + "iou_prediction_head.layers.0.weight"].shape[0],
    )
    return made
