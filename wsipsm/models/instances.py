"""Foreground pixels to separate objects: distance transform, watershed, size rules."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label
from skimage.morphology import disk, h_maxima
from skimage.segmentation import watershed


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
    labels: NDArray[np.int32],
    *,
    min_area_px: float,
    max_area_px: float = math.inf,
    opening_px: float = 0,
) -> NDArray[np.int32]:
    """Open each object by a disk, keep its largest piece, fill its holes, drop small and large.

    Ids are below 2^24. Returns a label image int32 (y, x) with ids 1 ... n in the order of the
    input's ids.
    """
    opened = open_objects(labels, opening_px) if opening_px >= 0.5 else labels
    whole = _filled(_largest_pieces(opened))
    area = np.bincount(whole.ravel())
    kept = (area >= max(min_area_px, 1)) & (area <= max_area_px)
    kept[0] = False
    return (np.cumsum(kept) * kept).astype(np.int32)[whole]


def open_objects(labels: NDArray[np.int32], radius_px: float) -> NDArray[np.int32]:
    """Open each object of a label image (y, x) by a disk, all of them at once.

    An object's erosion is where the disk sees one id and no other; no disk around such a pixel
    reaches another object, so that one dilation gives every object its own opening.
    """
    footprint = disk(max(1, round(radius_px)))
    ids = labels.astype(np.float32)
    constant = cv2.BORDER_CONSTANT
    least = cv2.erode(ids, footprint, borderType=constant, borderValue=0)
    most = cv2.dilate(ids, footprint, borderType=constant, borderValue=0)
    core = np.where(least == most, ids, np.float32(0))
    return np.asarray(cv2.dilate(core, footprint), np.int32)


def distance_to_edge(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance, in pixels and at most 1,000, of each pixel of a mask (y, x) to one outside it.

    OpenCV's last bit may differ from call to call; the square of a distance is a whole number.
    """
    near = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squares = np.rint(np.square(np.minimum(near, 1000), dtype=np.float64))
    return np.sqrt(squares).astype(np.float32)


def _largest_pieces(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each object without its smaller pieces (of equal ones the first is kept)."""
    pieces, count = label(labels, connectivity=1, return_num=True)
    if count == 0:
        return labels
    first = np.zeros(count + 1, np.int32)
    first[pieces.ravel()] = labels.ravel()
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    order = np.lexsort((np.arange(count + 1), -area, first))
    _, leading = np.unique(first[order], return_index=True)
    kept = np.zeros(count + 1, bool)
    kept[order[leading]] = True
    return np.where(kept[pieces], labels, 0)


def _filled(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Objects with the holes filled that border on one object alone."""
    count, gaps = cv2.connectedComponents((labels == 0).astype(np.uint8), connectivity=4)
    open_ = np.zeros(count, bool)
    for side in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        open_[side] = True
    open_[0] = True
    if open_.all():
        return labels
    rows, cols = np.nonzero(~open_[gaps])
    hole = gaps[rows, cols]
    around = [labels[rows + y, cols + x] for y, x in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    most, least = np.zeros(count, np.int32), np.full(count, np.iinfo(np.int32).max, np.int32)
    for ids in around:
        np.maximum.at(most, hole, ids)
        np.minimum.at(least, hole[ids > 0], ids[ids > 0])
    fill = np.where(most == least, most, 0)
    out = labels.copy()
    out[rows, cols] = fill[hole]
    return out
