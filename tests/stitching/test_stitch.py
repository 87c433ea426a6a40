"""The product of stage 7 from cells with truth: nothing lost, doubled or changed; compact."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsipsm.config import Stitching
from wsipsm.errors import DataError
from wsipsm.io import parquet
from wsipsm.io.parquet import TILE_CELL_SCHEMA, part_of, polygons_of, read_cells, write_cells
from wsipsm.io.product import RECORD, read_record
from wsipsm.stitching.resolve import Views, resolve
from wsipsm.stitching.stitch import stitch

from ..benchmarks.cells import mistakes, true_cells, write_product

CELLS = 3000
SEEN = [name for name in TILE_CELL_SCHEMA.names if name != "bbox"]


def stitched(tile_cells: Path) -> Path:
    target = tile_cells.with_name(tile_cells.name + "_cells.parquet")
    stitch(tile_cells, target, settings=Stitching())
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tiles told of the cells, in one row of shards and in several, and stitched."""
    folder = tmp_path_factory.mktemp("stitching")
    for shard_tiles in (1, 2, 3):
        write_product(folder / f"{shard_tiles}", true_cells(CELLS), shard_tiles=shard_tiles)
        stitched(folder / f"{shard_tiles}")
    return folder


def test_every_true_cell_is_there_once(folder: Path) -> None:
    found = polygons_of(read_cells(folder / "1_cells.parquet"))
    assert mistakes(found, true_cells(CELLS)) == {"missing": 0, "doubled": 0, "spurious": 0}
    told = polygons_of(read_cells(folder / "1"))
    assert len(told) > 1.05 * len(found)


def test_product_is_what_the_contract_says_of_all_views(folder: Path) -> None:
    told = read_cells(folder / "1")
    column = {name: told[name].to_numpy() for name in SEEN if name != "geometry"}
    views = Views(
        polygons_of(told),
        column["tile_row"].astype(np.int64) * 100 + column["tile_col"],
        column["owned"],
        column["cut"],
        column["score"],
    )
    kept, _, counts = resolve(views, overlap=Stitching().overlap)
    assert min(counts.owned, counts.rescued, counts.resolved, counts.dropped) > 0
    assert read_record(folder / "1_cells.parquet")["counts"] == asdict(counts)
    cells = read_cells(folder / "1_cells.parquet").select(SEEN)
    expected = told.filter(pa.array(kept)).select(SEEN)
    assert sorted(map(str, cells.to_pylist())) == sorted(map(str, expected.to_pylist()))


@pytest.mark.parametrize("other", [2, 3])
def test_shard_layout_does_not_matter(folder: Path, other: int) -> None:
    paths = [folder / f"{name}_cells.parquet" for name in (1, other)]
    first, second = (read_cells(path).sort_by("id").replace_schema_metadata(None) for path in paths)
    assert first.equals(second)
    assert read_record(paths[0])["counts"] == read_record(paths[1])["counts"]


def test_ids_are_unique_and_bytes_the_same_again(folder: Path) -> None:
    path = folder / "2_cells.parquet"
    ids = read_cells(path)["id"].to_pylist()
    assert len(set(ids)) == len(ids) == CELLS
    before = path.read_bytes()
    path.unlink()
    assert stitched(folder / "2").read_bytes() == before


def test_viewport_is_read_from_few_row_groups(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 50)
    path = stitched(folder / "2")
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [50] * 60
    spans = np.array([[span(group, name) for name in parquet.BOX] for group in groups])
    low, high = spans[:, :2, 0], spans[:, 2:, 1]
    side = high.max()
    rng = np.random.default_rng(0)
    for corner in rng.uniform(0, 0.9 * side, (200, 2)):
        touched = ((low <= corner + 0.1 * side) & (high >= corner)).all(axis=1)
        assert touched.sum() <= 9  # of 60; 1 % of the slide is 30 cells


def span(group: pq.RowGroupMetaData, name: str) -> tuple[float, float]:
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    statistics = columns[f"bbox.{name}"].statistics
    return statistics.min, statistics.max


def test_shards_without_cells_and_slides_without_shards(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    write_product(folder, true_cells(1))
    (part,) = folder.glob("*.parquet")
    for shard in ((0, 1), (2, 5)):
        write_cells(part_of(folder, shard), TILE_CELL_SCHEMA.empty_table(), {"shard": shard})
    assert read_cells(stitched(folder)).num_rows == 1
    part.unlink()
    assert read_cells(stitched(folder)).num_rows == 0
    for empty in folder.glob("*.parquet"):
        empty.unlink()
    assert read_cells(stitched(folder)).num_rows == 0


def test_product_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    write_product(tmp_path / "1", true_cells(1))
    file = tmp_path / "1" / RECORD
    record = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in record.items() if k != "halo_px"}))
    with pytest.raises(DataError, match="made by an earlier version; make it again"):
        stitched(tmp_path / "1")
