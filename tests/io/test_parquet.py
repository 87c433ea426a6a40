"""Cell tables: GeoParquet that others read, round trips, parts, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from wsipsm.errors import DataError
from wsipsm.io import parquet
from wsipsm.io.parquet import (
    CELL_SCHEMA,
    ROW_GROUP,
    TILE_CELL_SCHEMA,
    part_of,
    parts_of,
    polygons_of,
    read_cells,
    write_cells,
    writing_cells,
)
from wsipsm.io.product import Provenance, read_record, write_record
from wsipsm.types import MEASUREMENTS

RECORD: dict[str, Any] = {
    "provenance": Provenance("stitch", {"overlap": 0.4}, {}).as_dict(),
    "classes": ["nucleus", "größer"],
}


def table_of(outlines: np.ndarray, schema: pa.Schema = CELL_SCHEMA) -> pa.Table:
    """Rows of a schema with these outlines and any other values."""
    count = len(outlines)
    text = [f"{i}" for i in range(count)]
    values: dict[str, Any] = {"id": text, "class": text, "geometry": shapely.to_wkb(outlines)}
    rest = np.arange(count) % 2
    columns = [
        pa.array(values.get(name, rest)).cast(schema.field(name).type) for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


@pytest.fixture
def outlines() -> np.ndarray:
    """Boxes, the last with a hole."""
    left = np.arange(40) * 12.25
    boxes = np.asarray(shapely.box(left, 5, left + 10, 20.5))
    boxes[-1] = boxes[-1].difference(boxes[-1].centroid.buffer(2))
    return boxes


@pytest.mark.parametrize("schema", [CELL_SCHEMA, TILE_CELL_SCHEMA], ids=["cells", "tile cells"])
def test_table_comes_back(tmp_path: Path, outlines: np.ndarray, schema: pa.Schema) -> None:
    path = tmp_path / "cells.parquet"
    table = table_of(outlines, schema)
    write_cells(path, table, RECORD)
    found = read_cells(path)
    assert found.replace_schema_metadata(None).equals(table)
    assert shapely.equals_identical(polygons_of(found), outlines).all()
    assert read_record(path) == RECORD


def test_table_without_cells_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    write_cells(path, CELL_SCHEMA.empty_table(), RECORD)
    assert read_cells(path).num_rows == 0
    assert len(polygons_of(read_cells(path))) == 0
    assert len(geopandas.read_parquet(path)) == 0


def test_geopandas_reads_it_whole_and_by_viewport(tmp_path: Path, outlines: np.ndarray) -> None:
    path = tmp_path / "cells.parquet"
    write_cells(path, table_of(outlines), RECORD)
    frame = geopandas.read_parquet(path)
    assert frame.crs is None
    assert shapely.equals_identical(frame.geometry.to_numpy(), outlines).all()
    assert set(MEASUREMENTS) <= set(frame.columns)
    view = (100, 0, 150, 30)
    inside = geopandas.read_parquet(path, bbox=view)
    assert len(inside) == shapely.intersects(outlines, shapely.box(*view)).sum()


def test_metadata_follow_geoparquet(tmp_path: Path, outlines: np.ndarray) -> None:
    path = tmp_path / "cells.parquet"
    write_cells(path, table_of(outlines), RECORD)
    schema = pq.read_schema(path)
    geo = json.loads(schema.metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0"
    assert column["encoding"] == "WKB"
    assert set(column["covering"]["bbox"]) == {"xmin", "ymin", "xmax", "ymax"}
    boxes = pq.read_table(path)["bbox"].combine_chunks().flatten()
    assert np.array_equal(np.stack([b.to_numpy() for b in boxes], 1), shapely.bounds(outlines))


def test_same_table_is_same_bytes(tmp_path: Path, outlines: np.ndarray) -> None:
    for name in ("a", "b"):
        write_cells(tmp_path / name, table_of(outlines), RECORD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_large_tables_have_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    left = np.arange(2 * ROW_GROUP + 1, dtype=float)
    write_cells(path, table_of(np.asarray(shapely.box(left, 0, left + 1, 1))), RECORD)
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups == 3


def test_tables_of_any_size_fill_row_groups(
    tmp_path: Path, outlines: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 16)
    write_cells(tmp_path / "all", table_of(outlines), RECORD)
    table = pq.read_table(tmp_path / "all")
    with writing_cells(tmp_path / "some", table.schema, RECORD) as write:
        for start, stop in ((0, 0), (0, 7), (7, 8), (8, 8), (8, 39), (39, 40)):
            write(table.slice(start, stop - start))
    assert pq.read_table(tmp_path / "some").equals(table)
    with pq.ParquetFile(tmp_path / "some") as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [16, 16, 8]


def test_parts_are_known_by_their_shard(tmp_path: Path) -> None:
    shards = [(0, 0), (0, 9), (0, 10), (2, 1), (10, 0)]
    for shard in reversed(shards):
        part_of(tmp_path, shard).touch()
    (tmp_path / "other.parquet").touch()
    assert list(parts_of(tmp_path)) == shards
    assert all(part_of(tmp_path, shard) == path for shard, path in parts_of(tmp_path).items())


def test_folder_of_parts_is_one_table(tmp_path: Path, outlines: np.ndarray) -> None:
    folder = tmp_path / "tile_cells"
    folder.mkdir()
    write_record(folder, Provenance("segment", {}, {}))
    assert read_cells(folder).num_rows == 0
    table = table_of(outlines, TILE_CELL_SCHEMA)
    write_cells(part_of(folder, (0, 0)), table.slice(0, 15), RECORD)
    write_cells(part_of(folder, (0, 1)), table.slice(15), RECORD)
    assert read_cells(folder).replace_schema_metadata(None).equals(table)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    with pytest.raises(DataError, match="no such product; run the stage that makes it"):
        read_cells(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="not a product of wsipsm"):
        read_cells(path)
    path.write_bytes(b"PAR1 cut off")
    with pytest.raises(DataError, match="not a product of wsipsm"):
        read_cells(path)
