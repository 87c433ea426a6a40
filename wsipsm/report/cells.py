"""Cell tables as the report needs them: columns of all cells, outlines of those in a box."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from wsipsm.io.parquet import polygons_of
from wsipsm.types import Region

DENSITIES = (
    "haematoxylin_mean",
    "haematoxylin_ring_mean",
    "counterstain_mean",
    "counterstain_ring_mean",
)
COLUMNS = ("centroid_x", "centroid_y", "class", "score", "area_um2", *DENSITIES)


@dataclass(frozen=True)
class CellColumns:
    """All cells of a slide, a value each.

    Attributes
    ----------
    x, y
        Centroids in level-0 pixels.
    classes
        Index of the class in the list of names; -1 where it is not in it.
    score, area_um2, haematoxylin, contrast
        float32; mean probability, area, mean optical density of haematoxylin; density of both
        stains in the cell less that in its ring.
    agreement
        float32; how far the members of a committee agree; None where no committee found the cells.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    classes: NDArray[np.int64]
    score: NDArray[np.float32]
    area_um2: NDArray[np.float32]
    haematoxylin: NDArray[np.float32]
    contrast: NDArray[np.float32]
    agreement: NDArray[np.float32] | None = None

    def class_counts(self, classes: int) -> list[int]:
        """Number of cells of each class."""
        known = self.classes[self.classes >= 0]
        return [int(count) for count in np.bincount(known, minlength=classes)]


def read_columns(cells: Path, *, classes: list[str]) -> CellColumns:
    """Read what is counted and drawn of all cells: not their outlines."""
    table = pq.read_table(cells, columns=list(COLUMNS))
    values = [table[name].to_numpy() for name in COLUMNS if name != "class"]
    x, y, score, area_um2, inside, around, other_inside, other_around = values
    contrast = inside - around + other_inside - other_around
    numbers = _positions(table["class"], classes)
    agreement = _agreement(cells)
    return CellColumns(x, y, numbers, score, area_um2, inside, contrast, agreement)


def read_outlines(
    cells: Path, *, box: Region, scale: float, classes: list[str]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Outlines that reach into a box, in pixels (x, y) from its corner, and their classes.

    Only row groups whose bounding boxes reach into the box are decoded.
    """
    left, top = box.x * scale, box.y * scale
    right, bottom = left + box.width * scale, top + box.height * scale
    reach_in = (
        (pc.field("bbox", "xmin") < right)
        & (pc.field("bbox", "xmax") > left)
        & (pc.field("bbox", "ymin") < bottom)
        & (pc.field("bbox", "ymax") > top)
    )
    table = pq.read_table(cells, columns=["geometry", "class"], filters=reach_in)
    outlines = shapely.transform(polygons_of(table), lambda xy: (xy - (left, top)) / scale)
    return outlines, _positions(table["class"], classes)


def _agreement(cells: Path) -> NDArray[np.float32] | None:
    """Agreement on each cell; None without the column, or at the 1 that a single network gives."""
    if "agreement" not in pq.read_schema(cells).names:
        return None
    values = np.asarray(pq.read_table(cells, columns=["agreement"])["agreement"], np.float32)
    return values if (values < 1).any() else None


def _positions(names: pa.ChunkedArray, classes: list[str]) -> NDArray[np.int64]:
    found = pc.index_in(names, value_set=pa.array(classes, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)
