"""What a reader of slide files offers: facts, and pixels of a level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.types import Region

Bounds = tuple[int, int, int, int]

GENERIC_TIFF, APERIO, DICOM = "generic-tiff", "aperio", "dicom"
"""What OpenSlide calls a tiled TIFF of no vendor, and slides of these."""

OME_TIFF = "ome-tiff"
"""What `Facts` call an OME-TIFF, which OpenSlide does not know."""

UNIT_UM = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "nm": 1e-3,
    "Å": 1e-4,
    "in": 25400.0,
    "inch": 25400.0,
    "centimeter": 1e4,
}
"""Microns in one unit, as OME-XML and TIFF call it."""


@dataclass(frozen=True)
class Resolution:
    """Microns per pixel along x and y, and where a file says so."""

    x: float
    y: float
    source: str


@dataclass(frozen=True)
class Facts:
    """What a file says about itself.

    Attributes
    ----------
    levels_px, tile_px
        Height and width of each level, the largest first, and of the blocks it is stored in.
    vendor, objective
        Format or scanner, and the power of the objective lens if it is known.
    bounds
        Level-0 x, y, width, height of the scanned area.
    resolution
        None where the file does not say.
    associated
        Names of images beside the slide, such as its label.
    """

    levels_px: tuple[tuple[int, int], ...]
    tile_px: tuple[tuple[int, int], ...]
    vendor: str
    objective: float | None
    bounds: Bounds
    resolution: Resolution | None
    associated: tuple[str, ...] = ()


class Source(Protocol):
    """An open file. Reads may come from several threads at once.

    Attributes
    ----------
    unreadable
        What could not be decoded so far, and is white: level and region in it, and the reason.
    """

    facts: Facts
    unreadable: dict[tuple[int, Region], str]

    def read(self, level: int, region: Region) -> NDArray[np.uint8]:
        """Pixels uint8 (height, width, 3) of a region inside a level."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def unopenable(path: Path, why: object) -> DataError:
    """Say that a file cannot be opened."""
    return DataError(f"{path}: cannot be opened ({_line(why)}); {_REMEDY}")


def unreadable(path: Path, why: object, *, share: float) -> DataError:
    """Say that too much of a file cannot be read although it was opened."""
    return DataError(f"{path}: {share:.1%} of it cannot be read ({_line(why)}); {_REMEDY}")


def unfit(path: Path, why: str) -> DataError:
    """Say that a file holds something else than 8-bit RGB pixels of one plane."""
    return DataError(f"{path}: {why}; export it as an 8-bit RGB image of brightfield")


_REMEDY = "copy it again, or take it out of the slide sheet"


def _line(why: object) -> str:
    text = " ".join(str(why).split()).rstrip(".;")
    return text[:200] or type(why).__name__


def tiff_resolution(unit: str, x: float, y: float) -> Resolution | None:
    """Resolution from TIFF tags: pixels per inch or centimetre; None where they say nothing."""
    if unit.lower() not in UNIT_UM or not (x > 0 and y > 0):
        return None
    microns = UNIT_UM[unit.lower()]
    return Resolution(microns / x, microns / y, "TIFF resolution")


def bounds_of(properties: Mapping[str, str], width_px: int, height_px: int) -> Bounds:
    """Read the scanned area (x, y, width, height) from OpenSlide's properties, inside the canvas.

    The whole canvas where they name none, or one that does not meet the canvas.
    """
    whole = (0, 0, width_px, height_px)
    try:
        x, y, w, h = (
            int(properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height")
        )
    except (KeyError, ValueError):
        return whole
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + w, width_px), min(y + h, height_px)
    if right <= left or bottom <= top:
        return whole
    return left, top, right - left, bottom - top


def on_white(pixels: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Lay pixels uint8 (height, width, 3 or 4) with an opacity in the fourth place on white."""
    opaque = np.ascontiguousarray(pixels[..., :3])
    if pixels.shape[-1] == 3 or pixels[..., 3].min() == 255:
        return opaque
    colour, alpha = opaque.astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    if not premultiplied:
        colour = (colour * alpha + 127) // 255
    return np.asarray(np.minimum(colour + (255 - alpha), 255), np.uint8)
