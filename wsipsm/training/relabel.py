"""What a trained network says of a region of the pool: objects to trust, to ignore, to drop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsipsm.models.contrast import contrasts
from wsipsm.models.segmenter import Segmented
from wsipsm.models.shape import solidities
from wsipsm.training.doubt import LEAST_SOLIDITY, with_doubts
from wsipsm.training.targets import IGNORE, with_rims

SURE, UNSURE = 0.5, 0.5
"""Way from the threshold of foreground to 1 that makes an object sure; and from 0 to the
threshold that makes a pixel outside objects unsure."""

LEAST_CONTRAST, NO_CONTRAST = 0.25, 0.1
"""Density of an object above that of its ring, in standard deviations of the region."""

RING_UM = 1.25


def relabel(
    found: Segmented, foreground: NDArray[np.float32], density: NDArray[np.float32], *, mpp: float,
    threshold: float,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:  # fmt: skip
    """Classes (0 background, 1 ... k, 255 ignore) and instances of a region, both (y, x).

    Parameters
    ----------
    found
        Cells of the region.
    foreground
        Foreground probability, float32 (y, x).
    density
        Nuclear stain density, float32 (y, x).
    threshold
        Foreground probability from which pixels were cells.

    Notes
    -----
    Trusted is an object that the network is sure of, that is round, and that is darker than its
    surroundings; one that is not darker becomes background, the rest is ignored, with what may
    belong to it (`doubt.with_doubts`). A rim around trusted objects is background, so that
    outlines are learned.
    """
    unsure = np.where(foreground > UNSURE * threshold, IGNORE, 0).astype(np.uint8)
    if not len(found.scores):
        return unsure, np.zeros_like(found.labels)
    plain = float(density.mean(where=found.labels == 0)) if (found.labels == 0).any() else 0.0
    contrast = contrasts(found.labels, density, ring_px=RING_UM / mpp, alone=plain)
    contrast /= max(float(density.std()), 1e-6)
    trusted = (
        (found.scores > threshold + SURE * (1 - threshold))
        & (solidities(found.labels) > LEAST_SOLIDITY)
        & (contrast > LEAST_CONTRAST)
    )
    verdict = np.where(trusted, found.classes, np.where(contrast < NO_CONTRAST, 0, IGNORE))
    table = np.concatenate([[0], verdict]).astype(np.uint8)
    classes = np.where(found.labels > 0, table[found.labels], unsure)
    classes = with_doubts(classes, np.where(table[found.labels] > 0, found.labels, 0))
    kept = np.where((classes > 0) & (classes != IGNORE), found.labels, 0)
    return with_rims(classes, kept, mpp=mpp), kept
