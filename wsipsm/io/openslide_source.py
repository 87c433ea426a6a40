"""Slides that OpenSlide reads: Aperio, Hamamatsu, Leica, MIRAX, Philips, DICOM and others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io.source import (
    DICOM,
    GENERIC_TIFF,
    Facts,
    Resolution,
    bounds_of,
    on_white,
    tiff_resolution,
    unfit,
    unopenable,
)
from wsipsm.types import Region

CACHE_BYTES = 64 << 20
ANCHOR_PX = 512
SALVAGE_PX = 256
UNFIT = {
    "TotalPixelMatrixFocalPlanes": "a z-stack",
    "BitsAllocated": "pixels of more than 8 bits",
    "PlanarConfiguration": "grey pixels, or channels of fluorescence",
}
"""What a DICOM slide is whose attribute OpenSlide refuses."""

MIRAX_FLUORESCENCE = "SLIDE_TYPE_FLUORESCENCE"
MPP_SOURCES = {GENERIC_TIFF: "TIFF resolution", DICOM: "DICOM PixelSpacing"}


class OpenSlideSource:
    """A file opened by OpenSlide.

    Raises
    ------
    DataError
        The file cannot be opened, or is a slide of fluorescence.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slide = self._open()
        if self._slide.properties.get("mirax.GENERAL.SLIDE_TYPE") == MIRAX_FLUORESCENCE:
            self.close()
            raise unfit(path, "channels of fluorescence")
        self.facts = _facts(self._slide)
        self.unreadable: dict[tuple[int, Region], str] = {}

    def read(self, level: int, region: Region) -> NDArray[np.uint8]:
        """Pixels uint8 (height, width, 3) of a region inside a level."""
        downsample = float(self._slide.level_downsamples[level])
        if downsample.is_integer():
            x, y = round(region.x * downsample), round(region.y * downsample)
            return self._at(x, y, level, region.height, region.width)
        return self._anchored(level, region, downsample)

    def _anchored(self, level: int, region: Region, downsample: float) -> NDArray[np.uint8]:
        """Read from fixed places of the level.

        OpenSlide takes whole level-0 coordinates, and blends neighbours where these fall between
        the pixels of a level. Starting every read at a multiple of `ANCHOR_PX` makes that blend
        (less than half a level-0 pixel) the same whatever region is asked for.
        """
        out = np.empty((region.height, region.width, 3), np.uint8)
        bottom, right = region.y + region.height, region.x + region.width
        for top in range(region.y - region.y % ANCHOR_PX, bottom, ANCHOR_PX):
            for left in range(region.x - region.x % ANCHOR_PX, right, ANCHOR_PX):
                y, y_end = max(top, region.y), min(top + ANCHOR_PX, bottom)
                x, x_end = max(left, region.x), min(left + ANCHOR_PX, right)
                block = self._at(
                    round(left * downsample),
                    round(top * downsample),
                    level,
                    y_end - top,
                    x_end - left,
                )
                rows, cols = (
                    slice(y - region.y, y_end - region.y),
                    slice(x - region.x, x_end - region.x),
                )
                out[rows, cols] = block[y - top :, x - left :]
        return out

    def _at(self, x: int, y: int, level: int, height: int, width: int) -> NDArray[np.uint8]:
        slide = self._slide
        try:
            return on_white(np.asarray(slide.read_region((x, y), level, (width, height))))
        except (openslide.OpenSlideError, OSError) as error:
            self._slide = self._open()  # OpenSlide refuses all further reads after an error
            return self._salvaged(x, y, level, Region(0, 0, height, width), error)

    def _salvaged(
        self, x: int, y: int, level: int, region: Region, error: Exception
    ) -> NDArray[np.uint8]:
        """Read what can be read: blocks of at most `SALVAGE_PX`, those that fail white."""
        height, width = region.height, region.width
        downsample = self._slide.level_downsamples[level]
        out = np.full((height, width, 3), 255, np.uint8)
        if max(height, width) <= SALVAGE_PX:
            place = Region(round(y / downsample), round(x / downsample), height, width)
            self.unreadable[level, place] = str(error)
            return out
        for top in range(0, height, SALVAGE_PX):
            for left in range(0, width, SALVAGE_PX):
                size = min(SALVAGE_PX, height - top), min(SALVAGE_PX, width - left)
                at = round(x + left * downsample), round(y + top * downsample)
                out[top : top + size[0], left : left + size[1]] = self._at(*at, level, *size)
        return out

    def _open(self) -> openslide.OpenSlide:
        try:
            slide = openslide.OpenSlide(self._path)
        except (openslide.OpenSlideError, OSError) as error:
            raise _refusal(self._path, error) from None
        slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        return slide

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


def detect(path: Path) -> str | None:
    """Vendor of a file as OpenSlide knows it, or None where it is no slide to OpenSlide."""
    try:
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise unopenable(path, error) from None
    return vendor


def _refusal(path: Path, error: Exception) -> DataError:
    for attribute, why in UNFIT.items():
        if attribute in str(error):
            return unfit(path, why)
    return unopenable(path, error)


def read_associated(path: Path, name: str) -> NDArray[np.uint8]:
    """Pixels uint8 (height, width, 3) of an image that a file holds beside the slide.

    Raises
    ------
    DataError
        The image cannot be read.
    """
    try:
        with openslide.OpenSlide(path) as slide:
            return on_white(np.asarray(slide.associated_images[name]))
    except (openslide.OpenSlideError, OSError) as error:
        raise unopenable(path, error) from None


def series_of(path: Path) -> str:
    """Name that all files of one DICOM slide share."""
    try:
        with openslide.OpenSlide(path) as slide:
            return str(slide.properties.get("dicom.SeriesInstanceUID", ""))
    except (openslide.OpenSlideError, OSError) as error:
        raise _refusal(path, error) from None


def _facts(slide: openslide.OpenSlide) -> Facts:
    properties = slide.properties
    width, height = slide.dimensions
    levels = tuple((h, w) for w, h in slide.level_dimensions)
    return Facts(
        levels_px=levels,
        tile_px=tuple(_tile(properties, level) for level in range(len(levels))),
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        objective=_number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        bounds=bounds_of(properties, width, height),
        resolution=resolution_of(properties),
        associated=tuple(slide.associated_images),
    )


def resolution_of(properties: Mapping[str, str]) -> Resolution | None:
    """Microns per pixel from OpenSlide's properties, or from the TIFF tags among them."""
    x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
    y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    if x and y:
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "")
        return Resolution(x, y, MPP_SOURCES.get(vendor, openslide.PROPERTY_NAME_MPP_X))
    unit = properties.get("tiff.ResolutionUnit", "")
    across = _number(properties.get("tiff.XResolution")) or 0.0
    return tiff_resolution(unit, across, _number(properties.get("tiff.YResolution")) or across)


def _tile(properties: Mapping[str, str], level: int) -> tuple[int, int]:
    height, width = (
        _number(properties.get(f"openslide.level[{level}].tile-{side}")) or 256
        for side in ("height", "width")
    )
    return int(height), int(width)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
