"""Where a model is asked for a cell: one point for each nucleus, or a grid of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.io import ngff
from wsipsm.io.product import read_record
from wsipsm.types import Region


@dataclass(frozen=True)
class Prompts:
    """Points of one view: row and column in the image (n, 2), and the class (n,) of each."""

    view: Region
    points: NDArray[np.float64]
    classes: NDArray[np.uint8]


class Prompter(Protocol):
    """Chooses views and points of images; `regions` say where on the slide each lies."""

    def __call__(self, images: NDArray[np.uint8], regions: Sequence[Region]) -> list[list[Prompts]]:
        """Views with points of each of the RGB images (n, 3, y, x)."""
        ...


class Centres:
    """One point for each nucleus that a source of centres knows, in the view around it.

    Parameters
    ----------
    source
        Gives the points (n, 2) and classes (n,) of each image.
    view_px
        Side of a view. Views overlap by a quarter at least, and a point belongs to the view in
        whose middle it lies most; views without points are left out.
    """

    def __init__(self, source: CentresOf, *, view_px: int) -> None:
        self.source, self.view_px = source, view_px

    def __call__(self, images: NDArray[np.uint8], regions: Sequence[Region]) -> list[list[Prompts]]:
        """Views that hold the points of each image."""
        found = self.source(images, regions)
        return [self._views(images.shape[-1], *each) for each in found]

    def _views(
        self, side: int, points: NDArray[np.float64], classes: NDArray[np.uint8]
    ) -> list[Prompts]:
        starts = _starts(side, self.view_px)
        nearest = np.abs(points[:, :, None] - (starts + self.view_px / 2)).argmin(axis=2)
        found = []
        for row, col in np.unique(nearest, axis=0):
            own = (nearest == (row, col)).all(axis=1)
            view = Region(int(starts[row]), int(starts[col]), self.view_px, self.view_px)
            found.append(Prompts(view, points[own], classes[own]))
        return found


class Grid:
    """The paper's grid: `side` x `side` points in the whole image and in four quarters of it.

    The quarters overlap. Classes are not known, all are the first.
    """

    def __init__(self, *, side: int) -> None:
        self.side = side

    def __call__(
        self,
        images: NDArray[np.uint8],
        regions: Sequence[Region],  # noqa: ARG002
    ) -> list[list[Prompts]]:
        """Five views of each image, each with all its points."""
        whole = images.shape[-1]
        part = math.ceil(whole * 5 / 8)
        corners = [(y, x) for y in (0, whole - part) for x in (0, whole - part)]
        views = [Region(0, 0, whole, whole), *(Region(y, x, part, part) for y, x in corners)]
        return [[self._points(view) for view in views] for _ in images]

    def _points(self, view: Region) -> Prompts:
        steps = (np.arange(self.side) + 0.5) / self.side * view.height
        points = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
        points += np.array([view.y, view.x])
        return Prompts(view, points, np.ones(len(points), np.uint8))


class CentresOf(Protocol):
    """Centres of the nuclei of images: points (n, 2), row and column, and classes (n,)."""

    def __call__(
        self, images: NDArray[np.uint8], regions: Sequence[Region]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
        """Points and classes of each image."""
        ...


class PseudomaskCentres:
    """Centres of the objects of a slide's pseudo masks."""

    def __init__(self, pseudomasks: Path) -> None:
        self.classes: list[str] = read_record(pseudomasks)["classes"]
        labels = ngff.open_group(pseudomasks)["labels"]
        assert isinstance(labels, zarr.Group)
        self._arrays: list[Any] = [labels["classes/0"], labels["instances/0"]]

    def __call__(
        self,
        images: NDArray[np.uint8],  # noqa: ARG002
        regions: Sequence[Region],
    ) -> list[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
        """Points and classes of the objects whose centre lies in each region."""
        return [self._of(region) for region in regions]

    def _of(self, region: Region) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        classes, instances = (ngff.read_padded(array, region, fill=0) for array in self._arrays)
        ids, first = np.unique(instances, return_index=True)
        first, ids = first[ids > 0], ids[ids > 0]
        # an object is named after its centre, so that a part of it is enough to know it
        where = np.stack(np.divmod(ids - 1, self._arrays[1].shape[1]), axis=1) + 0.5
        points = where - (region.y, region.x)
        inside = ((points >= 0) & (points < (region.height, region.width))).all(axis=1)
        kinds = classes.ravel()[first].astype(np.uint8)
        if len(self.classes) == 1:
            kinds[:] = 1  # also of an object that nothing is to learn from
        inside &= kinds <= len(self.classes)
        return points[inside], kinds[inside]


def centres_of_labels(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """The point (n, 2) nearest its centre of each object 1 ... n of a label image (y, x)."""
    found = []
    for index, where in enumerate(ndimage.find_objects(labels), start=1):
        assert where is not None, "ids must be 1 ... n"
        pixels = np.argwhere(labels[where] == index)
        middle = pixels[np.abs(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()]
        found.append((middle[0] + where[0].start + 0.5, middle[1] + where[1].start + 0.5))
    return np.array(found).reshape(-1, 2)


def _starts(side: int, view: int) -> NDArray[np.int64]:
    """First pixels of views that cover a side, each overlapping the next by a quarter or more."""
    if side <= view:
        return np.array([(side - view) // 2])
    count = 1 + math.ceil((side - view) / (view * 3 / 4))
    return np.round(np.linspace(0, side - view, count)).astype(np.int64)
