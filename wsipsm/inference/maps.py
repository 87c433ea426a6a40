"""The maps of a slide's network, an OME-NGFF image on the pixels of the tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr

from wsipsm.io import ngff
from wsipsm.io.pyramid import FACTOR, create_levels
from wsipsm.io.tiles import Tiles
from wsipsm.types import CLASS_COLOURS

NAME = "maps.zarr"
"""Its place in the product of stage 6."""

HEIGHT = "height"
WHITE = (255, 255, 255)
COLOURS = CLASS_COLOURS[:-1]
"""Of the classes: without black, which a sum of channels does not show."""


def create_maps(folder: Path, slide: Tiles, classes: Sequence[str]) -> tuple[zarr.Array[Any], ...]:
    """Create the empty levels of the maps, uint8 (c, y, x), or open those of a killed run.

    A channel for each class holds its probability, the last one the height, 0 to 255 for 0 to 1.
    """
    names = [*classes, HEIGHT]
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(classes))]
    group = ngff.open_group(folder / NAME, "a")
    levels = create_levels(group, slide.grid, fill=0, codec="zstd", channels=len(names))
    scales = ngff.multiscales(
        slide.slide, axes="cyx", mpp=slide.mpp, levels=len(levels), factor=FACTOR
    )
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [scales],
        "omero": ngff.shown_channels(names, [*colours, WHITE], hidden=[HEIGHT]),
    }
    return tuple(levels)
