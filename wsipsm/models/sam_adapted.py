"""A base of Segment Anything with one of its adapters, as a checkpoint of ours names them."""

from __future__ import annotations

import functools
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsipsm.config_sam import Sam, SamPart
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.models.adapters import AdaptedSam, adapt, load_adapter, merge
from wsipsm.models.sam import load_sam
from wsipsm.models.sam_file import find_base

_LOADING = threading.Lock()


@dataclass(frozen=True)
class SamFacts:
    """What an adapter is for: its base, the model's input, and where its weights belong."""

    base: str
    sha256: str
    input_px: int
    view_um: float
    rank: int
    alpha: int
    parts: tuple[SamPart, ...]

    @classmethod
    def of(cls, settings: Sam, *, sha256: str) -> SamFacts:
        """Facts of what the settings train, on the base of that SHA-256."""
        names = ("base", "input_px", "view_um", "rank", "alpha", "parts")
        return cls(sha256=sha256, **{name: getattr(settings, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "parts": list(self.parts)}


def adapted_sam(base: Path, facts: SamFacts, *, dropout: float) -> AdaptedSam:
    """A base with new adapters, drawn by torch's chance."""
    return adapt(
        load_sam(base, input_px=facts.input_px),
        rank=facts.rank,
        alpha=facts.alpha,
        dropout=dropout,
        parts=facts.parts,
    )


@functools.lru_cache(maxsize=1)
def _merged(path: Path, made: int) -> tuple[nn.Module, SamFacts]:  # noqa: ARG001
    state, record = load_checkpoint(path)
    facts = SamFacts(**{**record["architecture"], "parts": tuple(record["architecture"]["parts"])})
    base, _ = find_base(facts.base, sha256=facts.sha256)
    adapted = adapted_sam(base, facts, dropout=0)
    _put(state, adapted, path)
    return merge(adapted.sam), facts


def merged_sam(path: Path) -> tuple[nn.Module, SamFacts]:
    """The base of an adapter's checkpoint, the adapter merged; loaded once in a process.

    Raises
    ------
    SettingsError
        The checkpoint or the base is absent, damaged, or not the one that it was trained on.
    """
    with _LOADING:  # the first of several threads loads for all
        return _merged(path, path.stat().st_mtime_ns if path.is_file() else 0)


def _put(state: dict[str, Tensor], adapted: AdaptedSam, path: Path) -> None:
    try:
        load_adapter(adapted.sam, state)
    except ValueError:
        raise SettingsError(f"{path}: does not fit its base; train it again") from None
