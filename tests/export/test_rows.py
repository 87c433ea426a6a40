"""Reading a cell table by box: the rows that a whole reading finds, with their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from wsipsm.export.rows import open_cells

from .shapes import nuclei


@pytest.mark.parametrize("group", [7, 100, 10_000])
def test_rows_in_a_box_are_those_that_meet_it(
    tmp_path: Path, save_cells: Callable[..., Path], group: int
) -> None:
    outlines = nuclei(400)
    path = tmp_path / "cells.parquet"
    pq.write_table(pq.read_table(save_cells(outlines)), path, row_group_size=group)
    cells = open_cells(path)
    assert cells.count == 400
    edges = shapely.bounds(outlines)
    for box in ((100, 200, 300, 250), (0, 0, 2000, 2000), (-9, -9, -1, -1)):
        found = cells.within(box, ["id"])
        meet = (edges[:, :2] <= box[2:]).all(axis=1) & (edges[:, 2:] >= box[:2]).all(axis=1)
        assert found["row"].to_pylist() == np.flatnonzero(meet).tolist()
        whole = pq.read_table(path)["id"].to_numpy()
        assert found["id"].to_pylist() == whole[meet].tolist()


def test_all_rows_come_once_and_in_order(tmp_path: Path, save_cells: Callable[..., Path]) -> None:
    source = save_cells(nuclei(50))
    path = tmp_path / "cells.parquet"
    pq.write_table(pq.read_table(source), path, row_group_size=8)
    ids = [name for table in open_cells(path).tables() for name in table["id"].to_pylist()]
    assert ids == pq.read_table(source)["id"].to_pylist()
