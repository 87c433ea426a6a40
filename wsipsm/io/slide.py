"""A slide file as one image at any resolution, and the decision about its microns per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io import openslide_source, picture_source, tiff_source
from wsipsm.io.resample import resample
from wsipsm.io.source import APERIO, DICOM, GENERIC_TIFF, OME_TIFF, Resolution, Source
from wsipsm.types import Region

SANE_MPP = (0.05, 10.0)
ANISOTROPY = 0.02
DRIFT_PX = 0.05
PLAIN_TILES = (GENERIC_TIFF, APERIO)
"""Vendors, as OpenSlide calls them, whose levels are pages of tiles without overlap or shift."""

MIRAX = ".mrxs"
"""Ending of a file that stands for a folder of the same name beside it."""

REMEDY = "set the mpp column of the slide sheet"


@dataclass(frozen=True)
class Level:
    """One image of the pyramid: its size, and level-0 pixels in one of its pixels."""

    width_px: int
    height_px: int
    downsample: float


class Slide:
    """An open slide; a context manager, whose reads may come from several threads at once.

    Attributes
    ----------
    width_px, height_px
        Size of level 0: the full canvas.
    mpp, mpp_source
        Microns per pixel of level 0, and who says so: "openslide.mpp-x", "TIFF resolution",
        "OME-XML", "DICOM PixelSpacing" or "slide sheet".
    bounds
        Level-0 x, y, width, height of the scanned area; the canvas where the file names none.
    vendor, objective
        Format or scanner, and the power of the objective lens if it is known.
    levels
        The pyramid, the largest image first.
    associated
        Names of images beside the slide, such as its label.
    """

    def __init__(self, path: Path, source: Source, *, mpp: float, mpp_source: str) -> None:
        facts = source.facts
        self.path = path
        self.height_px, self.width_px = facts.levels_px[0]
        self.mpp, self.mpp_source = mpp, mpp_source
        self.bounds = facts.bounds
        self.vendor, self.objective = facts.vendor, facts.objective
        self.associated = facts.associated
        self._source = source
        self._ratios = tuple(
            (level_ratio(self.height_px, height), level_ratio(self.width_px, width))
            for height, width in facts.levels_px
        )
        self.levels = tuple(
            Level(width, height, max(ratio))
            for (height, width), ratio in zip(facts.levels_px, self._ratios, strict=True)
        )

    def __enter__(self) -> Self:
        """Give the slide."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def size_at(self, mpp: float) -> tuple[int, int]:
        """Height and width of the working grid: level 0 resampled to `mpp`, at least 1 pixel."""
        scale = self.mpp / mpp
        return max(1, round(self.height_px * scale)), max(1, round(self.width_px * scale))

    def read(self, region: Region, *, mpp: float) -> NDArray[np.uint8]:
        """Pixels at `mpp` microns per pixel; what is transparent or cannot be decoded is white.

        Working pixel i covers [i, i + 1) * mpp / slide.mpp level-0 pixels (`io.resample`). They
        come from the coarsest level that is still as fine as `mpp`.

        Parameters
        ----------
        region
            On the working grid of `size_at(mpp)`, and inside it.

        Returns
        -------
        uint8 (3, height, width), the same for a pixel whatever region is asked for.

        Raises
        ------
        ValueError
            The region is empty or leaves the working grid.
        """
        height, width = self.size_at(mpp)
        inside = region.y + region.height <= height and region.x + region.width <= width
        if min(region.y, region.x) < 0 or min(region.height, region.width) < 1 or not inside:
            raise ValueError(f"{self.path}: {region} is not inside {height} x {width} pixels")
        index = self._best_level(mpp / self.mpp)
        size = self._source.facts.levels_px[index]
        return resample(
            lambda part: self._source.read(index, part),
            region,
            source_px=size,
            step=self._step(index, mpp / self.mpp),
            tile_px=self._source.facts.tile_px[index],
        )

    def whole_mpp(self, wanted: float, *, least: float = 0) -> float:
        """Resolution nearest to `wanted`, and not below `least`, that is quick to read.

        It shrinks a level by a whole number.
        """
        level = self.mpp * self.levels[self._best_level(max(wanted, least) / self.mpp)].downsample
        return level * max(1, round(wanted / level), math.ceil(least / level - 1e-6))

    def read_associated(self, name: str) -> NDArray[np.uint8]:
        """Pixels uint8 (3, height, width) of an associated image, in full.

        Raises
        ------
        ValueError
            The slide has no associated image of this name.
        DataError
            It cannot be read.
        """
        if name not in self.associated:
            raise ValueError(f"{self.path}: no associated image {name!r}")
        source = tiff_source if self.vendor == OME_TIFF else openslide_source
        pixels: NDArray[np.uint8] = source.read_associated(_file_of(self.path), name)
        return pixels.transpose(2, 0, 1)

    def unreadable_share(self, region: Region, *, mpp: float) -> float:
        """Share of a region on the working grid that `read` found impossible to decode, 0 to 1."""
        index = self._best_level(mpp / self.mpp)
        down, across = self._step(index, mpp / self.mpp)
        top, left = region.y * down, region.x * across
        bottom, right = top + region.height * down, left + region.width * across
        lost = 0.0
        for level, block in list(self._source.unreadable):
            height = min(bottom, block.y + block.height) - max(top, block.y)
            width = min(right, block.x + block.width) - max(left, block.x)
            lost += max(height, 0) * max(width, 0) if level == index else 0
        return min(lost / ((bottom - top) * (right - left)), 1.0)

    @property
    def unreadable_reason(self) -> str | None:
        """Why something could not be decoded, the first of the reasons; None if all could."""
        return next(iter(self._source.unreadable.values()), None)

    def _best_level(self, wanted: float) -> int:
        fine = [i for i, level in enumerate(self.levels) if level.downsample <= wanted * 1.001]
        return max(fine, key=lambda i: self.levels[i].downsample, default=0)

    def _step(self, index: int, wanted: float) -> tuple[float, float]:
        level, (down, across) = self.levels[index], self._ratios[index]
        return _settled(wanted / down, level.height_px), _settled(wanted / across, level.width_px)


