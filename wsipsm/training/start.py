"""Where the weights of a U-Net begin: by choice, its encoder at those of the activation network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wsipsm.config import Training
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Start:
    """Weights of a timm network by name, and the identity of the product that they come from."""

    weights: dict[str, Tensor]
    id: str


def read_start(encoder: Path | None, settings: Training) -> Start | None:
    """The weights of stage 2, or None where `training.init` does not ask for them.

    Raises
    ------
    SettingsError
        They are not there, or of another network.
    """
    if settings.init != "encoder":
        return None
    if encoder is None:
        raise SettingsError("train: --init encoder needs the product of stage 2; give --encoder")
    state, record = load_checkpoint(encoder)
    backbone = record["architecture"]["backbone"]
    if backbone != settings.backbone:
        raise SettingsError(
            f"training.init: {encoder} is {backbone}, and training.backbone is"
            f" {settings.backbone}; give both the same, or start at random"
        )
    weights = {name.removeprefix("backbone."): value for name, value in state.items()}
    return Start(weights, record["provenance"]["id"])
