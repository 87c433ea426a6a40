"""What people drew on a slide: fields in which every cell is known, and the cells."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.io.geojson import read_annotations
from wsipsm.io.raster import fill_polygons
from wsipsm.io.tiles import Tiles
from wsipsm.types import Region

FIELD_CLASS = "Region*"
"""QuPath's class of a field; a class with a star is for no measurement, and for no cell."""

NO_CELLS = "Tissue"
"""Class of the tissue that an export of ours brings along."""


@dataclass(frozen=True)
class Annotations:
    """Fields and cells of one slide.

    Attributes
    ----------
    path
        The file that they are from.
    fields
        Polygons (x, y) of the fields in level-0 pixels; none where the file has none.
    cells
        Outlines (x, y) of the cells in level-0 pixels; the id of the n-th is n, from 1.
    classes
        Class of each cell, None where none is given.
    scale
        Level-0 pixels in one working pixel.
    """

    path: Path
    fields: NDArray[np.object_]
    cells: NDArray[np.object_]
    classes: list[str | None]
    scale: float

    def only(self, keep: NDArray[np.bool_]) -> Annotations:
        """The same fields with the cells to `keep`, renumbered."""
        classes = [name for name, kept in zip(self.classes, keep, strict=True) if kept]
        return Annotations(self.path, self.fields, self.cells[keep], classes, self.scale)

    def ids(self, region: Region) -> NDArray[np.int64]:
        """Id of the cell at each pixel of a region of the working grid, 0 = none.

        Of two outlines the later wins.
        """
        return self._fill(self.cells, self._cell_tree, region)

    def in_fields(self, region: Region) -> NDArray[np.bool_]:
        """Whether each pixel of a region of the working grid lies in a field."""
        return np.asarray(self._fill(self.fields, self._field_tree, region) > 0)

    def _fill(
        self, polygons: NDArray[np.object_], tree: shapely.STRtree, region: Region
    ) -> NDArray[np.int64]:
        left, top = region.x * self.scale, region.y * self.scale
        right, bottom = left + region.width * self.scale, top + region.height * self.scale
        near = np.sort(tree.query(shapely.box(left, top, right, bottom)))
        return fill_polygons(polygons[near], near + 1, region, scale=self.scale)

    @functools.cached_property
    def _cell_tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.cells)

    @functools.cached_property
    def _field_tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.fields)


def open_annotations(path: Path, slide: Tiles) -> Annotations:
    """Fields and cells of a GeoJSON file, as QuPath exports them.

    Fields are the objects of the class `Region*` (or `Region`). Cells are all others but those
    of a class that ends in a star, which QuPath ignores too, and of `Tissue`. Coordinates are
    counted from the corner of the slide's bounds, as QuPath shows it.

    Raises
    ------
    DataError
        As `io.geojson.read_annotations`.
    """
    x, y = slide.bounds[:2]
    polygons, classes = read_annotations(path, origin=(x, y))
    is_field = np.array([_is_field(name) for name in classes], bool)
    is_cell = np.array([not _is_field(name) and _may_be_cell(name) for name in classes], bool)
    return Annotations(
        path,
        fields=polygons[is_field],
        cells=polygons[is_cell],
        classes=[name for name, kept in zip(classes, is_cell, strict=True) if kept],
        scale=slide.scale,
    )


def _is_field(name: str | None) -> bool:
    return name is not None and name.rstrip("*").casefold() == FIELD_CLASS.rstrip("*").casefold()


def _may_be_cell(name: str | None) -> bool:
    return name is None or not (name.endswith("*") or name == NO_CELLS)
