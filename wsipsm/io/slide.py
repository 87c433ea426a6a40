"""A slide file as one image at any resolution, and the decision about its microns per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io.resample import resample
from wsipsm.io.source import GENERIC_TIFF, Resolution, Source
from wsipsm.types import Region

SANE_MPP = (0.05, 10.0)
ANISOTROPY = 0.02
DRIFT_PX = 0.05
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
        "OME-XML" or "slide sheet".
    bounds
        Level-0 x, y, width, height of the scanned area; the canvas where the file names none.
    vendor, objective
        Format or scanner, and the power of the objective lens if it is known.
    levels
        The pyramid, the largest image first.
    """

    def __init__(self, path: Path, source: Source, *, mpp: float, mpp_source: str) -> None:
        facts = source.facts
        self.path = path
        self.height_px, self.width_px = facts.levels_px[0]
        self.mpp, self.mpp_source = mpp, mpp_source
        self.bounds = facts.bounds
        self.vendor, self.objective = facts.vendor, facts.objective
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
        """Pixels at `mpp` microns per pixel; what is transparent is white.

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
        DataError
            The file fails while reading.
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
    """Make a step that drifts from 1 by no more than `DRIFT_PX` over a whole level exactly 1."""
    return 1.0 if abs(step - 1) * size <= DRIFT_PX else step


def open_slide(path: Path, *, mpp: float | None = None) -> Slide:
    """Open a slide file: by OpenSlide, else tifffile (OME-TIFF always), else as a plain picture.

    Parameters
    ----------
    path
        Any format of OpenSlide, TIFF, OME-TIFF, PNG, JPEG.
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
    from wsipsm.io import openslide_source, picture_source, tiff_source

    if not path.exists():
        raise DataError(f"{path}: no such file; correct the path column of the slide sheet")
    if path.is_dir():
        raise DataError(f"{path}: a folder; name the slide file itself")
    if tiff_source.is_ome(path):  # OpenSlide sees only level 0 of its pyramid
        return tiff_source.TiffSource(path)
    kind = openslide_source.detect(path)
    if kind == GENERIC_TIFF:
        tiff_source.check_tiff(path)
    if kind is not None:
        try:
            return openslide_source.OpenSlideSource(path)
        except DataError:
            if kind != GENERIC_TIFF:
                raise
    if tiff_source.is_tiff(path):
        return tiff_source.TiffSource(path)
    return picture_source.PictureSource(path)
