"""The arithmetic of the paper's own recipe (Chen et al., MICCAI 2023) that our stages lack.

Written anew from the paper. Its pixel figures hold at 0.25 microns per pixel and are given in
microns here; `docs/method.md` lists the faults of the published code that are mended.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.segmentation import find_boundaries
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from wsipsm.models.encoder import Encoder, activation_maps
from wsipsm.models.input import to_input
from wsipsm.models.instances import tidy_objects
from wsipsm.models.stain import optical_density

IGNORE = 255
SAMPLE_PIXELS = 30_000
MIN_AREA_UM2 = 4.0
MIN_DENSITY = 0.12
PEAK_DISTANCE_UM, MERGE_UM, DISK_UM, BLUR_UM = 1.5, 5.0, 0.5, 0.5


def own_map(encoder: Encoder, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map of one tile by its own weights and range, float32 (y, x) in [0, 1] at its pixels.

    The blocks of layer1 are tapped. Each block's map is brought to [0, 1] and enlarged, and the
    mean over blocks brought to [0, 1] (section 2.1). The sign is as it comes. `image` is uint8
    (3, y, x).
    """
    device = next(encoder.parameters()).device
    maps = activation_maps(encoder, to_input(image[None]).to(device))
    blocks = torch.stack([_unit(block) for block in maps[0]])[None]
    fine = functional.interpolate(
        blocks, size=image.shape[1:], mode="bilinear", align_corners=False
    )
    found: NDArray[np.float32] = _unit(fine[0].mean(0)).cpu().numpy()
    return found


def _unit(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-12)


def jet_classes(
    image: NDArray[np.uint8], values: NDArray[np.float32], *, clusters: int, classes: int, seed: int
) -> NDArray[np.uint8]:
    """Class of each pixel of a tile, uint8 (y, x): k-means on colour-mapped map plus RGB.

    Parameters
    ----------
    image, values
        RGB uint8 (3, y, x), and the tile's map (y, x) in [0, 1].
    clusters, classes
        k of the paper, and how many of the clusters are nuclei: those that are darkest in red
        and green and hottest in the map together. Of several, the browner has the higher number.
    seed
        Of the sample and of k-means.

    Notes
    -----
    Section 2.2. Nuclei that are paler than any tissue (optical density 0.12) are none: an empty
    tile stays empty.
    """
    colour = matplotlib.colormaps["jet"](values)[..., :3].astype(np.float32).transpose(2, 0, 1)
    points = (colour + image.astype(np.float32) / 255).reshape(3, -1).T
    picks = np.random.default_rng(seed).integers(len(points), size=min(len(points), SAMPLE_PIXELS))
    clusters = min(clusters, len(np.unique(points[picks], axis=0)))
    fit = KMeans(clusters, n_init=3, random_state=seed).fit(points[picks])
    member = fit.predict(points).astype(np.int64)
    count = np.maximum(np.bincount(member, minlength=clusters), 1)
    red, green, blue, hot, dense = (
        np.bincount(member, part.ravel(), clusters) / count
        for part in (*image / 255, values, optical_density(image).mean(axis=0))
    )
    nuclei = np.argsort(red + green - 2 * hot, kind="stable")[:classes]
    nuclei = nuclei[np.argsort((red - blue)[nuclei], kind="stable")]
    numbers = np.zeros(clusters, np.uint8)
    numbers[nuclei] = np.where(dense[nuclei] > MIN_DENSITY, np.arange(1, classes + 1), 0)
    return np.asarray(numbers[member].reshape(values.shape))


def tidy_classes(classes: NDArray[np.uint8], *, mpp: float) -> NDArray[np.uint8]:
    """Class mask (y, x) with holes filled and small objects removed, class by class."""
    out = np.zeros_like(classes)
    for number in range(1, int(classes.max(initial=0)) + 1):
        parts = ndimage.label(ndimage.binary_fill_holes(classes == number))[0]
        keep = np.bincount(parts.ravel()) >= MIN_AREA_UM2 / mpp**2
        keep[0] = False
        out[keep[parts]] = number
    return out


def components(classes: NDArray[np.uint8], *, mpp: float) -> NDArray[np.int32]:
    """Instances int32 (y, x): connected components of each class, the small ones dropped."""
    out = np.zeros(classes.shape, np.int32)
    for number in range(1, int(classes.max(initial=0)) + 1):
        parts, count = ndimage.label(classes == number)
        out = np.where(parts > 0, parts + out.max(), out) if count else out
    return tidy_objects(out.astype(np.int32), min_area_px=MIN_AREA_UM2 / mpp**2)


def peaks(foreground: NDArray[np.float32], *, mpp: float) -> NDArray[np.int64]:
    """Points (n, 2) as (y, x): peaks of a blurred probability map, near ones merged into one.

    From the highest peak down, a peak takes those within 5 microns (20 px) to itself; the point
    is their mean.
    """
    smooth = ndimage.gaussian_filter(foreground, BLUR_UM / mpp)
    found = peak_local_max(
        smooth, min_distance=max(1, round(PEAK_DISTANCE_UM / mpp)), threshold_abs=0.5,
        exclude_border=False,
    )  # fmt: skip
    if not len(found):
        return np.zeros((0, 2), np.int64)
    free = np.ones(len(found), bool)
    points = []
    for index, near in enumerate(cKDTree(found).query_ball_point(found, MERGE_UM / mpp)):
        if free[index]:  # peaks come from the highest down
            group = [at for at in near if free[at]]
            points.append(found[group].mean(axis=0))
            free[group] = False
    return np.round(points).astype(np.int64)


def voronoi(
    points: NDArray[np.int64], classes: NDArray[np.uint8], *, mpp: float
) -> NDArray[np.uint8]:
    """What points (n, 2) teach, uint8 of the shape of `classes` (y, x).

    0 on the borders of the points' Voronoi cells, the class (at least 1) in a disk of 0.5
    microns around each point, 255 elsewhere (section 2.3).
    """
    out = np.full(classes.shape, IGNORE, np.uint8)
    if not len(points):
        return out
    seeds = np.zeros(classes.shape, np.int32)
    seeds[tuple(points.T)] = np.arange(1, len(points) + 1)
    away, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    out[find_boundaries(seeds[tuple(nearest)], mode="inner")] = 0
    disk = away <= DISK_UM / mpp
    own = classes[tuple(points.T)]
    of_point = np.where((own == 0) | (own == IGNORE), 1, own)
    out[disk] = of_point[seeds[tuple(nearest)][disk] - 1]
    return out
