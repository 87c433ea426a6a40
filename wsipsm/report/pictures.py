"""Arrays to pictures: colours, overlays and outlines; and a picture to the text of its address."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from wsipsm.io.tiles import Tiles
from wsipsm.types import CLASS_COLOURS, Region

Colours = Sequence[tuple[int, int, int]]
Box = tuple[float, float, float, float]

DETAIL_PX = 560
OVERSAMPLING = 2
TISSUE_COLOUR = (0, 120, 70)
BOX_COLOUR = (200, 30, 30)
CASING_COLOUR = (255, 255, 255)
IGNORED_COLOUR = (120, 120, 120)
MAP_COLOURS = "magma"
WEBP = {"quality": 80, "method": 2}
"""Half the bytes of a JPEG of the same look, in time that a report can spare."""


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: its address (a data URI), and its size in pixels."""

    uri: str
    width: int
    height: int


def colour_of(index: int, colours: Colours = CLASS_COLOURS) -> tuple[int, int, int]:
    """Red, green, blue of a class by its index."""
    return colours[index % len(colours)]


def as_picture(image: NDArray[np.uint8]) -> Picture:
    """A WebP of an image uint8 (y, x, 3)."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", **WEBP)
    return Picture(data_uri(stream.getvalue(), "webp"), image.shape[1], image.shape[0])


def data_uri(content: bytes, kind: str) -> str:
    """The bytes of a picture as an address that needs no network."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def with_tissue(
    image: NDArray[np.uint8], tissue: NDArray[np.bool_], boxes: Sequence[Box]
) -> NDArray[np.uint8]:
    """Draw the border of the tissue and boxes on an overview.

    Parameters
    ----------
    image
        uint8 (3, y, x).
    tissue
        bool (y, x), of any size.
    boxes
        Left, top, right, bottom of each as shares of width and height.

    Returns
    -------
    NDArray[np.uint8]
        (y, x, 3).
    """
    height, width = image.shape[1:]
    soft = Image.fromarray(tissue.astype(np.uint8) * 255)
    mask = np.asarray(soft.resize((width, height), Image.Resampling.BICUBIC)) > 127
    border = mask & ~ndimage.binary_erosion(mask, iterations=max(2, max(height, width) // 220))
    shown = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    shown[border] = TISSUE_COLOUR
    picture = Image.fromarray(shown)
    for box in boxes:
        corners = [share * size for share, size in zip(box, (width, height) * 2, strict=True)]
        ImageDraw.Draw(picture).rectangle(
            corners, outline=BOX_COLOUR, width=max(2, max(height, width) // 220)
        )
    drawn: NDArray[np.uint8] = np.asarray(picture)
    return drawn


def map_colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours, uint8 (y, x, 3), of a map (y, x) in [0, 1]."""
    colours: NDArray[np.uint8] = colormaps[MAP_COLOURS](values, bytes=True)[..., :3]
    return np.ascontiguousarray(colours)


def with_classes(
    image: NDArray[np.uint8], shares: NDArray[np.float32], colours: Colours = CLASS_COLOURS
) -> NDArray[np.uint8]:
    """Lay the colours of classes over a greyed image.

    Parameters
    ----------
    image
        uint8 (3, y, x).
    shares
        Share of each class in a pixel, (classes, y, x), 0 to 1.

    Returns
    -------
    NDArray[np.uint8]
        (y, x, 3).
    """
    grey = image.mean(axis=0, dtype=np.float32)
    total = shares.sum(axis=0)
    table = np.array([colour_of(i, colours) for i in range(len(shares))], np.float32)
    mixed = np.einsum("kyx,kc->yxc", shares, table) / np.maximum(total, 1e-6)[..., None]
    weight = 0.85 * np.sqrt(np.clip(total, 0, 1))[..., None]
    faded = (0.6 * grey + 0.4 * 255)[..., None]
    laid: NDArray[np.float32] = np.clip(faded * (1 - weight) + mixed * weight, 0, 255)
    return laid.astype(np.uint8)


def class_mask(labels: NDArray[np.uint8], colours: Colours = CLASS_COLOURS) -> NDArray[np.uint8]:
    """Colours, uint8 (y, x, 3), of a pseudo mask (y, x): background white, unlabelled grey."""
    table = np.full((256, 3), 255, np.uint8)
    table[1:255] = [colour_of(i, colours) for i in range(254)]
    table[255] = IGNORED_COLOUR
    coloured: NDArray[np.uint8] = table[labels]
    return coloured


def enlarged(image: NDArray[np.uint8], *, smooth: bool = True) -> NDArray[np.uint8]:
    """An image (y, x, 3) brought to the size of detail views."""
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    size = _detail_size(image.shape[0], image.shape[1])
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, method))


def with_outlines(
    image: NDArray[np.uint8],
    outlines: NDArray[np.object_],
    classes: NDArray[np.int64],
    *,
    box: Region,
    colours: Colours = CLASS_COLOURS,
) -> NDArray[np.uint8]:
    """Draw outlines (pixels of the box, x and y), cased in white, over a detail view (y, x, 3)."""
    height, width = image.shape[:2]
    size = (width * OVERSAMPLING, height * OVERSAMPLING)
    large = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(large)
    zoom = np.array([size[0] / box.width, size[1] / box.height])
    for outline, number in zip(outlines, classes, strict=True):
        line = [(float(x), float(y)) for x, y in np.asarray(outline.exterior.coords) * zoom]
        draw.line(line, fill=CASING_COLOUR, width=4 * OVERSAMPLING, joint="curve")
        draw.line(line, fill=colour_of(int(number), colours), width=2 * OVERSAMPLING, joint="curve")
    return np.asarray(large.resize((width, height), Image.Resampling.BOX))


def box_shares(tiles: Tiles, box: Region) -> Box:
    """Left, top, right, bottom of a box in working pixels, as shares of the slide."""
    width, height = tiles.grid.width_px, tiles.grid.height_px
    right, bottom = box.x + box.width, box.y + box.height
    return box.x / width, box.y / height, right / width, bottom / height


def _detail_size(height: int, width: int) -> tuple[int, int]:
    factor = DETAIL_PX / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))
