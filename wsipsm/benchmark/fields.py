"""Folders of annotated fields, as data sets are published: images, and what is known of each.

Three layouts are read, and several folders may be joined, labelled ones with unlabelled ones:

- ours: `images/NAME.png` (or .tif, .tiff) and, for some or all, `labels/NAME.png` (or .tif,
  .tiff) with the ids of the nuclei, 0 = background;
- MoNuSeg: `Tissue Images/NAME.tif` and `Annotations/NAME.xml`, or both in one folder, as
  Aperio ImageScope writes them;
- BCData: `images/SPLIT/NAME.png` and `annotations/SPLIT/CLASS/NAME.h5`, points of a class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray

from wsipsm.config import Stain
from wsipsm.errors import DataError, SettingsError
from wsipsm.io.raster import fill_polygons
from wsipsm.io.slide import open_slide
from wsipsm.types import Region

SUFFIXES = (".png", ".tif", ".tiff")
IMAGE_FOLDERS = ("images", "Tissue Images")
POINTS = "coordinates"


@dataclass(frozen=True)
class Field:
    """One image and what is known of it.

    Attributes
    ----------
    name
        Stem of the image, behind that of its split where there are several.
    group
        Name of the data set: its folder's.
    image
        The image file.
    mpp, stain
        Microns per pixel and stain, as in the slide sheet.
    truth
        Label image or Aperio XML; None if the outlines are not known.
    points
        HDF5 file of the points of each class; empty if they are not known.
    """

    name: str
    group: str
    image: Path
    mpp: float
    stain: Stain
    truth: Path | None = None
    points: dict[str, Path] = field(default_factory=dict)

    def true_labels(self) -> NDArray[np.int64]:
        """Ids of the nuclei, (y, x), 0 = background; of two outlines the later wins.

        Raises
        ------
        DataError
            The truth cannot be read, is no label image, or has not the image's size.
        """
        assert self.truth is not None
        with open_slide(self.image, mpp=self.mpp) as slide:
            size = slide.height_px, slide.width_px
        if self.truth.suffix.lower() == ".xml":
            return read_aperio(self.truth, size)
        labels = _read_labels(self.truth)
        if labels.shape != size:
            raise DataError(
                f"{self.truth}: {labels.shape[1]} x {labels.shape[0]} pixels, but the image has"
                f" {size[1]} x {size[0]}; give ids of the same pixels"
            )
        return labels.astype(np.int64)

    def true_points(self) -> dict[str, NDArray[np.float64]]:
        """Points of each class, (n, 2) as (y, x) in pixels of the image.

        Raises
        ------
        DataError
            A file cannot be read or holds no array `coordinates`.
        """
        return {name: read_points(path) for name, path in self.points.items()}


def read_fields(folders: Sequence[Path], *, mpp: float = 0.25, stain: Stain = "he") -> list[Field]:
    """Fields of several folders, in the order of the folders and of their names.

    Raises
    ------
    SettingsError
        A folder is absent or holds no image, or two fields have one name.
    """
    found = [known for folder in folders for known in _fields_of(folder, mpp, stain)]
    name, often = Counter(known.name for known in found).most_common(1)[0]
    if often > 1:
        raise SettingsError(f"{name}: {often} fields have this name; give each folder once")
    return found


def read_aperio(path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
    """Label image (y, x) of the regions of an Aperio XML: Region, Vertices, Vertex with X, Y.

    Raises
    ------
    DataError
        The file is no XML, or a vertex has no place.
    """
    try:
        regions = ElementTree.parse(path).getroot().iter("Region")
        rings = [[(float(at.attrib["X"]), float(at.attrib["Y"])) for at in region.iter("Vertex")]
                 for region in regions]  # fmt: skip
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not an annotation of Aperio ImageScope ({error}); give XML with Region,"
            " Vertices, Vertex, X and Y"
        ) from None
    outlines = np.array([shapely.Polygon(ring) for ring in rings if len(ring) > 2], object)
    return fill_polygons(outlines, np.arange(1, len(outlines) + 1), Region(0, 0, *size))


def read_points(path: Path) -> NDArray[np.float64]:
    """Points (n, 2) as (y, x) of the array `coordinates`, (n, 2) as (x, y), of an HDF5 file.

    Raises
    ------
    DataError
        h5py is not installed, or the file has no such array.
    """
    try:
        import h5py
    except ImportError:
        raise DataError(
            f"{path}: points in HDF5 need h5py; install it, or the extra `scverse`"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            points = np.asarray(file[POINTS], np.float64).reshape(-1, 2)
    except (OSError, KeyError, ValueError):
        raise DataError(
            f"{path}: no array {POINTS!r} of x and y can be read; give the file as BCData has it"
        ) from None
    return points[:, ::-1]


def _fields_of(folder: Path, mpp: float, stain: Stain) -> list[Field]:
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder of fields; give one with images")
    inside = (folder / name for name in IMAGE_FOLDERS)
    home = next((path for path in inside if path.is_dir()), folder)
    images = list(_images(home))
    if not images:
        raise SettingsError(
            f"{folder}: no image in it; give a folder with images/*.png, .tif or .tiff"
        )
    return [
        Field(
            name="_".join([*image.relative_to(home).parts[:-1], image.stem]),
            group=folder.resolve().name,
            image=image,
            mpp=mpp,
            stain=stain,
            truth=_truth_of(folder, image),
            points=_points_of(folder, image.relative_to(home)),
        )
        for image in images
    ]


def _images(home: Path) -> Iterator[Path]:
    """Images of a folder, or of its splits."""
    for path in sorted([*home.glob("*"), *home.glob("*/*")]):
        if path.suffix.lower() in SUFFIXES and path.parent.name != "labels":
            yield path


def _truth_of(folder: Path, image: Path) -> Path | None:
    tries = [folder / "labels" / f"{image.stem}{suffix}" for suffix in SUFFIXES]
    tries += [folder / "Annotations" / f"{image.stem}.xml", image.with_suffix(".xml")]
    return next((path for path in tries if path.is_file()), None)


def _points_of(folder: Path, image: Path) -> dict[str, Path]:
    """Files of points by class, for an image at SPLIT/NAME.png."""
    home = folder / "annotations" / image.parent
    paths = sorted(home.glob(f"*/{image.stem}.h5"))
    return {path.parent.name: path for path in paths}


def _read_labels(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() == ".png":
            labels: NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
        else:
            labels = tifffile.imread(path)
    except (RuntimeError, ValueError, tifffile.TiffFileError):
        raise DataError(f"{path}: cannot be read as a label image; give a PNG or a TIFF") from None
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{path}: {labels.dtype} of shape {labels.shape} is no label image; give one channel"
            " of integer ids"
        )
    return labels
