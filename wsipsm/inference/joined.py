"""Tiles that several specimens share: the cells of each, put together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.io.specimens import Numbers
from wsipsm.models.segmenter import Segmented


def join(found: Mapping[int, Segmented], numbers: Numbers) -> Segmented:
    """One tile as every specimen is seen on its own scale.

    Parameters
    ----------
    found
        The tile as seen on the scale of each specimen in it.
    numbers
        (y, x): the specimen of each pixel. A cell is taken from what was found on the scale of the
        specimen that its centroid lies in, unless one of an earlier specimen reaches into it.
    """
    labels = np.zeros(numbers.shape, np.int32)
    taken: list[tuple[Segmented, NDArray[np.bool_]]] = []
    maps = None
    for number, cells in found.items():
        own = _lies_in(cells.labels, numbers == number)
        own[np.unique(cells.labels[labels > 0])] = False
        own[0] = False
        new = np.where(own, labels.max() + np.cumsum(own), 0).astype(np.int32)
        labels += new[cells.labels]
        taken.append((cells, own[1:]))
        if cells.maps is not None:
            maps = np.where(numbers == number, cells.maps, 0 if maps is None else maps)
    classes, scores, agreement = (
        np.concatenate([getattr(cells, name)[own] for cells, own in taken])
        for name in ("classes", "scores", "agreement")
    )
    return Segmented(labels, classes, scores, agreement, maps)


def _lies_in(labels: NDArray[np.int32], places: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the centroid of each object 1 ... n lies in some places, (n + 1,) by its number."""
    ids = np.arange(1, int(labels.max()) + 1)
    inside = np.zeros(len(ids) + 1, bool)
    if len(ids):
        centres = np.array(ndimage.center_of_mass(np.ones(labels.shape), labels, ids))
        row, col = np.floor(centres + 0.5).astype(np.int64).T
        inside[1:] = places[row, col]
    return inside
