"""Cell tables as GeoParquet 1.1: one polygon a row, in level-0 pixels, with covering boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from wsipsm.io.product import read_record
from wsipsm.types import MEASUREMENTS

ROW_GROUP = 10_000

TILE_CELL_SCHEMA = pa.schema(
    [
        ("geometry", pa.binary()),  # WKB polygon (x, y), level-0 pixels
        ("centroid_x", pa.float64()),  # level-0 pixels
        ("centroid_y", pa.float64()),
        ("class", pa.string()),
        ("score", pa.float32()),  # 0 to 1: mean probability of its class inside
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
    polygons = shapely.from_wkb(cells["geometry"].to_numpy(zero_copy_only=False))
    boxes = shapely.bounds(polygons).reshape(-1, 4)
    names = ("xmin", "ymin", "xmax", "ymax")
    columns = [pa.array(np.ascontiguousarray(boxes[:, i])) for i in range(4)]
    cells = cells.append_column("bbox", pa.StructArray.from_arrays(columns, names))
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None,
        "covering": {"bbox": {name: ["bbox", name] for name in names}},
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    metadata = {"geo": json.dumps(geo), "wsipsm": json.dumps(record, sort_keys=True)}
    pq.write_table(
        cells.replace_schema_metadata(metadata),
        path,
        compression="zstd",
        row_group_size=ROW_GROUP,
    )


def read_cells(path: Path) -> pa.Table:
    """Table of a product of stage 6 (a folder of parts) or 7 (a file), without `bbox`."""
    read_record(path)
    if path.is_dir():
        parts = [pq.read_table(part) for part in sorted(path.glob("*.parquet"))]
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
