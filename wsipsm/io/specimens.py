"""Specimens: the pieces of tissue of a slide that are each seen on their own scale."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels

from wsipsm.io.tiles import Tiles
from wsipsm.types import Region

GAP_UM = 25.0
"""A gap in the tissue up to this wide parts nothing: crumbling tissue stays one piece."""

LEAST_UM2 = 30_000.0
"""Least area of tissue that is seen on its own scale: two squares of the sample."""

Numbers = NDArray[np.uint16]


@dataclass(frozen=True)
class Specimens:
    """The specimen that each place of a slide belongs to.

    Attributes
    ----------
    numbers
        uint16 (y, x), from 0, over the whole slide: on the grid of its overview, or one for all.
    size_px
        Height and width of the slide in working pixels.
    """

    numbers: Numbers
    size_px: tuple[int, int]

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.numbers.max()) + 1

    def around(self, region: Region) -> Numbers:
        """Numbers of the pixels of a region, (height, width); it may leave the slide."""
        y, x = (
            (np.arange(start, start + length).clip(0, full - 1) * size) // full
            for start, length, full, size in zip(
                (region.y, region.x),
                (region.height, region.width),
                self.size_px,
                self.numbers.shape,
                strict=True,
            )
        )
        return np.asarray(self.numbers[y][:, x])

    def as_one(self) -> Specimens:
        """The slide as one specimen."""
        return Specimens(np.zeros((1, 1), np.uint16), self.size_px)


def specimens_of(slide: Tiles) -> Specimens:
    """The specimens of a slide."""
    tissue = slide.tissue()
    mpp = slide.mpp * slide.grid.height_px / len(tissue)
    numbers = find_specimens(tissue, slide.used_tissue(), mpp=mpp)
    return Specimens(numbers, (slide.grid.height_px, slide.grid.width_px))


def find_specimens(tissue: NDArray[np.bool_], used: NDArray[np.bool_], *, mpp: float) -> Numbers:
    """The specimen that each place belongs to, uint16 (y, x), from 0.

    A specimen is a piece of the tissue with an area of `LEAST_UM2`. A smaller piece belongs to the
    nearest specimen, which it most likely broke off, and glass to the nearest piece, so that
    borders lie half way between pieces.

    Parameters
    ----------
    tissue, used
        bool (y, x): tissue, and that of it which is segmented and counts as area.
    mpp
        Microns per pixel.

    Returns
    -------
    numbers
        (1, 1) where there are no two specimens.
    """
    glass = (~tissue).astype(np.uint8)
    away = cv2.distanceTransform(glass, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    joined = (away * mpp <= GAP_UM / 2).astype(np.uint8)
    count, found = cv2.connectedComponents(joined, connectivity=8)
    pieces = np.asarray(found, np.int32)
    large = np.bincount(pieces[used], minlength=count) * mpp**2 >= LEAST_UM2
    if large.sum() < 2:
        return np.zeros((1, 1), np.uint16)
    pieces[~tissue] = 0
    number = np.where(large, np.cumsum(large), 0)
    small = np.flatnonzero(~large)[1:]  # without glass
    number[small] = _nearest(number[pieces], pieces, small)
    return np.asarray(expand_labels(number[pieces], distance=np.inf) - 1, np.uint16)


def _nearest(
    numbers: NDArray[np.int64], pieces: NDArray[np.int32], small: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The number other than 0 that lies nearest to each of the small pieces."""
    away, where = ndimage.distance_transform_edt(numbers == 0, return_indices=True)
    places = np.array(ndimage.minimum_position(away, pieces, small), np.int64).reshape(-1, 2)
    closest = where[:, places[:, 0], places[:, 1]]
    return np.asarray(numbers[closest[0], closest[1]])
