"""What the U-Net learns from objects: where they end, and maps that tell touching ones apart.

The distance of a pixel to the outline of its object, over the largest in that object, is 1 in the
middle of every nucleus, whatever its size. Offsets from the centre jump where two nuclei touch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import find_boundaries

from wsipsm.models.instances import distance_to_edge

IGNORE = 255
RIM_UM = 1.0


def with_rims(
    classes: NDArray[np.uint8], instances: NDArray[np.integer], *, mpp: float
) -> NDArray[np.uint8]:
    """Classes (y, x) with background where they were ignored in a rim of 1 um around known objects.

    Without it, nothing would say where objects end: what surrounds them is what is unclear.
    """
    known = (instances > 0) & (classes != IGNORE)
    rim = (distance_to_edge(~known) <= RIM_UM / mpp) & (instances == 0)
    return np.where(rim & (classes == IGNORE), 0, classes).astype(np.uint8)


def distance_of(instances: NDArray[np.integer]) -> NDArray[np.float32]:
    """Distance to the outline over its largest value in the object, float32 (y, x), 0 to 1.

    Parameters
    ----------
    instances
        Any ids (y, x), 0 = background, where the distance is 0.
    """
    names, labels = np.unique(instances, return_inverse=True)
    labels = labels.reshape(instances.shape).astype(np.int32)
    if names[0] != 0:
        labels += 1
    count = int(labels.max(initial=0))
    if count == 0:
        return np.zeros(labels.shape, np.float32)
    inside = (labels > 0) & ~find_boundaries(labels, mode="inner", background=0)
    # pixels on the outline are half a pixel away from it
    distance = distance_to_edge(inside) + 0.5 * (labels > 0)
    peaks = np.concatenate([[1], ndimage.maximum(distance, labels, np.arange(1, count + 1))])
    return np.asarray(distance / np.maximum(peaks, 1)[labels], np.float32)


def offsets_of(instances: NDArray[np.integer]) -> NDArray[np.float32]:
    """Horizontal and vertical offset from the centre of mass, float32 (2, y, x), -1 to 1.

    The maps of HoVer-Net (Graham et al. 2019, arXiv 1812.06499, section 3.1). In each direction
    offsets to either side are divided by the largest to that side, so that a piece of an object
    reaches from -1 on its left, or top, to 1 on its right, or bottom.

    Parameters
    ----------
    instances
        Any ids (y, x), 0 = background, where offsets are 0. Each piece of an object has a centre
        of its own.
    """
    pieces = pieces_of(instances)
    rows, cols = np.nonzero(pieces)
    own = pieces[rows, cols]
    area = np.maximum(np.bincount(own), 1)
    maps = np.zeros((2, *pieces.shape), np.float32)
    for offsets, at in zip(maps, (cols, rows), strict=True):
        away = at - (np.bincount(own, at) / area)[own]
        side = 2 * own + (away > 0)
        largest = np.zeros(2 * len(area))
        np.maximum.at(largest, side, np.abs(away))
        offsets[rows, cols] = away / np.where(largest > 0, largest, 1)[side]
    return maps


def pieces_of(instances: NDArray[np.integer]) -> NDArray[np.int32]:
    """Numbers 1 ... n of what hangs together of each object, int32 (y, x).

    Half an object and its mirror image at the border of a region are one piece if they touch.
    """
    return np.asarray(label(instances, connectivity=2), np.int32)
