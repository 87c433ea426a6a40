"""Training tiles drawn over a cohort: every slide counts alike, tissue decides within one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsipsm.io.tiles import Tiles
from wsipsm.types import Region


@dataclass(frozen=True)
class Sampler:
    """Draws regions of the cohort; `slides` are the usable ones, in the order given."""

    slides: tuple[Tiles, ...]
    seed: int

    def generator(self, step: int, index: int) -> np.random.Generator:
        """The generator of one sample, the same in any process."""
        return np.random.default_rng([self.seed, step, index])

    def draw(self, rng: np.random.Generator, *, side_px: int) -> tuple[int, Region]:
        """Index of a slide, and a square region centred somewhere in one of its tissue tiles.

        Slides are drawn evenly, tiles by their share of tissue. The region may leave the
        image.
        """
        number = int(rng.integers(len(self.slides)))
        tiles = self.slides[number]
        rows, cols = np.nonzero(tiles.kept)
        share = tiles.tissue_share[rows, cols].astype(np.float64)
        pick = int(rng.choice(len(rows), p=share / share.sum()))
        tile = tiles.grid.tile(int(rows[pick]), int(cols[pick]))
        y = tile.y + int(rng.integers(tile.height)) - side_px // 2
        x = tile.x + int(rng.integers(tile.width)) - side_px // 2
        return number, self._inside(tiles, Region(y, x, side_px, side_px))

    def _inside(self, tiles: Tiles, region: Region) -> Region:
        """The region shifted into the image as far as it fits."""
        y = max(0, min(region.y, tiles.grid.height_px - region.height))
        x = max(0, min(region.x, tiles.grid.width_px - region.width))
        return Region(y, x, region.height, region.width)

    def image(self, rng: np.random.Generator, *, side_px: int) -> NDArray[np.uint8]:
        """One training tile, uint8 (3, side_px, side_px)."""
        number, region = self.draw(rng, side_px=side_px)
        return self.slides[number].read(region)
