"""What the downstream network learns from a pseudo mask: classes, Voronoi, distance.

After Chen et al. (2023), section 2.3: the pseudo mask teaches the class of pixels, and the
Voronoi diagram of the objects' centres teaches where touching nuclei part. The distance map is
ours: it gives each nucleus one peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries

from wsipsm.models.instances import distance_to_edge

IGNORE = 255


@dataclass(frozen=True)
class Targets:
    """Targets of one tile.

    Attributes
    ----------
    classes
        int64 (y, x): 0 background, 1 ... k, 255 ignore.
    voronoi
        int64 (y, x): 0 on the borders of the Voronoi cells of the objects' centres, the class
        in a disk around each centre, 255 elsewhere.
    distance
        float32 (y, x): distance to the outline over its largest value in the object.
    """

    classes: NDArray[np.int64]
    voronoi: NDArray[np.int64]
    distance: NDArray[np.float32]


def make_targets(
    classes: NDArray[np.integer], instances: NDArray[np.integer], *, disk_px: float
) -> Targets:
    """Targets from a pseudo mask (y, x) and its instances (y, x; any ids, 0 = background)."""
    _, labels = np.unique(instances, return_inverse=True)
    labels = labels.reshape(instances.shape).astype(np.int32)
    if not (instances == 0).any():
        labels += 1
    wanted = classes.astype(np.int64)
    count = int(labels.max(initial=0))
    voronoi = np.full(labels.shape, IGNORE, np.int64)
    if count == 0:
        return Targets(wanted, voronoi, np.zeros(labels.shape, np.float32))
    seeds = _seeds(labels, count)
    away, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    cells = seeds[tuple(nearest)]
    voronoi[find_boundaries(cells, mode="inner")] = 0
    near = (away <= disk_px) & (labels > 0)
    voronoi[near] = np.where(wanted == 0, IGNORE, wanted)[near]
    return Targets(wanted, voronoi, _normalised_distance(labels, count))


def _seeds(labels: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The id of each object at its centre of mass."""
    ids = np.arange(1, count + 1)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, ids)).round().astype(int)
    seeds = np.zeros_like(labels)
    seeds[centres[:, 0], centres[:, 1]] = ids
    return seeds


def _normalised_distance(labels: NDArray[np.int32], count: int) -> NDArray[np.float32]:
    inside = (labels > 0) & ~find_boundaries(labels, mode="inner", background=0)
    # pixels on the outline are half a pixel away from it
    distance = distance_to_edge(inside) + 0.5 * (labels > 0)
    peaks = np.concatenate([[1], ndimage.maximum(distance, labels, np.arange(1, count + 1))])
    return np.asarray(distance / np.maximum(peaks, 1)[labels], np.float32)