def level_ratio(full_px: int, level_px: int) -> float:
    """Level-0 pixels in one pixel of a level, along one axis.

    Scanners and converters shrink by whole numbers and drop (or fill up) what is left over at
    the far border. So a whole number that gives the level's size within that pixel is the ratio;
    the quotient of the sizes otherwise.
    """
    quotient = full_px / level_px
    whole = round(quotient)
    return float(whole) if abs(full_px / whole - level_px) < 1 else quotient


def _settled(step: float, size: int) -> float:
    """Make a step whole that drifts from that by no more than `DRIFT_PX` over a whole level."""
    whole = max(1, round(step))
    return float(whole) if abs(step - whole) * size <= DRIFT_PX * whole else step


def open_slide(path: Path, *, mpp: float | None = None) -> Slide:
    """Open a slide file: by OpenSlide, else tifffile (OME-TIFF always), else as a plain picture.

    Where the levels of a file that OpenSlide knows are plain tiles of JPEG or JPEG 2000, it tells
    the facts and the tiles are decoded directly, which is several times faster.

    Parameters
    ----------
    path
        Any format of OpenSlide, TIFF, OME-TIFF, PNG, JPEG; of DICOM the folder or a file in it.
    mpp
        Microns per pixel from the slide sheet; it wins over what the file says.

    Raises
    ------
    DataError
        There is no such file, it cannot be opened, holds something else than 8-bit RGB pixels of
        one plane, or names no microns per pixel, absurd ones, or different ones along x and y.
    """
    source = _open_source(path)
    try:
        chosen, told_by = decide_mpp(path, source.facts.resolution, sheet=mpp)
    except DataError:
        source.close()
        raise
    return Slide(path, source, mpp=chosen, mpp_source=told_by)


def decide_mpp(
    path: Path, resolution: Resolution | None, *, sheet: float | None
) -> tuple[float, str]:
    """Microns per pixel of a slide, and who says so: the slide sheet, else the file.

    Raises
    ------
    DataError
        Nobody says, or what they say cannot be.
    """
    if sheet is None and resolution is None:
        raise DataError(f"{path}: no mpp in the file; {REMEDY}")
    found = Resolution(sheet, sheet, "slide sheet") if sheet is not None else resolution
    assert found is not None
    for value in (found.x, found.y):
        if not SANE_MPP[0] <= value <= SANE_MPP[1]:
            low, high = SANE_MPP
            why = f"{value:.6g} um per pixel ({found.source}) is not between {low:g} and {high:g}"
            raise DataError(f"{path}: {why}; {REMEDY}")
    if abs(found.x - found.y) > ANISOTROPY * min(found.x, found.y):
        why = f"mpp {found.x:.6g} along x and {found.y:.6g} along y differ by more than 2 %"
        raise DataError(f"{path}: {why}; {REMEDY}, or export square pixels")
    return (found.x + found.y) / 2, found.source


def _open_source(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"{path}: no such file; correct the path column of the slide sheet")
    path = _file_of(path)
    if tiff_source.is_ome(path):  # OpenSlide sees only level 0 of its pyramid
        return tiff_source.open_tiff(path)
    kind = openslide_source.detect(path)
    if kind in PLAIN_TILES:
        tiff_source.check_tiff(path)
    if kind is not None:
        try:
            return _open_known(path, kind)
        except DataError:
            if kind != GENERIC_TIFF:
                raise
    if tiff_source.is_tiff(path):
        return tiff_source.open_tiff(path)
    return picture_source.PictureSource(path)


def _file_of(path: Path) -> Path:
    """Choose the file to open: of a folder one of its DICOM files, which leads to the others."""
    if path.suffix.lower() == MIRAX and not path.with_suffix("").is_dir():
        raise DataError(f"{path}: its folder {path.stem} is not beside it; copy that too")
    if not path.is_dir():
        return path
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    found = [file for file in files if openslide_source.detect(file) == DICOM]
    if not found:
        raise DataError(f"{path}: a folder without a DICOM slide; name the slide file itself")
    if len({openslide_source.series_of(file) for file in found}) > 1:
        raise DataError(f"{path}: a folder of several DICOM slides; name a file of one of them")
    return found[0]


def _open_known(path: Path, kind: str) -> Source:
    source = openslide_source.OpenSlideSource(path)
    direct = tiff_source.open_tiles(path, source.facts) if kind in PLAIN_TILES else None
    if direct is None:
        return source
    source.close()
    return direct
