"""Foreground pixels to separate objects: distance transform, watershed, size rules."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label
from skimage.morphology import disk, h_maxima
from skimage.segmentation import relabel_sequential, watershed


def split_by_distance(mask: NDArray[np.bool_], *, seed_distance_px: float) -> NDArray[np.int32]:
    """Split touching objects of a mask (y, x) at the waists of its distance transform.

    Seeds are maxima of the smoothed distance at least `seed_distance_px` apart. Returns a
    label image int32 (y, x), 0 = background.
    """
    distance = distance_to_edge(mask)
    smooth = ndimage.gaussian_filter(distance, seed_distance_px / 4)
    peaks = peak_local_max(
        smooth,
        min_distance=max(1, round(seed_distance_px)),
        labels=mask.astype(np.int32),
        exclude_border=False,
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-smooth, seeds, mask=mask), np.int32)


def split_by_height(
    mask: NDArray[np.bool_], height: NDArray[np.float32], *, rise: float, least: float
) -> NDArray[np.int32]:
    """Split a mask (y, x) at the valleys of `height`, a map that peaks once in each object.

    A peak counts when it is at least `least` high and rises by `rise` over its saddle
    (h-maxima). Returns a label image int32 (y, x); mask pixels that no peak reaches are 0.
    """
    height = np.where(mask, height, 0)
    coarse = height[::2, ::2]  # a quarter of the pixels to sort; no nucleus is that small
    peaks = h_maxima(coarse, rise).astype(bool) & (coarse >= least)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[::2, ::2] = label(peaks, connectivity=2)
    return np.asarray(watershed(-height, seeds, mask=mask), np.int32)


def tidy_objects(
    labels: NDArray[np.int32], *, min_area_px: float, opening_px: float = 0
) -> NDArray[np.int32]:
    """Open each object by a disk, keep its largest piece, fill its holes, drop the small.

    Returns a label image int32 (y, x) with ids 1 ... n in the order of the input's ids.
    """
    out = np.zeros_like(labels)
    footprint = disk(max(1, round(opening_px))) if opening_px >= 0.5 else None
    pad = max(1, round(opening_px)) + 1
    for index, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None:
            continue
        piece = np.pad(labels[where] == index, pad)
        if footprint is not None:
            piece = cv2.morphologyEx(piece.astype(np.uint8), cv2.MORPH_OPEN, footprint) > 0
        piece = ndimage.binary_fill_holes(_largest(piece))[pad:-pad, pad:-pad]
        if piece.sum() >= max(min_area_px, 1):
            out[where][piece] = index
    return np.asarray(relabel_sequential(out)[0], np.int32)


def distance_to_edge(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance, in pixels and at most 1,000, of each pixel of a mask (y, x) to one outside it.

    OpenCV's last bit may differ from call to call; the square of a distance is a whole number.
    """
    near = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squares = np.rint(np.square(np.minimum(near, 1000), dtype=np.float64))
    return np.sqrt(squares).astype(np.float32)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return np.asarray(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))
