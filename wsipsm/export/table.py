"""Cells as a table of measurements, with the columns of QuPath's own export."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsipsm.export.names import measurement_names, measurements
from wsipsm.export.rows import Cells

_LEADING = (
    "Image",
    "Object ID",
    "Object type",
    "Name",
    "Classification",
    "Parent",
    "ROI",
    "Centroid X µm",
    "Centroid Y µm",
)


def write_table(cells: Cells, path: Path) -> None:
    """Write tab-separated rows in UTF-8, in the order of the cells."""
    facts = cells.record["slide"]
    names = measurement_names(facts["stain"]).values()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow([*_LEADING, *names])
        for table in cells.tables():
            writer.writerows(_rows(table, facts))


def _rows(table: pa.Table, facts: dict[str, Any]) -> Iterator[list[Any]]:
    """Rows of the table, in the order of its columns; centroids in microns as QuPath shows them."""
    image = Path(facts["source"]).name
    centroids = np.stack([table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()], axis=1)
    centroids = ((centroids - facts["bounds"][:2]) * facts["mpp"]).round(4)
    values = measurements(table, measurement_names(facts["stain"]))
    for cell, label, centroid, row in zip(
        table["id"].to_pylist(),
        table["class"].to_pylist(),
        centroids.tolist(),
        _texts(values),
        strict=True,
    ):
        leading = [image, cell, "Detection", "", label, "Root object (Image)", "Polygon"]
        yield [*leading, *centroid, *row]


def _texts(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float | str]]:
    """Values as rows, those that are not finite as QuPath writes them: NaN."""
    rows: list[list[float | str]] = values.tolist()
    for row, column in np.argwhere(~np.isfinite(values)):
        rows[row][column] = "NaN"
    return rows
