"""TIFF and OME-TIFF by tifffile: tiles, strips, pyramids of sub-IFDs or of pages."""

from __future__ import annotations

import math
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io.source import (
    UNIT_UM,
    Facts,
    Resolution,
    on_white,
    tiff_resolution,
    unfit,
    unopenable,
    unreadable,
)
from wsipsm.types import Region

HELD_BYTES = 256 << 20
"""A level not stored in tiles is decoded once and held, up to this size."""

BLOCK_BYTES = 1 << 30
"""The largest block of a file that is decoded in one go."""


class TiffSource:
    """A file opened by tifffile.

    Raises
    ------
    DataError
        The file cannot be opened, holds something else than 8-bit RGB pixels of one plane, or
        fails while reading.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        try:
            self._series = main_series(self._file)
            check_pixels(path, self._series)
            self._levels = [self._array(index) for index in range(len(self._series.levels))]
            self.facts = self._read_facts()
        except DataError:
            self._file.close()
            raise
        except Exception as error:  # a damaged file fails in any of tifffile's ways
            self._file.close()
            raise unopenable(path, error) from None
        self._planar = self._series.axes == "SYX"
        page = self._series.keyframe
        self._premultiplied = tuple(map(int, page.extrasamples)) == (1,)
        self._held: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def read(self, level: int, region: Region) -> NDArray[np.uint8]:
        """Pixels uint8 (height, width, 3) of a region inside a level."""
        index = (slice(None), *region.slices) if self._planar else region.slices
        try:
            pixels = np.asarray(self._pixels(level)[index])
        except MemoryError:
            raise
        except Exception as error:  # decoders raise errors of every kind
            raise unreadable(self._path, error) from None
        if self._planar:
            pixels = np.moveaxis(pixels, 0, -1)
        return on_white(pixels, premultiplied=self._premultiplied)

    def close(self) -> None:
        """Close the file."""
        self._held.clear()
        self._file.close()

    def _pixels(self, level: int) -> Any:
        array = self._levels[level]
        if self._series.levels[level].keyframe.is_tiled or array.nbytes > HELD_BYTES:
            return array
        with self._lock:
            if level not in self._held:
                self._held[level] = np.asarray(array[:])
            return self._held[level]

    def _array(self, level: int) -> Any:
        """Array of a level that decodes what is read: mapped if it is not compressed."""
        series = self._series.levels[level]
        page = series.keyframe
        if page.is_memmappable and not page.is_tiled and isinstance(page.index, int):
            return tifffile.memmap(self._path, page=page.index, mode="r")
        array = zarr.open_array(self._series.aszarr(level=level, fillvalue=255), mode="r")
        if math.prod(array.chunks) > BLOCK_BYTES:
            size = math.prod(array.chunks) / 2**30
            why = f"its pixels are one compressed block of {size:.1f} GiB"
            raise DataError(f"{self._path}: {why}; save it as a tiled TIFF")
        return array

    def _read_facts(self) -> Facts:
        levels = [size_of(level) for level in self._series.levels]
        height, width = levels[0]
        number = [one is self._series for one in self._file.series].index(True)
        resolution, objective = ome_facts(self._file.ome_metadata, number)
        page = self._series.keyframe
        return Facts(
            levels_px=tuple(levels),
            tile_px=tuple(
                (level.keyframe.chunks[0], level.keyframe.chunks[1])
                for level in self._series.levels
            ),
            vendor="ome-tiff" if self._file.is_ome else "tiff",
            objective=objective,
            bounds=(0, 0, width, height),
            resolution=resolution or _tag_resolution(page),
        )


def is_tiff(path: Path) -> bool:
    """Whether a file begins like a TIFF or a BigTIFF."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_ome(path: Path) -> bool:
    """Whether a file is an OME-TIFF."""
    try:
        with tifffile.TiffFile(path) as file:
            return bool(file.is_ome)
    except Exception:  # not a TIFF, or one that tifffile does not understand
        return False


