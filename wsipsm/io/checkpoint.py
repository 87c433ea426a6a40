"""Checkpoints of models: weights and a record, loaded without executing code."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from wsipsm.errors import SettingsError


def save_checkpoint(path: Path, state: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
    """Write weights (moved to the CPU) and a record of plain values; the same bytes each time."""
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    save({"record": json.dumps(record, sort_keys=True), "state": weights}, path)


def save(content: dict[str, Any], path: Path) -> None:
    """Write what `torch.save` makes through Python, which tells of a full disk as an OSError."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and record of a checkpoint of ours.

    Raises
    ------
    SettingsError
        The file is absent, damaged, or not one of ours.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: no such weights; run the stage that trains them")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        state, record = content["state"], json.loads(content["record"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError):
        raise SettingsError(
            f"{path}: not a checkpoint of wsipsm, or damaged; train again"
        ) from None
    return state, record
