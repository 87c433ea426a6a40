"""Stage 7: one owner for each cell of one slide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsipsm.config import Stitching
from wsipsm.errors import DataError
from wsipsm.io.parquet import BOX, CELL_SCHEMA, parts_of, polygons_of, writing_cells
from wsipsm.io.product import Provenance, making, read_record
from wsipsm.stitching.order import cell_ids, hilbert
from wsipsm.stitching.resolve import Bools
from wsipsm.stitching.rows import Reads, Row, resolve_rows

Shard = tuple[int, int]

_SEEN = ["bbox", "tile_row", "tile_col", "owned", "cut", "score"]
_CURVE_BITS = 10  # squares along the side of a shard: 2**10
_SHARD_BITS = 16  # shards along the side of a slide: at most 2**16
_FACTS = ("slide", "mpp", "scale", "model", "classes")
_SCHEMA = CELL_SCHEMA.append(pa.field("bbox", pa.struct([(name, pa.float64()) for name in BOX])))


def stitch(tile_cells: Path, target: Path, *, settings: Stitching) -> None:
    """Write `cells.parquet`: every cell of the slide once, by the contract of `resolve`.

    Shards, and the cells in each by their centroid, follow a Hilbert curve, so that row groups
    are compact and the bytes do not depend on workers. `id` is a uuid5 of slide, model and cell.
    Outlines are copied as they are; memory holds one shard and one row of shards' rims.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    DataError
        There are no tile cells, or an earlier version made them.
    """
    record = read_record(tile_cells)
    if "halo_px" not in record:
        raise DataError(f"{tile_cells}: made by an earlier version; make it again")
    inputs = {"tile_cells": record["provenance"]["id"]}
    provenance = Provenance("stitch", settings.model_dump(), inputs)
    parts = parts_of(tile_cells)
    with making(target, provenance) as work:
        rows = _rows(parts, record["shard_tiles"])
        kept, counts = resolve_rows(rows, reads=Reads.of_record(record), overlap=settings.overlap)
        sizes = [pq.read_metadata(path).num_rows for path in parts.values()]
        masks = dict(zip(parts, np.split(kept, np.cumsum(sizes)[:-1]), strict=False))
        facts = {name: record[name] for name in _FACTS}
        product = {"provenance": provenance.as_dict(), **facts, "counts": asdict(counts)}
        with writing_cells(work.path, _SCHEMA, product) as write:
            for shard in _along_curve(list(parts)):
                write(_cells_of(parts[shard], shard, masks[shard], record))


def _rows(parts: dict[Shard, Path], shard_tiles: int) -> Iterator[Row]:
    """Each row of shards: all but the outlines, which are read where they are asked for."""
    for shard_row, shards in groupby(parts, key=lambda shard: shard[0]):
        paths = [parts[shard] for shard in shards]
        tables = [_read(path, _SEEN) for path in paths]
        seen = pa.concat_tables(tables).combine_chunks()
        yield Row(
            boxes=np.stack([box.to_numpy() for box in seen["bbox"].combine_chunks().flatten()], 1),
            tile_rows=seen["tile_row"].to_numpy().astype(np.int64),
            tile_cols=seen["tile_col"].to_numpy().astype(np.int64),
            owned=seen["owned"].to_numpy(),
            cut=seen["cut"].to_numpy(),
            scores=seen["score"].to_numpy(),
            outlines=partial(_outlines, paths, [table.num_rows for table in tables]),
            stop=(shard_row + 1) * shard_tiles,
        )


def _outlines(paths: list[Path], sizes: list[int], mask: Bools) -> NDArray[np.object_]:
    """Polygons of some rows of several parts."""
    found = [np.zeros(0, object)]
    for path, wanted in zip(paths, np.split(mask, np.cumsum(sizes)[:-1]), strict=True):
        if wanted.any():
            found.append(polygons_of(_read(path, ["geometry"]).filter(pa.array(wanted))))
    return np.concatenate(found)


def _cells_of(path: Path, shard: Shard, kept: Bools, record: dict[str, Any]) -> pa.Table:
    """The kept cells of a part, along the curve, with their ids."""
    cells = _read(path)
    rows = np.flatnonzero(kept)
    x, y = (cells[name].to_numpy()[rows] for name in ("centroid_x", "centroid_y"))
    side = record["tile_px"] * record["shard_tiles"] * record["scale"]
    order = np.lexsort((x, y, _place(x / side, y / side, shard)))
    cells = cells.take(pa.array(rows[order]))
    ids = cell_ids(cells, slide=record["slide"]["slide"], model=record["model"])
    return cells.add_column(0, "id", ids)


def _place(x: NDArray[np.float64], y: NDArray[np.float64], shard: Shard) -> NDArray[np.int64]:
    """Place of points, in sides of a shard, along the curve through their shard."""
    side = 1 << _CURVE_BITS
    col, row = (
        np.clip((at * side).astype(np.int64), first * side, (first + 1) * side - 1)
        for at, first in ((x, shard[1]), (y, shard[0]))
    )
    return hilbert(col, row, bits=_SHARD_BITS + _CURVE_BITS)


def _along_curve(shards: list[Shard]) -> list[Shard]:
    rows, cols = np.array(shards, np.int64).reshape(-1, 2).T
    return [shards[index] for index in np.argsort(hilbert(cols, rows, bits=_SHARD_BITS))]


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read(columns, use_threads=False)
