"""A model that sees each specimen of a slide on its own scale, and what it has to know for that."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsipsm.inference.joined import join
from wsipsm.io.runs import to_disk
from wsipsm.io.sample import sample_regions
from wsipsm.io.specimens import Specimens, specimens_of
from wsipsm.io.tiles import WHITE, Tiles
from wsipsm.models.segmenter import Segmented, Segmenter
from wsipsm.models.unet import Statistics
from wsipsm.types import Region

SAMPLE, SAMPLE_OF_SEVERAL = 16, 8
"""Most squares that a model looks at: of a slide with one specimen, and of each of several. Eight
take no more memory than a batch of tiles, and all workers may look at once."""


@dataclass(frozen=True)
class Looks:
    """What a model knows of the specimens of a slide: found when it is asked for, kept in a folder.

    Workers may look at one specimen at the same time: each finds the same.
    """

    slide: Tiles
    specimens: Specimens
    folder: Path

    def of(self, number: int, segmenter: Segmenter) -> Statistics:
        """Statistics of a specimen."""
        file = self.folder / f"look_{number}.npz"
        if not file.exists():
            ahead = file.with_name(f"{file.stem}_{uuid.uuid4().hex}")
            with ahead.open("wb") as stream:
                arrays: dict[str, Any] = dict(segmenter.look(self.squares(number)))
                np.savez(stream, **arrays)
            to_disk(ahead)
            ahead.replace(file)
        with np.load(file) as known:
            return dict(known)

    def squares(self, number: int) -> NDArray[np.uint8]:
        """Squares of a specimen, uint8 RGB (n, 3, y, x), white where there is another."""
        if self.specimens.count == 1:
            regions = sample_regions(self.slide, count=SAMPLE)
        else:
            among = self.specimens.numbers == number
            regions = sample_regions(self.slide, count=SAMPLE_OF_SEVERAL, among=among)
        squares = []
        for region in regions:
            image = self.slide.read(region)
            image[:, self.specimens.around(region) != number] = WHITE
            squares.append(image)
        return np.stack(squares)


def look_at(slide: Tiles, segmenter: Segmenter, folder: Path) -> Looks:
    """Look at the first specimen of a slide; a model that needs to know nothing sees one."""
    looks = Looks(slide, specimens_of(slide), folder)
    if looks.of(0, segmenter):
        return looks
    return Looks(slide, looks.specimens.as_one(), folder)


class OnOwnScale:
    """A segmenter that sees each specimen with its own statistics.

    It is for some tiles of a slide: what it knows of their specimens stays in memory. A border of
    `halo_px` around each tile is no part of it.
    """

    def __init__(self, segmenter: Segmenter, looks: Looks, *, halo_px: int) -> None:
        self._segmenter, self._looks = segmenter, looks
        self._halo_px = halo_px
        self._knowing: dict[int, Segmenter] = {}

    def __call__(self, images: NDArray[np.uint8], regions: Sequence[Region]) -> list[Segmented]:
        """Segment uint8 RGB tiles (n, 3, y, x); each as often as there are specimens in it."""
        around = self._looks.specimens.around
        numbers = [around(region) for region in regions]
        within = [np.unique(around(region.grown(-self._halo_px))).tolist() for region in regions]
        found: list[dict[int, Segmented]] = [{} for _ in regions]
        for number in sorted({number for each in within for number in each}):
            which = [index for index, each in enumerate(within) if number in each]
            segmenter = self._of(number)
            cells = segmenter(images[which], [regions[index] for index in which])
            for index, own in zip(which, cells, strict=True):
                found[index][number] = own
        return [
            next(iter(each.values())) if (own == own[0, 0]).all() else join(each, own)
            for each, own in zip(found, numbers, strict=True)
        ]

    def _of(self, number: int) -> Segmenter:
        if number not in self._knowing:
            known = self._looks.of(number, self._segmenter)
            self._knowing[number] = self._segmenter.knowing(known)
        return self._knowing[number]
