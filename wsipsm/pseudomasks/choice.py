"""Which labeller a slide is labelled by, and what says so; no truth is needed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsipsm.pseudomasks import objects

Method = Literal["stain", "psm", "cluster"]

PLAIN: Method = "stain"
MARGIN = 0.05
"""Share of its score by which a labeller must beat the plain one."""

AGREE = 0.4
"""Cohen's kappa from which two labellers agree moderately (Landis and Koch 1977)."""


@dataclass(frozen=True)
class Choice:
    """The labeller of a slide.

    Attributes
    ----------
    method
        Its name.
    scores
        Label-free score of each labeller that was tried, from `score`.
    kappa
        Agreement of stain and activation map on pixels, -1 to 1 (Cohen 1960).
    reason
        One sentence.
    """

    method: Method
    scores: dict[str, float]
    kappa: float
    reason: str

    @property
    def trust(self) -> float:
        """Weight of the other labeller's agreement in the confidence of an object, 0 to 1."""
        return max(self.kappa, 0.0)


def kappa(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Cohen's kappa of two labellings of the same pixels (n,); 0 where one is constant."""
    agreed, a, b = np.mean(one == other), one.mean(), other.mean()
    by_chance = a * b + (1 - a) * (1 - b)
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else 0.0


def asked_for(method: Method, *, agreement: float) -> Choice:
    """The labeller that the settings name."""
    return Choice(method, {}, agreement, f"{method}: the setting pseudomasks.method asks for it.")


def choose(scores: Mapping[Method, float], *, agreement: float) -> Choice:
    """Follow the activation map only where it agrees with the stain and its objects are better.

    Parameters
    ----------
    scores
        Label-free score of each labeller; `stain` is among them.
    agreement
        `kappa` of stain and activation map.
    """
    plain = scores[PLAIN]
    best = max(scores, key=lambda name: (scores[name], name == PLAIN))
    if agreement < AGREE:
        reason = (
            f"stain: the activation map agrees too little with it (kappa {agreement:.2f},"
            f" wanted {AGREE}) to be trusted."
        )
        return Choice(PLAIN, dict(scores), agreement, reason)
    if scores[best] <= plain * (1 + MARGIN):
        reason = (
            f"stain: the activation map adds nothing (score {plain:.3f} without it,"
            f" {max((s for n, s in scores.items() if n != PLAIN), default=0):.3f} with it)."
        )
        return Choice(PLAIN, dict(scores), agreement, reason)
    reason = f"{best}: its objects score {scores[best]:.3f}, those of stain alone {plain:.3f}."
    return Choice(best, dict(scores), agreement, reason)


def score(
    labels: Sequence[NDArray[np.int32]], squares: Sequence[NDArray[np.float32]], *, mpp: float
) -> float:
    """Mean quality of the objects that a labeller finds, 0 to 1: contrast and shape.

    Parameters
    ----------
    labels, squares
        Label images (y, x) and features (6, y, x) of the same squares of the sample.
    """
    qualities = []
    for found, features in zip(labels, squares, strict=True):
        nothing = np.zeros(found.shape, bool)
        evidence = objects.weigh(found, features, nothing, mpp=mpp, median_area_um2=1)
        qualities.append(np.sqrt(evidence.contrast * evidence.shape))
    every = np.concatenate(qualities)
    return float(every.mean()) if len(every) else 0.0
