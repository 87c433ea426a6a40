"""Rows of a cell table as exports read them: one after the other, or those in a box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsipsm.io.parquet import BOX, CELL_SCHEMA
from wsipsm.io.product import read_record

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Cells:
    """The product of stage 7, open for reading.

    Attributes
    ----------
    record
        What the product says of itself: `slide`, `classes`, `mpp`, `scale`.
    """

    path: Path
    record: dict[str, Any]

    def tables(self) -> Iterator[pa.Table]:
        """All rows in their order, a row group at a time, in the columns of `CELL_SCHEMA`."""
        with pq.ParquetFile(self.path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=CELL_SCHEMA.names).combine_chunks()

    def within(self, box: Box, columns: Sequence[str]) -> pa.Table:
        """Rows whose bounding box meets `box` (x, y, x, y, level-0 pixels), in their order.

        Only row groups that reach into the box are read. Column `row` counts from 0.
        """
        with pq.ParquetFile(self.path) as file:
            groups = np.flatnonzero(_meets(self._group_boxes, box)).tolist()
            table = file.read_row_groups(groups, columns=[*columns, "bbox"])
        sizes = np.diff(self._group_starts)[groups]
        rows = np.repeat(self._group_starts[:-1][groups], sizes)
        rows += np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        edges = table["bbox"].combine_chunks().flatten()
        inside = _meets(np.stack([edge.to_numpy() for edge in edges], axis=1), box)
        found = table.select(list(columns)).append_column("row", pa.array(rows))
        return found.filter(pa.array(inside))

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self._group_starts[-1])

    @cached_property
    def _metadata(self) -> Any:
        return pq.read_metadata(self.path)

    @cached_property
    def _group_starts(self) -> NDArray[np.int64]:
        """First row of each row group, and the number of rows."""
        groups = range(self._metadata.num_row_groups)
        sizes = [self._metadata.row_group(group).num_rows for group in groups]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def _group_boxes(self) -> NDArray[np.float64]:
        """Bounding box of each row group, (groups, 4), from the statistics of its columns."""
        boxes = np.tile([-np.inf, -np.inf, np.inf, np.inf], (self._metadata.num_row_groups, 1))
        for index in range(len(boxes)):
            group = self._metadata.row_group(index)
            columns = {group.column(i).path_in_schema: i for i in range(group.num_columns)}
            for edge, name in enumerate(BOX):
                known = group.column(columns[f"bbox.{name}"]).statistics
                if known and known.has_min_max:
                    boxes[index, edge] = known.min if edge < 2 else known.max
        return boxes


def _meets(boxes: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    """Which of the boxes (n, 4) have a point in common with `box`."""
    return np.asarray(
        (boxes[:, 0] <= box[2])
        & (boxes[:, 1] <= box[3])
        & (boxes[:, 2] >= box[0])
        & (boxes[:, 3] >= box[1])
    )


def open_cells(path: Path) -> Cells:
    """Open the product of stage 7.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    """
    return Cells(path, read_record(path))
