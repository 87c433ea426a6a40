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
        y = tile.y + int(rng.integers(tile.height))
        x = tile.x + int(rng.integers(tile.width))
        return number, self.around(number, y, x, side_px=side_px)

    def around(self, number: int, y: int, x: int, *, side_px: int) -> Region:
        """The square region with a pixel in its middle, shifted into the image as it fits."""
        grid = self.slides[number].grid
        top = max(0, min(y - side_px // 2, grid.height_px - side_px))
        left = max(0, min(x - side_px // 2, grid.width_px - side_px))
        return Region(top, left, side_px, side_px)

    def image(self, rng: np.random.Generator, *, side_px: int) -> NDArray[np.uint8]:
        """One training tile, uint8 (3, side_px, side_px)."""
        number, region = self.draw(rng, side_px=side_px)
        return self.slides[number].read(region)
