"""What annotated fields of a slide teach, laid over its pseudo masks."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io.annotations import FIELD_CLASS, open_annotations
from wsipsm.io.tiles import Tiles
from wsipsm.training.targets import IGNORE
from wsipsm.types import Region


class Fields:
    """The annotated fields of one slide: in them every cell is known, and all else is background.

    A cell that reaches out of a field counts as a whole. Of a field only what lies in tiles with
    tissue is used.

    Parameters
    ----------
    path
        GeoJSON, as `io.annotations.open_annotations` reads it.
    slide
        The tiles of that slide.
    classes
        Names of the classes 1 ... k. With one class, cells need no name.

    Raises
    ------
    DataError
        The file cannot be read, has no field in the tissue, or a cell of another class.
    """

    def __init__(self, path: Path, slide: Tiles, classes: list[str]) -> None:
        drawn = open_annotations(path, slide)
        if not len(drawn.fields):
            raise DataError(
                f"{path}: no field of the class {FIELD_CLASS}; draw one around cells that are all"
                " right, or name a file of the whole slide's cells in `truth` of the slide sheet"
            )
        fields = _in_tissue(drawn.fields, slide)
        if not len(fields):
            raise DataError(
                f"{path}: no field lies in tissue of slide {slide.slide}; correct the file's place"
                " in the slide sheet, or lower tiling.min_tissue_share"
            )
        used = shapely.intersects(drawn.cells, shapely.union_all(fields))
        self.drawn = replace(drawn.only(used), fields=fields)
        self._class_of = np.array([0, *_numbers(path, self.drawn.classes, classes)], np.int64)
        self._area = np.cumsum(shapely.area(fields))
        self.path = path
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """What a model says of them: the file and its SHA-256, fields, cells, level-0 pixels."""
        return {
            "path": str(self.path),
            "sha256": self.digest,
            "fields": len(self.drawn.fields),
            "cells": len(self.drawn.cells),
            "area_px": round(float(self._area[-1])),
        }

    def regions(self) -> list[Region]:
        """The rectangle around each field, in working pixels."""
        bounds = shapely.bounds(self.drawn.fields) / self.drawn.scale
        return [
            Region(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)
            for left, top, right, bottom in bounds
        ]

    def known(self, region: Region) -> NDArray[np.bool_]:
        """Whether each pixel (y, x) of a region is annotated: in a field, or in a cell of one."""
        return self.drawn.in_fields(region) | (self.drawn.ids(region) > 0)

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Row and column, in working pixels, of a place drawn evenly from all fields."""
        where = int(np.searchsorted(self._area, rng.uniform(0, self._area[-1])))
        field = self.drawn.fields[where]
        left, top, right, bottom = field.bounds
        while True:
            x, y = rng.uniform((left, top), (right, bottom))
            if shapely.contains_xy(field, x, y):
                return int(y / self.drawn.scale), int(x / self.drawn.scale)

    def lay_over(
        self, region: Region, classes: NDArray[Any], instances: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Pseudo classes and instances (y, x) of a region with the fields' cells in their place.

        Objects of the pseudo mask that a field or one of its cells cuts are ignored outside.

        Returns
        -------
        classes, instances, known
            As given, and where they are annotated (bool).
        """
        ids = self.drawn.ids(region)
        known = self.known(region)
        torn = np.isin(instances, np.unique(instances[known])) & (instances > 0)
        others = np.where(torn, 0, instances)
        own = np.where(ids > 0, ids + others.max(initial=0), 0)
        return (
            np.where(known, self._class_of[ids], np.where(torn, IGNORE, classes)),
            np.where(known, own, others),
            known,
        )


def _in_tissue(fields: NDArray[np.object_], slide: Tiles) -> NDArray[np.object_]:
    """The parts of the fields that lie in tiles with tissue, without overlaps."""
    side = slide.grid.tile_px * slide.scale
    rows, cols = np.nonzero(slide.kept)
    tiles = shapely.box(cols * side, rows * side, (cols + 1) * side, (rows + 1) * side)
    merged = shapely.union_all(fields)
    near = tiles[shapely.intersects(tiles, merged)]
    parts = shapely.get_parts(shapely.intersection(merged, shapely.union_all(near)))
    return np.asarray(parts[shapely.area(parts) > 0])


def _numbers(path: Path, names: list[str | None], classes: list[str]) -> list[int]:
    """Number, 1 ... k, of the class of each cell."""
    only = classes[0] if len(classes) == 1 else None
    wrong = [name for name in names if (name or only) not in classes]
    if wrong:
        raise DataError(
            f"{path}: a cell of {f'class {wrong[0]!r}' if wrong[0] else 'no class'}, but the"
            f" classes are {', '.join(classes)}; correct it, or set pseudomasks.classes"
        )
    return [1 + classes.index(name or classes[0]) for name in names]
