"""Stage 7: one owner for each cell of one slide."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsipsm.config import Stitching
from wsipsm.io.parquet import CELL_SCHEMA, polygons_of, read_cells, write_cells
from wsipsm.io.product import Provenance, making, read_record
from wsipsm.stitching.resolve import Views, resolve

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "wsipsm")


def stitch(tile_cells: Path, target: Path, *, settings: Stitching) -> None:
    """Write `cells.parquet`: every cell of the slide once, by the contract of `resolve`.

    Rows are in the order of tiles, and in each by the position of the centroid, so that the
    bytes do not depend on workers or shards. `id` is a uuid5 of slide, model and cell.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    """
    record = read_record(tile_cells)
    inputs = {"tile_cells": record["provenance"]["id"]}
    provenance = Provenance("stitch", settings.model_dump(), inputs)
    with making(target, provenance) as partial:
        cells = read_cells(tile_cells)
        kept, counts = resolve(_views(cells), overlap=settings.overlap)
        cells = cells.filter(pa.array(kept))
        order = ["tile_row", "tile_col", "centroid_y", "centroid_x", "area_um2"]
        cells = cells.take(
            pc.sort_indices(cells, sort_keys=[(name, "ascending") for name in order])
        )
        cells = cells.add_column(0, "id", _ids(cells, record["slide"]["slide"], record["model"]))
        facts = {name: record[name] for name in ("slide", "mpp", "scale", "model", "classes")}
        write_cells(
            partial.path,
            cells.cast(CELL_SCHEMA),
            {"provenance": provenance.as_dict(), **facts, "counts": asdict(counts)},
        )


def _views(cells: pa.Table) -> Views:
    column = {name: cells[name].to_numpy() for name in cells.column_names if name != "geometry"}
    rows, cols = (column[name].astype(np.int64) for name in ("tile_row", "tile_col"))
    return Views(
        polygons=polygons_of(cells),
        tiles=rows * (int(cols.max(initial=0)) + 1) + cols,
        owned=column["owned"].astype(bool),
        cut=column["cut"].astype(bool),
        scores=column["score"].astype(np.float32),
    )


def _ids(cells: pa.Table, slide: str, model: str) -> pa.Array:
    """The uuid5 of each cell: by slide, model, tile and centroid."""
    space = uuid.uuid5(NAMESPACE, f"{slide}/{model}")
    columns = (
        cells[name].to_pylist() for name in ("tile_row", "tile_col", "centroid_y", "centroid_x")
    )
    return pa.array([str(uuid.uuid5(space, repr(key))) for key in zip(*columns, strict=True)])
