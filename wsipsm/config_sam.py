"""Every setting of the model sam_lora, defined once: to train it, and to ask it for cells."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsipsm.sections import Section

SamPart = Literal["encoder", "decoder"]
Prompt = Literal["pseudomasks", "unet", "grid"]


class Sam(Section):
    """Stage 5, model sam_lora: Segment Anything with adapters."""

    base: str = Field(
        "vit_b",
        min_length=1,
        description="weights of Segment Anything: a path or an address; or vit_b, vit_l, vit_h,"
        " vit_t (MobileSAM), which are fetched once",
    )
    sha256: str = Field(
        "",
        pattern="^([0-9a-fA-F]{64})?$",
        description="SHA-256 of that file; empty: that which its authors publish, or any",
    )
    input_px: int = Field(
        512, ge=64, le=2048, multiple_of=16, description="side of the model's input"
    )
    view_um: float = Field(
        128, gt=0, description="side of what the model sees at once, microns; the paper: 64"
    )
    rank: int = Field(4, ge=1, le=256, description="rank of the adapters")
    alpha: int = Field(4, ge=1, description="scale of the adapters: alpha / rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the adapters")
    parts: tuple[SamPart, ...] = Field(
        ("encoder", "decoder"),
        min_length=1,
        description="what is adapted; decoder alone keeps the embeddings of views, and is quick",
    )
    fields: int = Field(
        8,
        ge=0,
        description="annotated fields, or else tiles, to learn from: the best of all; 0: all; the"
        " paper: 1",
    )
    cells: int = Field(30, ge=1, description="most cells of a view that are asked for in a step")
    background: float = Field(
        0.5, ge=0, description="points on background for each cell that is asked for"
    )
    background_label: Literal["cell", "background"] = Field(
        "cell",
        description="a point on background is asked for as if it were a cell (the paper), or with"
        " Segment Anything's label of background",
    )
    dice: float = Field(0, ge=0, description="weight of the Dice loss beside cross entropy")
    steps: int = Field(600, ge=1, description="training steps")
    batch: int = Field(32, ge=1, description="views in a step")
    chunk: int = Field(4, ge=1, description="views at once; gradients of the others are added")
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate of AdamW")
    warm_up: float = Field(0.3, gt=0, lt=1, description="share of the steps in which it rises")


class Prompting(Section):
    """Stage 6, model sam_lora: where to ask for cells, and which to keep."""

    points: Prompt = Field(
        "pseudomasks",
        description="pseudomasks, unet: one point for each nucleus that they know; grid: the paper",
    )
    grid: int = Field(32, ge=1, description="points along the side of the grid")
    batch: int = Field(64, ge=1, description="points at once")
    min_score: float = Field(0.5, ge=0, le=1, description="least score of a cell; the paper: 0.8")
    min_stability: float = Field(
        0.6, ge=0, le=1, description="least share of a mask that stays as its threshold moves"
    )
    max_overlap: float = Field(
        0.05,
        ge=0,
        le=1,
        description="largest overlap (IoU) of two cells; of more, the better stays",
    )
