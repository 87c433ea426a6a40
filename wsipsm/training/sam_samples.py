"""What Segment Anything is fed in training: views of the chosen fields, and points with masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries
from torch import Tensor
from torch.nn import functional

from wsipsm.config import Sam
from wsipsm.learning.augment import REACH, restain, roughen, turn
from wsipsm.models.input import to_input
from wsipsm.models.instances import distance_to_edge
from wsipsm.models.sam import CELL, MASK_STRIDE, PASSIVE
from wsipsm.training.choice import Field, lesson
from wsipsm.training.cohort import Masked
from wsipsm.training.targets import IGNORE
from wsipsm.types import Region

INNERMOST = 0.2
"""Share of a cell, or of background, from which its point is drawn: that furthest from edges."""

UNKNOWN = -1
TURNS = 8


class Views:
    """Samples of a training: a view, its label image and the points that are asked for in it.

    Each sample is a tuple of tensors: the input, float (3, y, x), 0 to 255; labels, int64 at
    the size of a mask, 0 background, -1 unknown; points, float (n, 2), x and y in input pixels;
    how each is asked for (n,); the label of its cell, 0 on background, (n,); its weight, 0 where
    there are fewer than n points; a seed; and the number of the view if it comes again, else -1.
    """

    def __init__(
        self, cohort: Sequence[Masked], fields: list[Field], *, settings: Sam, seed: int
    ) -> None:
        self.cohort, self.fields, self.settings, self.seed = cohort, fields, settings, seed
        self.view_px = round(settings.view_um / cohort[0].tiles.mpp)
        self.fixed = "encoder" not in settings.parts
        self.places = [
            (field.slide, region) for field in fields for region in self._cut(field.region)
        ]

    def __call__(self, step: int, index: int) -> tuple[Tensor, ...]:
        """One sample, the same whatever was drawn before."""
        rng = np.random.default_rng([self.seed, step, index])
        image, labels, key = self._same(rng) if self.fixed else self._new(rng)
        classes, instances, confidence = labels
        points, asked, ids = ask(rng, classes, instances, settings=self.settings)
        weights = np.where(ids > 0, confidence[tuple(points.T)], 1.0)
        count = self.settings.cells + round(self.settings.cells * self.settings.background)
        scale = self.settings.input_px / self.view_px
        xy = torch.from_numpy((points[:, ::-1] + 0.5) * scale).float()
        return (
            _resized(image, self.settings.input_px, "bilinear"),
            self._masks(classes, instances),
            _padded(xy, count),
            _padded(torch.from_numpy(asked), count),
            _padded(torch.from_numpy(ids), count),
            _padded(torch.from_numpy(weights).float(), count),
            torch.tensor(int(rng.integers(2**31))),
            torch.tensor(key),
        )

    def _masks(self, classes: NDArray[np.int64], instances: NDArray[np.int64]) -> Tensor:
        labels = torch.from_numpy(np.where(classes == IGNORE, UNKNOWN, instances))
        side = self.settings.input_px // MASK_STRIDE
        return _resized(labels[None].double(), side, "nearest-exact")[0].long()

    def _cut(self, region: Region) -> list[Region]:
        """Views at half overlap that cover a field."""
        starts = [
            np.round(np.linspace(0, max(0, side - self.view_px), 1 + 2 * (side // self.view_px)))
            for side in (region.height, region.width)
        ]
        return [
            Region(region.y + int(y), region.x + int(x), self.view_px, self.view_px)
            for y in np.unique(starts[0])
            for x in np.unique(starts[1])
        ]

    def _same(self, rng: np.random.Generator) -> tuple[Tensor, list[NDArray[np.int64]], int]:
        """One of a few views, turned or flipped: its embedding can be kept."""
        key = int(rng.integers(TURNS * len(self.places)))
        number, region = self.places[key // TURNS]
        image, labels = self._read(number, region)
        flipped = (image, labels) if key % 2 else (image.flip(-1), labels.flip(-1))
        image, labels = (torch.rot90(each, key % TURNS // 2, (1, 2)) for each in flipped)
        return image, _layers(labels), key

    def _new(self, rng: np.random.Generator) -> tuple[Tensor, list[NDArray[np.int64]], int]:
        """A view that never comes again: turned, scaled, stained anew, blurred."""
        field = self.fields[int(rng.integers(len(self.fields)))]
        y = field.region.y + int(rng.integers(field.region.height))
        x = field.region.x + int(rng.integers(field.region.width))
        side = REACH * self.view_px
        region = Region(y - side // 2, x - side // 2, side, side)
        image, labels = self._read(field.slide, region)
        image, labels = turn(rng, image, labels, side_px=self.view_px)
        stained = restain(rng, image.round().byte().numpy())
        rough = roughen(rng, to_input(stained[None])[0])
        return (rough.clamp(-1, 1) + 1) * 127.5, _layers(labels), -1

    def _read(self, number: int, region: Region) -> tuple[Tensor, Tensor]:
        slide = self.cohort[number]
        classes, instances, confidence = lesson(slide, region)
        _, ids = np.unique(np.append(0, instances), return_inverse=True)
        layers = np.stack([classes, ids[1:].reshape(classes.shape), np.rint(255 * confidence)])
        return (
            torch.from_numpy(slide.tiles.read(region)).float(),
            torch.from_numpy(layers.astype(np.float32)),
        )


def ask(
    rng: np.random.Generator,
    classes: NDArray[np.int64],
    instances: NDArray[np.int64],
    *,
    settings: Sam,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Points (n, 2), row and column, how to ask for each (n,), and the ids (n,), 0 on background.

    One point in the innermost fifth of each cell, and points on background as far from cells.
    """
    inside = distance_to_edge((instances > 0) & ~find_boundaries(instances, mode="inner"))
    points, ids = [], []
    boxes = ndimage.find_objects(instances)
    present = [number for number, box in enumerate(boxes, start=1) if box is not None]
    for number in rng.permutation(present)[: settings.cells]:
        box = boxes[int(number) - 1]
        own = np.argwhere(instances[box] == number) + [side.start for side in box]
        points.append(_deep(rng, own, inside, 1))
        ids.append(number)
    empty = np.argwhere(classes == 0)
    count = min(round(settings.background * max(len(ids), 1)), len(empty))
    if count:
        away = distance_to_edge(instances == 0)
        points.append(_deep(rng, empty, away, count))
    kinds = np.array([*ids, *[0] * count], np.int64)
    passive = PASSIVE if settings.background_label == "background" else CELL
    found = np.concatenate(points) if points else np.zeros((0, 2), np.int64)
    return found, np.where(kinds > 0, CELL, passive), kinds


def _deep(
    rng: np.random.Generator, places: NDArray[np.int64], depth: NDArray[np.float32], count: int
) -> NDArray[np.int64]:
    """Some of the places (n, 2), from the share of them that lies deepest."""
    deep = depth[tuple(places.T)]
    among = places[deep >= np.quantile(deep, 1 - INNERMOST)]
    return np.asarray(among[rng.integers(len(among), size=count)])


def _layers(labels: Tensor) -> list[NDArray[np.int64]]:
    classes, instances, confidence = labels.numpy()
    return [classes.astype(np.int64), instances.astype(np.int64), confidence / 255]


def _resized(image: Tensor, side: int, mode: str) -> Tensor:
    return functional.interpolate(image[None], (side, side), mode=mode)[0]


def _padded(values: Tensor, count: int) -> Tensor:
    blank = torch.zeros((count, *values.shape[1:]), dtype=values.dtype)
    blank[: len(values)] = values[:count]
    return blank
