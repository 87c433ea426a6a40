"""Networks that were trained apart, asked together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from wsipsm.io.checkpoint import load_checkpoint, save_checkpoint
from wsipsm.io.product import Provenance, identity, making


def join(models: Sequence[Path], target: Path, *, workers: int = 1) -> None:  # noqa: ARG001
    """Make a committee of checkpoints of `unet` that differ in their seeds alone.

    Threshold and size of cells are the means of theirs.
    """
    inputs = {str(number): identity(model) for number, model in enumerate(models)}
    provenance = Provenance("join", {}, inputs)
    with making(target, provenance) as partial:
        state: dict[str, torch.Tensor] = {}
        records = []
        for number, model in enumerate(models):
            weights, record = load_checkpoint(model)
            records.append(record)
            state |= {
                name.replace("members.0.", f"members.{number}."): value
                for name, value in weights.items()
            }
        means = {
            name: sum(record[name] for record in records) / len(records)
            for name in ("foreground", "median_area_um2")
        }
        architecture = {**records[0]["architecture"], "members": len(models)}
        made = {"provenance": provenance.as_dict(), "architecture": architecture, **means}
        save_checkpoint(partial.path, state, {**records[0], **made})
