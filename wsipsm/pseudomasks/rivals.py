"""Rival outlines of the same nuclei, of which the roundest and sharpest stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.models.shape import ellipticities

SHAPE_POWER, AREA_POWER = 5.0, 0.15
"""Powers of ellipticity and area in the merit of an object, beside the edge along its outline."""

TAKEN = 0.3
"""Share of an object that better ones may have taken."""


@dataclass(frozen=True)
class _Rival:
    merit: float
    where: tuple[slice, slice]
    shape: NDArray[np.bool_]


def best_of(rivals: Sequence[NDArray[np.int32]], density: NDArray[np.float32]) -> NDArray[np.int32]:
    """The objects of several label images that win where they overlap, int32 (y, x).

    Parameters
    ----------
    rivals
        Label images (y, x) of the same region, each with ids 1 ... n, from rival thresholds.
    density
        Stain density of the same pixels, float32 (y, x).

    Notes
    -----
    No single threshold fits pale and dark nuclei of one slide, but each has one at which its
    outline is round and lies on an edge. Merit is ellipticity^5 x mean gradient of density along
    the outline x area^0.15. Objects are taken by falling merit; one of which better ones have
    taken more than `TAKEN` is left out, and of another they keep what they have.
    """
    steep = np.hypot(*np.gradient(density)).astype(np.float32)
    found = [rival for labels in rivals for rival in _rivals(labels, steep)]
    out = np.zeros(density.shape, np.int32)
    for number, rival in enumerate(sorted(found, key=lambda one: -one.merit), start=1):
        view = out[rival.where]
        free = rival.shape & (view == 0)
        if free.sum() >= (1 - TAKEN) * rival.shape.sum():
            view[free] = number
    return out


def _rivals(labels: NDArray[np.int32], steep: NDArray[np.float32]) -> list[_Rival]:
    area = np.bincount(labels.ravel())[1:]
    outline = np.where(cv2.erode(labels.astype(np.float32), np.ones((3, 3), np.uint8)) != labels,
                       labels, 0)  # fmt: skip
    edge = ndimage.mean(steep, outline, np.arange(1, len(area) + 1)) if len(area) else []
    merit = ellipticities(labels) ** SHAPE_POWER * edge * area**AREA_POWER
    places = ndimage.find_objects(labels)
    return [
        _Rival(float(of), where, labels[where] == number)
        for number, (of, where) in enumerate(zip(merit, places, strict=True), start=1)
    ]
