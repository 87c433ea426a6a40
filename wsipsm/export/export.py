"""Stage 8: the cells of a slide as a file for another program, one row group at a time."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsipsm.config import Export
from wsipsm.errors import SettingsError
from wsipsm.export.qupath import cell_features, measurement_names, measurements
from wsipsm.io.geojson import write_features
from wsipsm.io.parquet import CELL_SCHEMA, ROW_GROUP
from wsipsm.io.product import Provenance, making, read_record

QUPATH, TABLE = ".geojson.zip", ".tsv"

_LEVEL = 1  # of deflate: 16 % larger than level 6, in a quarter of the time
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


def export(cells: Path, target: Path, *, settings: Export) -> None:
    """Write the cells of a slide for another program; the name of `target` says how.

    Parameters
    ----------
    cells
        The product of stage 7, `cells.parquet`.
    target
        `NAME.geojson.zip` for QuPath: parts of GeoJSON, in pixels of the slide as QuPath sees
        it. `NAME.tsv` for a table of measurements with the columns of QuPath's own export.
    settings
        The number of cells in one part.

    Raises
    ------
    SettingsError
        The name of `target` is neither.
    QuarantinedError
        The slide was set aside.
    """
    if not target.name.endswith((QUPATH, TABLE)):
        raise SettingsError(
            f"{target}: no such format; end the name in {QUPATH} (QuPath) or {TABLE} (table)"
        )
    record = read_record(cells)
    known = settings.model_dump(include={"part_features"})
    provenance = Provenance("export", known, {"cells": record["provenance"]["id"]})
    with making(target, provenance) as partial:
        if target.name.endswith(QUPATH):
            _write_zip(cells, partial.path, record, provenance, settings.part_features)
        else:
            _write_table(cells, partial.path, record)


def _tables(cells: Path) -> Iterator[pa.Table]:
    """Rows of a cell table, a row group at a time."""
    with pq.ParquetFile(cells) as file:
        for batch in file.iter_batches(batch_size=ROW_GROUP, columns=CELL_SCHEMA.names):
            yield pa.Table.from_batches([batch])


def _write_zip(
    cells: Path, path: Path, record: dict[str, Any], provenance: Provenance, part_features: int
) -> None:
    """Write parts, and nothing beside them: QuPath reads every entry. The record is the comment."""
    facts = record["slide"]
    counts = Counter(features=0, repaired=0, dropped=0)
    features = (
        feature
        for table in _tables(cells)
        for feature in cell_features(
            table,
            classes=record["classes"],
            stain=facts["stain"],
            bounds=(facts["bounds"][0], facts["bounds"][1]),
            counts=counts,
        )
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for number in count():
            part = list(islice(features, part_features))
            if part or number == 0:
                _write_part(archive, f"part-{number:04d}.geojson", part)
            if len(part) < part_features:
                break
        content = {"provenance": provenance.as_dict(), "parts": len(archive.namelist()), **counts}
        archive.comment = json.dumps(content, sort_keys=True).encode()


def _write_part(archive: zipfile.ZipFile, name: str, features: list[dict[str, Any]]) -> None:
    text = io.BytesIO()
    write_features(text, features)
    entry = zipfile.ZipInfo(name)  # dated 1980, so that equal cells are equal bytes
    archive.writestr(entry, text.getbuffer(), zipfile.ZIP_DEFLATED, _LEVEL)


def _write_table(cells: Path, path: Path, record: dict[str, Any]) -> None:
    facts = record["slide"]
    names = measurement_names(facts["stain"]).values()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow([*_LEADING, *names])
        for table in _tables(cells):
            writer.writerows(_rows(table, facts))


def _rows(table: pa.Table, facts: dict[str, Any]) -> Iterator[list[Any]]:
    """Rows of the table, in the order of its columns; centroids in microns as QuPath shows them."""
    image = Path(facts["source"]).name
    centroids = np.stack([table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()], axis=1)
    centroids = ((centroids - facts["bounds"][:2]) * facts["mpp"]).round(4)
    _, values = measurements(table, facts["stain"])
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
