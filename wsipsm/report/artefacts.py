"""Which tiles of a slide show artefacts: counted for the tables, and tinted on the overview."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsipsm.io.tiles import Tiles
from wsipsm.types import CLASS_COLOURS

COLOURS = dict(zip(("pen", "fold", "bubble", "blur"), CLASS_COLOURS[2:6], strict=True))
"""Artefact: red, green, blue of its tiles."""

FLAGGED = {"pen": 0.1, "fold": 0.1, "bubble": 0.1, "blur": 0.6}
"""Artefact: the score above which the report shows a tile. Whether it is excluded is a setting."""

OPACITY = 0.45
CROSS_COLOUR = (120, 0, 0)


def flagged(tiles: Tiles) -> dict[str, NDArray[np.bool_]]:
    """Tiles with tissue that show an artefact, bool (rows, cols), for each artefact."""
    tissue = tiles.kept | tiles.excluded
    return {name: tissue & (tiles.artefacts[name] > limit) for name, limit in FLAGGED.items()}


def with_artefacts(image: NDArray[np.uint8], tiles: Tiles) -> NDArray[np.uint8]:
    """Tint the tiles that show artefacts, and cross out those that are excluded.

    Parameters
    ----------
    image
        Overview of the slide, uint8 (3, y, x).
    tiles
        A tile with several artefacts has the colour of the last of `COLOURS`.

    Returns
    -------
    NDArray[np.uint8]
        (y, x, 3).
    """
    base = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    tinted, found = base.copy(), flagged(tiles)
    draw = ImageDraw.Draw(tinted)
    for name, colour in COLOURS.items():
        for tile in np.argwhere(found[name]):
            draw.rectangle(_box(tiles, tile, base.size), fill=colour)
    shown = Image.blend(base, tinted, OPACITY)
    draw = ImageDraw.Draw(shown)
    for tile in np.argwhere(tiles.excluded):
        left, top, right, bottom = _box(tiles, tile, base.size)
        draw.line((left, top, right, bottom), fill=CROSS_COLOUR, width=2)
        draw.line((left, bottom, right, top), fill=CROSS_COLOUR, width=2)
    return np.asarray(shown)


def _box(
    tiles: Tiles, tile: NDArray[np.int64], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a tile on an overview of (width, height)."""
    where = tiles.grid.tile(int(tile[0]), int(tile[1]))
    per_x, per_y = size[0] / tiles.grid.width_px, size[1] / tiles.grid.height_px
    right, bottom = where.x + where.width, where.y + where.height
    left, top = where.x * per_x, where.y * per_y
    return left, top, max(left, right * per_x - 1), max(top, bottom * per_y - 1)
