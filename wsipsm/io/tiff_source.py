"""TIFF and OME-TIFF by tifffile: tiles, strips, pyramids of sub-IFDs or of pages."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io.ome_xml import ome_facts
from wsipsm.io.source import (
    APERIO,
    OME_TIFF,
    Facts,
    Resolution,
    on_white,
    tiff_resolution,
    unfit,
    unopenable,
)
from wsipsm.io.tiff_level import TiffLevel, Unreadable, block_of, is_premultiplied
from wsipsm.types import Region

HELD_BYTES = 256 << 20
"""A level not stored in tiles is decoded once and held, up to this size."""

BLOCK_BYTES = 1 << 30
"""The largest block of a file that is decoded in one go."""

TILE_CODECS = (7, 33003, 33004, 33005, 34712)
"""Numbers of JPEG and JPEG 2000 in TIFF: `open_tiles` decodes these."""

APERIO_YCBCR = 33003
"""Compression by which Aperio means luma and chroma in JPEG 2000; others mean RGB by it."""


class TiffSource:
    """Levels of a TIFF, decoded by tifffile and imagecodecs; `open_tiff` makes it."""

    def __init__(self, path: Path, facts: Facts, levels: Sequence[_Level]) -> None:
        self._path, self.facts, self._levels = path, facts, levels
        self.unreadable: dict[tuple[int, Region], str] = {}

    def read(self, level: int, region: Region) -> NDArray[np.uint8]:
        """Pixels uint8 (height, width, 3) of a region inside a level."""
        pixels, unreadable = self._levels[level].read(region)
        self.unreadable.update({(level, block.region): block.why for block in unreadable})
        return pixels

    def close(self) -> None:
        """Close the file."""
        for level in self._levels:
            level.close()


class _Level(Protocol):
    def read(self, region: Region) -> tuple[NDArray[np.uint8], list[Unreadable]]: ...

    def close(self) -> None: ...


class _Mapped:
    """A level that is not compressed: its pixels are in the file as they are."""

    def __init__(self, path: Path, page: Any) -> None:
        pixels = tifffile.memmap(path, page=page.index, mode="r")
        planar = page.planarconfig == 2 and page.samplesperpixel > 1
        self._pixels = np.moveaxis(pixels, 0, -1) if planar else pixels
        self._premultiplied = is_premultiplied(page)

    def read(self, region: Region) -> tuple[NDArray[np.uint8], list[Unreadable]]:
        return on_white(self._pixels[region.slices], premultiplied=self._premultiplied), []

    def close(self) -> None:
        del self._pixels


class _Held:
    """A level in compressed strips, as wide as the image: decoded once, and held."""

    def __init__(self, level: TiffLevel) -> None:
        self._level, self._lock = level, threading.Lock()
        self._pixels: NDArray[np.uint8] | None = None
        self._unreadable: list[Unreadable] = []

    def read(self, region: Region) -> tuple[NDArray[np.uint8], list[Unreadable]]:
        with self._lock:
            if self._pixels is None:
                whole = Region(0, 0, self._level.height_px, self._level.width_px)
                self._pixels, self._unreadable = self._level.read(whole)
        return self._pixels[region.slices], self._unreadable

    def close(self) -> None:
        self._pixels = None
        self._level.close()


def open_tiff(path: Path) -> TiffSource:
    """Open the largest image of a TIFF or OME-TIFF, with its pyramid.

    Raises
    ------
    DataError
        The file cannot be opened, or holds something else than 8-bit RGB pixels of one plane.
    """
    with _opened(path) as file:
        series = main_series(file)
        check_pixels(path, series)
        facts = _facts(file, series)
        levels = [_level(path, level.pages[0], level.keyframe) for level in series.levels]
    return TiffSource(path, facts, levels)


def open_tiles(path: Path, facts: Facts) -> TiffSource | None:
    """Open a TIFF whose facts another reader has told, if its tiles can be decoded directly.

    None unless each level is one page in tiles of JPEG or JPEG 2000; and where a pyramid of
    Aperio lacks tiles, for OpenSlide draws these, and those above them, from a finer level.
    """
    aperio = facts.vendor == APERIO
    with _opened(path) as file:
        pages = [_page_of(file, size) for size in facts.levels_px]
        if any(page is None for page in pages):
            return None
        if aperio and len(pages) > 1 and any(0 in page.databytecounts for page in pages):
            return None
        levels = [
            TiffLevel(page, page.keyframe, ycbcr=aperio and page.compression == APERIO_YCBCR)
            for page in pages
        ]
    return TiffSource(path, facts, levels)


def _page_of(file: tifffile.TiffFile, size: tuple[int, int]) -> Any:
    """Find the first page of a height and width that is stored in tiles of JPEG (2000), or None."""
    for page in file.pages:
        one: Any = page.keyframe
        if (one.imagelength, one.imagewidth) == size and one.is_tiled:
            fit = one.compression in TILE_CODECS and one.dtype == np.uint8
            return page if fit and one.samplesperpixel == 3 and one.planarconfig == 1 else None
    return None


def _level(path: Path, page: Any, keyframe: Any) -> _Level:
    if keyframe.is_memmappable and not keyframe.is_tiled and isinstance(page.index, int):
        return _Mapped(path, page.aspage())
    size = math.prod(block_of(keyframe)) * keyframe.samplesperpixel
    if size > BLOCK_BYTES:
        why = f"its pixels are one compressed block of {size / 2**30:.1f} GiB"
        raise DataError(f"{path}: {why}; save it as a tiled TIFF")
    level = TiffLevel(page, keyframe)
    if keyframe.is_tiled or math.prod((level.height_px, level.width_px, 3)) > HELD_BYTES:
        return level
    return _Held(level)


def _facts(file: tifffile.TiffFile, series: Any) -> Facts:
    levels = [size_of(level) for level in series.levels]
    height, width = levels[0]
    number = [one is series for one in file.series].index(True)
    resolution, objective = ome_facts(file.ome_metadata, number)
    return Facts(
        levels_px=tuple(levels),
        tile_px=tuple(block_of(level.keyframe) for level in series.levels),
        vendor=OME_TIFF if file.is_ome else "tiff",
        objective=objective,
        bounds=(0, 0, width, height),
        resolution=resolution or _tag_resolution(series.keyframe),
        associated=tuple(_associated(file)),
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


def read_associated(path: Path, name: str) -> NDArray[np.uint8]:
    """Pixels uint8 (height, width, 3) of an image that an OME-TIFF holds beside the slide.

    Raises
    ------
    DataError
        The image cannot be read.
    """
    with _opened(path) as file:
        return on_white(np.asarray(_associated(file)[name].asarray(), np.uint8))


def _associated(file: tifffile.TiffFile) -> dict[str, Any]:
    """Series of an OME-TIFF that are RGB images beside the slide, by the names it gives them."""
    others = [one for one in file.series if one is not main_series(file)] if file.is_ome else []
    return {
        one.name: one for one in others if one.name and one.axes == "YXS" and one.dtype == np.uint8
    }


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a file for the time of a block, whatever way it is damaged in."""
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (DataError, MemoryError):
        raise
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
