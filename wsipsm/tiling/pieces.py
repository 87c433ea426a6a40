"""Connected pieces of masks, by OpenCV: several times as fast as by SciPy."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def without_small(mask: Mask, *, area_px: float, connectivity: int = 4) -> Mask:
    """The pieces of a mask bool (y, x) that are larger than `area_px`."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity)
    kept = np.bincount(labels.ravel()) > area_px
    kept[0] = False
    return np.asarray(kept[labels], bool)


def without_small_holes(mask: Mask, *, area_px: float) -> Mask:
    """A mask bool (y, x) whose holes of at most `area_px`, and gaps at the border, are filled."""
    return ~without_small(~mask, area_px=area_px)


def filled(mask: Mask) -> Mask:
    """A mask bool (y, x) and all that it encloses."""
    count, labels = cv2.connectedComponents((~mask).view(np.uint8), connectivity=4)
    outside = np.zeros(count, bool)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[border] = True
    outside[0] = False
    return ~np.asarray(outside[labels], bool)
