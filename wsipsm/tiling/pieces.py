"""Connected pieces of masks, by OpenCV: several times as fast as by SciPy."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def without_small(mask: Mask, *, area_px: float, connectivity: int = 4) -> Mask:
    """The pieces of a mask bool (y, x) that are larger than `area_px`."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=connectivity
    )
    kept = stats[:, cv2.CC_STAT_AREA] > area_px
    kept[0] = False
    return np.asarray(kept[labels], bool)


def without_small_holes(mask: Mask, *, area_px: float) -> Mask:
    """A mask bool (y, x) whose holes of at most `area_px`, and gaps at the border, are filled."""
    return ~without_small(~mask, area_px=area_px)


def filled(mask: Mask) -> Mask:
    """A mask bool (y, x) and all that it encloses."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    left, top, width, height = (stats[:, at] for at in range(4))
    outside = (left == 0) | (top == 0)
    outside |= (left + width == mask.shape[1]) | (top + height == mask.shape[0])
    outside[0] = False
    return ~np.asarray(outside[labels], bool)
