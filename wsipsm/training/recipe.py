"""The seam behind which every model is trained: a cohort in, weights and facts out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from wsipsm.config import Section
from wsipsm.training.cohort import Masked
from wsipsm.training.start import Start

S = TypeVar("S", bound=Section, contravariant=True)


@dataclass(frozen=True)
class Learnt:
    """What a training came to.

    Attributes
    ----------
    state
        Weights by name.
    architecture
        What `models.segmenter` builds the model from.
    facts
        What else the record of the checkpoint says: the curve, thresholds.
    """

    state: dict[str, Tensor]
    architecture: dict[str, Any]
    facts: dict[str, Any]


class Recipe(Protocol[S]):
    """Trains one kind of model; same input, settings and seed give the same weights."""

    def __call__(
        self,
        cohort: list[Masked],
        *,
        settings: S,
        place: Path,
        seed: int,
        workers: int,
        start: Start | None,
    ) -> Learnt:
        """Train on a cohort; `place` is a private folder from which a killed run continues.

        `start` is where weights begin; None is at random, or wherever the model knows itself.
        """
        ...
