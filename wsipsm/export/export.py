"""Stage 8: the cells of a slide as a file for another program."""

from __future__ import annotations

from pathlib import Path

from wsipsm.config import Export
from wsipsm.errors import SettingsError
from wsipsm.export.labels import write_labels
from wsipsm.export.parts import write_parts
from wsipsm.export.points import write_points
from wsipsm.export.rows import open_cells
from wsipsm.export.scverse import require_spatialdata, write_spatialdata
from wsipsm.export.store import write_store
from wsipsm.export.table import write_table
from wsipsm.io.product import Provenance, making
from wsipsm.io.tiles import open_tiles

QUPATH, TABLE, POINTS, STORE = ".geojson.zip", ".tsv", ".points.geojson", ".db"
SPATIALDATA, LABELS = ".spatialdata.zarr", ".labels.zarr"

_PROGRAMS = {
    QUPATH: "QuPath",
    TABLE: "table",
    POINTS: "points",
    STORE: "tiatoolbox",
    SPATIALDATA: "scverse",
    LABELS: "OME-NGFF",
}
_SETTINGS = {
    QUPATH: {"part_features", "colours", "cell_expansion_um"},
    POINTS: {"colours"},
    STORE: {"colours"},
    SPATIALDATA: {"colours"},
}
"""What of the settings a format depends on."""


def export(cells: Path, target: Path, *, settings: Export, tiles: Path | None = None) -> None:
    """Write the cells of a slide for another program; the name of `target` says how.

    Parameters
    ----------
    cells
        The product of stage 7, `cells.parquet`.
    target
        `NAME.geojson.zip` for QuPath: parts of GeoJSON, in pixels of the slide as QuPath sees
        it. `NAME.points.geojson` for QuPath: centroids, a set of points for each class, and hot
        spots. `NAME.tsv` for a table of measurements with the columns of QuPath's own export.
        `NAME.db` for tiatoolbox: an annotation store. `NAME.spatialdata.zarr` for scverse.
        `NAME.labels.zarr` for OME-NGFF: an image of instance ids. All but SpatialData are
        written a few cells at a time.
    settings
        Size of parts, colours, and the width of cells around their nuclei.
    tiles
        The product of stage 1, which the last two need.

    Raises
    ------
    SettingsError
        The name of `target` is none of these, `tiles` are missing, or SpatialData is.
    QuarantinedError
        The slide was set aside.
    """
    suffix = _suffix(target)
    if suffix == SPATIALDATA:
        require_spatialdata(target)
    found = open_cells(cells)
    grid = None
    inputs = {"cells": found.record["provenance"]["id"]}
    if suffix in (SPATIALDATA, LABELS):
        if tiles is None:
            raise SettingsError(f"{target}: its pixels are those of the tiles; give --tiles")
        grid = open_tiles(tiles)
        inputs["tiles"] = grid.id
    known = settings.model_dump(include=_SETTINGS.get(suffix, set()))
    provenance = Provenance("export", known, inputs)
    with making(target, provenance) as partial:
        if suffix == QUPATH:
            write_parts(found, partial.path, provenance, settings)
        elif suffix == TABLE:
            write_table(found, partial.path)
        elif suffix == POINTS:
            write_points(found, partial.path, settings)
        elif suffix == STORE:
            write_store(found, partial.path, provenance, settings)
        elif grid and suffix == LABELS:
            write_labels(found, grid, partial, provenance, target=target)
        elif grid:
            write_spatialdata(found, grid, partial.path, provenance, settings, target=target)


def _suffix(target: Path) -> str:
    for suffix in _PROGRAMS:
        if target.name.endswith(suffix):
            return suffix
    known = ", ".join(f"{suffix} ({program})" for suffix, program in _PROGRAMS.items())
    raise SettingsError(f"{target}: no such format; end the name in one of {known}")
