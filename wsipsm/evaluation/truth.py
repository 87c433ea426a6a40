"""True objects of a slide, read region by region at the working resolution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import imagecodecs
import numpy as np
import shapely
import tifffile
import zarr
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io import ngff
from wsipsm.io.annotations import Annotations, open_annotations
from wsipsm.io.tiles import Tiles
from wsipsm.types import Region

IMAGE_SUFFIXES = (".png", ".tif", ".tiff")


class Truth(Protocol):
    """True objects of one slide."""

    @property
    def classes(self) -> dict[int, str]:
        """Class of each id; ids without a class are left out."""

    def read(self, region: Region) -> NDArray[np.int64]:
        """Ids (height, width) of a region inside the working grid, 0 = background."""

    def covers(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether it is known what lies at each place, (n,) working pixels."""


def open_truth(path: Path, slide: Tiles) -> Truth:
    """Open what is known about a slide.

    Parameters
    ----------
    path
        GeoJSON as `io.annotations.open_annotations` reads it, all cells of the slide where it
        has no field; or ids of the whole slide at level 0: a PNG or TIFF of integers, or an
        OME-NGFF label pyramid (.zarr).
    slide
        The tiles of that slide.

    Raises
    ------
    DataError
        The file cannot be read, is no label image, or has not the slide's size.
    """
    if path.suffix == ".zarr":
        return LabelTruth(path, _check(path, _open_ngff(path), slide), slide.scale)
    if path.suffix.lower() == ".png":
        return LabelTruth(path, _check(path, _read_png(path), slide), slide.scale)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return LabelTruth(path, _check(path, _Tiff(path), slide), slide.scale)
    drawn = open_annotations(path, slide)
    if not len(drawn.fields):
        return PolygonTruth(drawn, None)
    return PolygonTruth(drawn, shapely.union_all(drawn.fields))


@dataclass(frozen=True)
class PolygonTruth:
    """Outlines, and the fields outside of which nothing is known, None for the whole slide."""

    drawn: Annotations
    fields: shapely.Geometry | None

    @property
    def classes(self) -> dict[int, str]:
        """Class of each id."""
        return {index: name for index, name in enumerate(self.drawn.classes, start=1) if name}

    def read(self, region: Region) -> NDArray[np.int64]:
        """Ids (height, width) of a region of the working grid; of two outlines the later wins."""
        return self.drawn.ids(region)

    def covers(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each place lies in a field; everywhere if there is none."""
        if self.fields is None:
            return np.ones(len(y), bool)
        scale = self.drawn.scale
        return np.asarray(shapely.intersects_xy(self.fields, x * scale, y * scale))


@dataclass(frozen=True)
class LabelTruth:
    """Ids of the whole slide at level 0; a working pixel takes the one at its centre."""

    path: Path
    labels: Any
    scale: float

    @property
    def classes(self) -> dict[int, str]:
        """None: a label image has no classes."""
        return {}

    def read(self, region: Region) -> NDArray[np.int64]:
        """Ids (height, width) of a region of the working grid."""
        rows = self._level_0(region.y, region.height, self.labels.shape[0])
        cols = self._level_0(region.x, region.width, self.labels.shape[1])
        part = np.asarray(self.labels[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1])
        return part[np.ix_(rows - rows[0], cols - cols[0])].astype(np.int64)

    def covers(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Everywhere: a label image shows the whole slide."""
        return np.ones(np.broadcast_shapes(y.shape, x.shape), bool)

    def _level_0(self, start: int, length: int, size: int) -> NDArray[np.int64]:
        centres = (np.arange(start, start + length) + 0.5) * self.scale
        return np.minimum(centres.astype(np.int64), size - 1)


class _Tiff:
    """A TIFF as an array of which only the part asked for is decoded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tifffile.TiffFile(path) as file:
                self.shape, self.dtype = file.series[0].shape, file.series[0].dtype
        except (tifffile.TiffFileError, IndexError) as error:
            raise _unreadable(path) from error

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[Any]:
        with tifffile.imread(self.path, aszarr=True, level=0) as store:
            array = zarr.open_array(store, mode="r")
            return np.asarray(array[part])


def _read_png(path: Path) -> NDArray[Any]:
    try:
        image: NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
    except (RuntimeError, ValueError) as error:
        raise _unreadable(path) from error
    return image


def _open_ngff(path: Path) -> Any:
    """Level 0 of a label pyramid: the group's own, or that of its only label image."""
    try:
        group = ngff.open_group(path)
        if "labels" in group:
            labels = group["labels"]
            assert isinstance(labels, zarr.Group)
            names = [name for name, _ in labels.groups()]
            group = labels[names[0]]  # type: ignore[assignment]
        return group["0"]
    except (FileNotFoundError, KeyError, IndexError, ValueError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path}: cannot be read as a label image; give a PNG, a TIFF or OME-NGFF")


def _check(path: Path, labels: Any, slide: Tiles) -> Any:
    if len(labels.shape) != 2 or np.dtype(labels.dtype).kind not in "ui":
        raise DataError(
            f"{path}: {np.dtype(labels.dtype)} of shape {labels.shape} is no label image;"
            " give one channel of integer ids"
        )
    if tuple(labels.shape) != slide.size_px:
        (height, width), (own_height, own_width) = slide.size_px, labels.shape
        raise DataError(
            f"{path}: {own_width} x {own_height} pixels, but slide {slide.slide} has"
            f" {width} x {height} at level 0; give ids of the whole slide at level 0"
        )
    return labels