def check_tiff(path: Path) -> None:
    """Refuse a TIFF that holds something else than 8-bit RGB pixels of one plane.

    Other readers turn such pixels into RGB without a word. A file that tifffile does not
    understand passes.

    Raises
    ------
    DataError
        With the reason.
    """
    try:
        with tifffile.TiffFile(path) as file:
            check_pixels(path, main_series(file), codec=False)
    except DataError:
        raise
    except Exception:  # the other reader shall judge
        return


def main_series(file: tifffile.TiffFile) -> Any:
    """Choose the series of the largest image: labels and macros are others."""
    series: list[Any] = list(file.series)
    return max(series, key=lambda one: math.prod(size_of(one)))


def size_of(series: Any) -> tuple[int, int]:
    """Height and width of a series or of a level."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return int(sizes.get("Y", 1)), int(sizes.get("X", 1))


def check_pixels(path: Path, series: Any, *, codec: bool = True) -> None:
    """Refuse a series that is not 8-bit RGB of one plane, or of an unknown compression.

    Raises
    ------
    DataError
        With the reason.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    page = series.keyframe
    if sizes.get("Z", 1) > 1:
        raise unfit(path, f"a z-stack of {sizes['Z']} planes")
    if sizes.get("T", 1) > 1:
        raise unfit(path, f"a time series of {sizes['T']} frames")
    if sizes.get("C", 1) > 1:
        raise unfit(path, f"{sizes['C']} separate channels, as of fluorescence")
    if series.dtype != np.uint8:
        bits = page.bitspersample
        raise unfit(path, f"{bits}-bit pixels ({series.dtype})")
    if sizes.get("S", 1) not in (3, 4):
        raise unfit(path, f"{sizes.get('S', 1)} sample(s) in a pixel, not red, green and blue")
    if series.axes not in ("YXS", "SYX"):
        raise unfit(path, f"a stack of images (axes {series.axes})")
    if page.photometric not in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR):
        raise unfit(path, "colours are not red, green and blue")
    if codec and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise unopenable(path, f"compression {int(page.compression)} is not known")


def _open(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except Exception as error:  # a damaged file fails in any of tifffile's ways
        raise unopenable(path, error) from None


def _tag_resolution(page: Any) -> Resolution | None:
    tags = {name: page.tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")}
    if any(tag is None for tag in tags.values()):
        return None
    x, y = (
        tags[name].value[0] / max(tags[name].value[1], 1) for name in ("XResolution", "YResolution")
    )
    unit = {2: "inch", 3: "centimeter"}.get(int(tags["ResolutionUnit"].value), "none")
    return tiff_resolution(unit, x, y)


def ome_facts(text: str | None, index: int) -> tuple[Resolution | None, float | None]:
    """Resolution and objective power of image number `index` of an OME-XML text."""
    if not text:
        return None, None
    root = ET.fromstring(text)
    images = root.findall("{*}Image")
    if index >= len(images):
        return None, None
    pixels = images[index].find("{*}Pixels")
    x, y = (_physical_size(pixels, axis) for axis in "XY") if pixels is not None else (None, None)
    resolution = Resolution(x, y or x, "OME-XML") if x else None
    return resolution, _objective(root, images[index])


def _physical_size(pixels: ET.Element, axis: str) -> float | None:
    unit = UNIT_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    try:
        size = float(pixels.get(f"PhysicalSize{axis}", ""))
    except ValueError:
        return None
    return size * unit if unit and size > 0 else None


def _objective(root: ET.Element, image: ET.Element) -> float | None:
    settings = image.find("{*}ObjectiveSettings")
    wanted = settings.get("ID") if settings is not None else None
    for objective in root.iter():
        if objective.tag.endswith("}Objective") and wanted in (None, objective.get("ID")):
            power = objective.get("NominalMagnification")
            return float(power) if power else None
    return None
