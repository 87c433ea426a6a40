"""The pool: regions drawn once over a cohort, with the labels that each round gives them.

The regions lie in a private folder, a file each, that is there complete or not at all: a killed
training continues with what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsipsm.io.specimens import Specimens, specimens_of
from wsipsm.learning.dataset import Sampler
from wsipsm.models.segmenter import UNetSegmenter
from wsipsm.training.cohort import Masked
from wsipsm.training.doubt import with_doubts
from wsipsm.training.goals import Goal
from wsipsm.training.targets import with_rims
from wsipsm.types import Region

LOOKED_AT = 16
"""Most regions of a specimen that a network looks at, and then labels, at a time."""

ANNOTATED = 2
"""For so many regions another is drawn around an annotated place, if there are any."""


@dataclass(frozen=True)
class Place:
    """One region of the pool.

    Attributes
    ----------
    number
        Its place in the pool.
    slide, specimen
        Its slide, by its place in the cohort, and the piece of tissue that its centre lies in.
    annotated
        Whether it was drawn around an annotated place.
    """

    number: int
    slide: int
    specimen: int
    region: Region
    annotated: bool

    def beside(self, other: Place) -> bool:
        """Whether both lie in one specimen."""
        return (self.slide, self.specimen) == (other.slide, other.specimen)


class Pool:
    """Regions of a cohort with labels.

    Parameters
    ----------
    cohort
        The slides; each gives as many regions as the others.
    folder
        Where images and labels are kept.
    count, side_px
        Number of regions drawn by tissue, and their side.
    annotated_share
        Share of the draws from regions around annotated places, if there are any.
    seed
        Of the draw.
    goal
        Says what is kept of instances.
    """

    def __init__(
        self,
        cohort: list[Masked],
        folder: Path,
        *,
        count: int,
        side_px: int,
        annotated_share: float,
        seed: int,
        goal: Goal,
    ) -> None:
        self.cohort, self.folder, self.side_px, self.goal = cohort, folder, side_px, goal
        rng = np.random.default_rng([seed, count])
        drawn = [*_by_tissue(cohort, count, side_px, rng)]
        around = [*_by_annotation(cohort, math.ceil(count / ANNOTATED), side_px, rng)]
        specimens = [specimens_of(slide.tiles) for slide in cohort]
        self.places = [
            Place(number, slide, _specimen(specimens[slide], region), region, annotated)
            for number, (slide, region, annotated) in enumerate(drawn + around)
        ]
        self._plain = len(drawn)
        self._share = annotated_share if around else 0.0

    def draw(self, rng: np.random.Generator, together: np.random.Generator) -> Place:
        """A region, around an annotated place in the wanted share.

        Draws that begin with the same state of `together` come from one specimen of a slide.
        """
        around = together.random() < self._share
        first, end = (self._plain, len(self.places)) if around else (0, self._plain)
        one = self.places[int(together.integers(first, end))]
        same = [place for place in self.places[first:end] if place.beside(one)]
        return same[int(rng.integers(len(same)))]

    def of_specimens(self, places: Sequence[Place]) -> list[list[Place]]:
        """The places by slide and specimen, at most `LOOKED_AT` together, in their order."""
        same: dict[tuple[int, int], list[Place]] = {}
        for place in places:
            same.setdefault((place.slide, place.specimen), []).append(place)
        return [
            each[at : at + LOOKED_AT]
            for each in same.values()
            for at in range(0, len(each), LOOKED_AT)
        ]

    def met(self, segmenter: UNetSegmenter, places: Sequence[Place]) -> UNetSegmenter:
        """The segmenter with the statistics of the specimen that the places lie in."""
        own = [place for place in self.places[: self._plain] if place.beside(places[0])]
        images = np.stack([self.image(place) for place in (own or places)[:LOOKED_AT]])
        return segmenter.knowing(segmenter.look(images))

    def fill(self, place: Place) -> None:
        """Fetch image and first labels of a region, unless they are here."""
        if not self.has(0, place):
            slide = self.cohort[place.slide]
            _write(self._file("images", place), slide.tiles.read(place.region))
            classes, instances = slide.pseudo(place.region)
            classes = with_doubts(classes, instances)
            classes, instances = slide.lay_over(place.region, classes, instances)
            classes = with_rims(classes, instances, mpp=slide.tiles.mpp)
            self.write(0, place, classes, instances)

    def image(self, place: Place) -> NDArray[np.uint8]:
        """RGB uint8 (3, y, x)."""
        image: NDArray[np.uint8] = np.load(self._file("images", place))
        return image

    def labels(self, round_: int, place: Place) -> NDArray[Any]:
        """Classes (255 ignore) of a round, and what the goal keeps of instances, (2, y, x)."""
        labels: NDArray[Any] = np.load(self._file(f"labels_{round_}", place))
        return labels

    def has(self, round_: int, place: Place) -> bool:
        """Whether a round has labelled a region."""
        return self._file(f"labels_{round_}", place).exists()

    def write(
        self, round_: int, place: Place, classes: NDArray[Any], instances: NDArray[Any]
    ) -> None:
        """Keep the classes and instances (y, x) that a round gives a region."""
        kept = self.goal.keep(instances)
        labels = np.stack([classes, kept]).astype(kept.dtype)
        _write(self._file(f"labels_{round_}", place), labels)

    def _file(self, name: str, place: Place) -> Path:
        return self.folder / name / f"{place.number}.npy"


def _specimen(specimens: Specimens, region: Region) -> int:
    """Number of the specimen that the centre of a region lies in."""
    y, x = region.y + region.height // 2, region.x + region.width // 2
    return int(specimens.around(Region(y, x, 1, 1))[0, 0])


def _write(file: Path, values: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    ahead = file.with_suffix(".new")
    with ahead.open("wb") as stream:
        np.save(stream, values)
    ahead.replace(file)


Drawn = tuple[int, Region, bool]


def _by_tissue(
    cohort: list[Masked], count: int, side_px: int, rng: np.random.Generator
) -> Iterator[Drawn]:
    """Regions of slide after slide: no tile of a slide comes again before all others have."""
    sampler = Sampler(tuple(slide.tiles for slide in cohort), 0)
    turns = [_tiles(slide, rng) for slide in cohort]
    order = rng.permutation(len(cohort))
    for index in range(count):
        number = int(order[index % len(cohort)])
        row, col, again = next(turns[number])
        tile = cohort[number].tiles.grid.tile(row, col)
        # a region shows the tile whole, and later another part of what is around it
        wander = 0.5 if again or side_px < tile.height else 0.0
        y, x = rng.uniform(0.5 - wander, 0.5 + wander, 2)
        at = tile.y + int(y * tile.height), tile.x + int(x * tile.width)
        yield number, sampler.around(number, *at, side_px=side_px), False


def _tiles(slide: Masked, rng: np.random.Generator) -> Iterator[tuple[int, int, bool]]:
    """Row and column of the tissue tiles, those with more tissue rather first; then again."""
    rows, cols = np.nonzero(slide.tiles.kept)
    share = slide.tiles.tissue_share[rows, cols].astype(np.float64) + 0.1
    again = False
    while True:
        for pick in rng.choice(len(rows), len(rows), replace=False, p=share / share.sum()):
            yield int(rows[pick]), int(cols[pick]), again
        again = True


def _by_annotation(
    cohort: list[Masked], count: int, side_px: int, rng: np.random.Generator
) -> Iterator[Drawn]:
    sampler = Sampler(tuple(slide.tiles for slide in cohort), 0)
    known = [(number, slide.fields) for number, slide in enumerate(cohort) if slide.fields]
    for index in range(count if known else 0):
        number, fields = known[index % len(known)]
        yield number, sampler.around(number, *fields.draw(rng), side_px=side_px), True
