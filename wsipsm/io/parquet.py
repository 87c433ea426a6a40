"""Cell tables as GeoParquet 1.1: one polygon a row, in level-0 pixels, with covering boxes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from wsipsm.io.product import read_record
from wsipsm.io.runs import to_disk
from wsipsm.types import MEASUREMENTS

ROW_GROUP = 10_000

BOX = ("xmin", "ymin", "xmax", "ymax")
"""Fields of the struct column `bbox`, float64, level-0 pixels."""

TILE_CELL_SCHEMA = pa.schema(
    [
        ("geometry", pa.binary()),  # WKB polygon (x, y), level-0 pixels
        ("centroid_x", pa.float64()),  # level-0 pixels
        ("centroid_y", pa.float64()),
        ("class", pa.string()),
        ("score", pa.float32()),  # 0 to 1: mean probability of its class inside
        ("agreement", pa.float32()),  # 0 to 1: of the members of a committee, else 1
        ("tile_row", pa.int32()),
        ("tile_col", pa.int32()),
        ("owned", pa.bool_()),  # its centroid lies in the tile that saw it
        ("cut", pa.bool_()),  # it touches the border of what that tile read
        *[(name, pa.float32()) for name in MEASUREMENTS],
    ]
)
"""What stage 6 writes; stage 7 writes the same with `id` (uuid5) in front."""

CELL_SCHEMA = pa.schema([pa.field("id", pa.string()), *TILE_CELL_SCHEMA])


def write_cells(path: Path, cells: pa.Table, record: dict[str, Any]) -> None:
    """Write a table with a `geometry` column as GeoParquet 1.1, `record` in its metadata.

    The rows keep their order; a struct column `bbox` covers each polygon, so that a viewport
    can be read without the rest.
    """
    boxes = shapely.bounds(polygons_of(cells)).reshape(-1, 4)
    columns = [pa.array(np.ascontiguousarray(boxes[:, i])) for i in range(4)]
    cells = cells.append_column("bbox", pa.StructArray.from_arrays(columns, BOX))
    with writing_cells(path, cells.schema, record, compression="lz4") as write:
        write(cells)
    to_disk(path)


def intact(path: Path) -> bool:
    """Whether a file of cells is as it was written, by its checksums."""
    try:
        pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return False
    return True


@contextmanager
def writing_cells(
    path: Path, schema: pa.Schema, record: dict[str, Any], *, compression: str = "zstd"
) -> Iterator[Callable[[pa.Table], None]]:
    """Write tables, which have their `bbox`, as one file of full row groups.

    No more than a row group and the table at hand are in memory. `zstd` makes the smaller file,
    `lz4` the one that is read sooner.
    """
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None,
        "covering": {"bbox": {name: ["bbox", name] for name in BOX}},
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    metadata = {"geo": json.dumps(geo), "wsipsm": json.dumps(record, sort_keys=True)}
    schema = schema.with_metadata(metadata)
    plain = [name for name in schema.names if name not in ("id", "geometry", "bbox")]
    with pq.ParquetWriter(
        path,
        schema,
        compression=compression,
        write_page_checksum=True,
        use_dictionary=["class"],
        write_statistics=[*plain, *(f"bbox.{name}" for name in BOX)],
    ) as file:
        waiting: list[pa.Table] = []

        def write(cells: pa.Table) -> None:
            waiting.append(cells.cast(schema))
            ready = sum(table.num_rows for table in waiting) // ROW_GROUP * ROW_GROUP
            if ready:
                table = pa.concat_tables(waiting)
                file.write_table(table.slice(0, ready), row_group_size=ROW_GROUP)
                waiting[:] = [table.slice(ready)]

        yield write
        if any(table.num_rows for table in waiting):
            file.write_table(pa.concat_tables(waiting))


def part_of(folder: Path, shard: tuple[int, int]) -> Path:
    """Part of the product of stage 6 that holds the cells of this shard of tiles (row, col)."""
    return folder / f"r{shard[0]:04d}_c{shard[1]:04d}.parquet"


def parts_of(folder: Path) -> dict[tuple[int, int], Path]:
    """Every part of the product of stage 6 by its shard, row by row."""
    parts = {}
    for path in folder.glob("r*_c*.parquet"):
        row, col = path.stem.split("_")
        parts[int(row[1:]), int(col[1:])] = path
    return dict(sorted(parts.items()))


def read_cells(path: Path) -> pa.Table:
    """Table of a product of stage 6 (a folder of parts) or 7 (a file), without `bbox`."""
    read_record(path)
    if path.is_dir():
        parts = [pq.read_table(part) for part in parts_of(path).values()]
        table = pa.concat_tables(parts) if parts else TILE_CELL_SCHEMA.empty_table()
    else:
        table = pq.read_table(path)
    return table.drop_columns(["bbox"]) if "bbox" in table.column_names else table


def polygons_of(cells: pa.Table) -> NDArray[np.object_]:
    """Shapely polygons of a cell table."""
    polygons: NDArray[np.object_] = shapely.from_wkb(
        cells["geometry"].to_numpy(zero_copy_only=False)
    )
    return polygons
