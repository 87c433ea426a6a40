"""Which labeller a slide is labelled by, and what says so; no truth is needed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import disk

from wsipsm.pseudomasks.features import FAR

Method = Literal["stain", "psm", "cluster"]

MARGIN = 0.05
"""Share of its score by which what uses the map must beat stain, and itself without the map."""

AGREE = 0.4
"""Cohen's kappa from which two labellers agree moderately (Landis and Koch 1977)."""

RIM_UM = 0.5


@dataclass(frozen=True)
class Choice:
    """The labeller of a slide.

    Attributes
    ----------
    method
        Its name.
    scores
        Label-free score, from `score`, of what was tried: `stain`, `cluster`, and `contrast`,
        which is `cluster` without the map.
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


def choose(scores: Mapping[str, float], *, agreement: float) -> Choice:
    """Follow the activation map only where it agrees with the stain and makes objects better.

    Parameters
    ----------
    scores
        Of `stain`, `cluster` and `contrast`, as in `Choice`.
    agreement
        `kappa` of stain and activation map.
    """
    found, known = scores["cluster"], dict(scores)
    rival = max(("stain", "contrast"), key=lambda name: scores[name])
    if agreement < AGREE:
        reason = f"the activation map agrees too little with it, kappa {agreement:.2f} of {AGREE}."
        return Choice("stain", known, agreement, f"stain: {reason}")
    if found <= (1 + MARGIN) * scores[rival]:
        reason = f"the activation map adds too little, {found:.3f} with it to {scores[rival]:.3f}"
        return Choice("stain", known, agreement, f"stain: {reason} without it.")
    reason = f"the activation map adds to stain, {found:.3f} with it to {scores[rival]:.3f}"
    return Choice("cluster", known, agreement, f"cluster: {reason} without it.")


def score(
    labels: Sequence[NDArray[np.int32]], squares: Sequence[NDArray[np.float32]], *, mpp: float
) -> float:
    """How much of a slide's edges the outlines of a labeller's objects explain.

    The step of density from the outer to the inner rim of the objects, in local standard
    deviations, times the square root of the share of pixels that lie on the inner rim: outlines
    beside the edges lower the step, nuclei that are missed lower the share, and dust adds less to
    the share than it takes from the step.

    Parameters
    ----------
    labels, squares
        Label images (y, x) and features (6, y, x) of the same squares of the sample.
    """
    reach = disk(max(1, round(RIM_UM / mpp)))
    sums, counts = np.zeros(2), np.zeros(2)
    for found, features in zip(labels, squares, strict=True):
        mask = (found > 0).astype(np.uint8)
        rims = mask > cv2.erode(mask, reach), cv2.dilate(mask, reach) > mask
        sums += [features[FAR][rim].sum() for rim in rims]
        counts += [rim.sum() for rim in rims]
    if not counts.all():
        return 0.0
    inner, outer = sums / counts
    share = counts[0] / sum(found.size for found in labels)
    return float((inner - outer) * np.sqrt(share))
