"""Objects that may be no whole nuclei: they teach nothing, and neither does what surrounds them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsipsm.models.instances import distance_to_edge
from wsipsm.models.shape import solidities
from wsipsm.training.targets import IGNORE

LEAST_AREA = 0.4
"""Smallest area of a whole nucleus, in areas of a typical one."""

LEAST_SOLIDITY = 0.88
"""Least share of its convex hull that a whole nucleus fills."""

REACH = 1.0
"""How far the rest of a nucleus may lie from a part of it, in radii of a typical nucleus."""


def with_doubts(classes: NDArray[np.uint8], instances: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Classes (y, x) without what may be background or the rest of a nucleus.

    Parameters
    ----------
    classes
        uint8 (y, x), 0 background, 1 ... k, 255 ignore.
    instances
        Any ids (y, x), 0 = background.

    Notes
    -----
    A labeller that finds a part of a nucleus calls the rest background; a network that learns so
    finds parts as well. Doubtful is an object that is ignored, small, or not convex. It is ignored
    with all pixels within `REACH` of it that belong to no other object. The typical area is that
    of which half of the pixels of all objects that are not ignored lie in smaller ones: parts
    hardly move it.
    """
    names, labels = np.unique(instances, return_inverse=True)
    labels = labels.reshape(instances.shape).astype(np.int32) + int(names[0] != 0)
    areas = np.bincount(labels.ravel())
    ignored = np.bincount(labels[classes == IGNORE], minlength=len(areas)) > areas / 2
    known = np.sort(areas[1:][~ignored[1:]])
    if not len(known):
        return classes
    typical = known[np.searchsorted(known.cumsum(), known.sum() / 2)]
    solid = np.concatenate([[1], solidities(labels)])
    doubtful = ignored | (areas < LEAST_AREA * typical) | (solid < LEAST_SOLIDITY)
    doubtful[0] = False
    near = distance_to_edge(~doubtful[labels]) <= REACH * math.sqrt(typical / math.pi)
    # within a doubtful object the distance is 0
    return np.where(near & ((labels == 0) | doubtful[labels]), IGNORE, classes).astype(np.uint8)
