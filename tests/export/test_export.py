"""Cells to files: formats by name, bounds, measurements, the same bytes twice."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wsipsm.config import Export
from wsipsm.errors import QuarantinedError, SettingsError
from wsipsm.export.export import export
from wsipsm.io.parquet import read_cells
from wsipsm.io.product import quarantine, read_record
from wsipsm.types import CLASS_COLOURS

SaveCells = Callable[..., Path]


def features_of(target: Path) -> list[dict[str, Any]]:
    """Every feature of a zip of parts."""
    with zipfile.ZipFile(target) as archive:
        texts = [json.loads(archive.read(name)) for name in archive.namelist()]
    return [feature for text in texts for feature in text["features"]]


def test_unknown_name_is_refused(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray
) -> None:
    with pytest.raises(SettingsError, match=r"cells\.csv: no such format; end the name in"):
        export(save_cells(square_cells), tmp_path / "cells.csv", settings=Export())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("part_features", "parts"), [(1, 7), (3, 3), (7, 1), (10_000, 1)])
def test_parts_hold_what_is_asked(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray, part_features: int, parts: int
) -> None:
    target = tmp_path / "a.geojson.zip"
    export(save_cells(square_cells), target, settings=Export(part_features=part_features))
    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == parts
        assert all(info.date_time[0] == 1980 for info in archive.infolist())
        assert all(info.compress_type == zipfile.ZIP_DEFLATED for info in archive.infolist())
    assert len(features_of(target)) == 7
    assert read_record(target)["parts"] == parts


def test_slide_without_cells_has_an_empty_part(
    tmp_path: Path, save_cells: SaveCells, read_strictly: Callable[[bytes], list[Any]]
) -> None:
    cells = save_cells(np.array([], dtype=object))
    export(cells, tmp_path / "a.geojson.zip", settings=Export())
    with zipfile.ZipFile(tmp_path / "a.geojson.zip") as archive:
        assert archive.namelist() == ["part-0000.geojson"]
        assert read_strictly(archive.read("part-0000.geojson")) == []
    export(cells, tmp_path / "a.tsv", settings=Export())
    assert len(pd.read_csv(tmp_path / "a.tsv", sep="\t")) == 0


@pytest.mark.parametrize("name", ["a.geojson.zip", "a.tsv"])
def test_same_cells_are_same_bytes(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray, name: str
) -> None:
    cells = save_cells(square_cells)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        export(cells, tmp_path / folder / name, settings=Export(part_features=2))
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_coordinates_count_from_the_bounds(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray
) -> None:
    cells = save_cells(square_cells, bounds=[40, 50, 2000, 1000])
    export(cells, tmp_path / "a.geojson.zip", settings=Export())
    export(cells, tmp_path / "a.tsv", settings=Export())
    rings = [
        feature["geometry"]["coordinates"][0] for feature in features_of(tmp_path / "a.geojson.zip")
    ]
    corners = [np.min(ring, axis=0).tolist() for ring in rings]
    assert corners == [[10 + 100 * i, 10] for i in range(7)]
    table = pd.read_csv(tmp_path / "a.tsv", sep="\t")
    assert table["Centroid X µm"].tolist() == [(15 + 100 * i) * 0.5 for i in range(7)]
    assert set(table["Centroid Y µm"]) == {7.5}


@pytest.mark.parametrize(("stain", "counterstain"), [("he", "Eosin"), ("ihc", "DAB")])
def test_table_has_the_columns_of_qupath(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray, stain: str, counterstain: str
) -> None:
    cells = save_cells(square_cells, stain=stain, source="/slides/it's a slide.svs")
    export(cells, tmp_path / "a.tsv", settings=Export())
    table = pd.read_csv(tmp_path / "a.tsv", sep="\t", encoding="utf-8", keep_default_na=False)
    assert list(table.columns) == [
        *("Image", "Object ID", "Object type", "Name", "Classification", "Parent", "ROI"),
        *("Centroid X µm", "Centroid Y µm", "Area µm^2", "Perimeter µm", "Circularity"),
        *("Eccentricity", "Solidity", "Max diameter µm", "Min diameter µm"),
        *("Hematoxylin OD mean", "Hematoxylin OD std dev"),
        *(f"{counterstain} OD mean", f"{counterstain} OD std dev"),
        *("Ring: Hematoxylin OD mean", "Ring: Hematoxylin OD std dev"),
        *(f"Ring: {counterstain} OD mean", f"Ring: {counterstain} OD std dev"),
        *("Class score", "Agreement"),
    ]
    rows = read_cells(cells)
    assert table["Object ID"].tolist() == rows["id"].to_pylist()
    assert set(table["Image"]) == {"it's a slide.svs"}
    assert set(table["Object type"]) == {"Detection"}
    assert table["Solidity"][0] == "NaN"
    assert np.allclose(table["Area µm^2"], rows["area_um2"].to_numpy(), atol=1e-4)


def test_table_and_features_agree(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray
) -> None:
    cells = save_cells(square_cells, classes=("nucleus", "positive"))
    export(cells, tmp_path / "a.geojson.zip", settings=Export(part_features=2))
    export(cells, tmp_path / "a.tsv", settings=Export())
    table = pd.read_csv(tmp_path / "a.tsv", sep="\t")
    colours = {"nucleus": list(CLASS_COLOURS[0]), "positive": list(CLASS_COLOURS[1])}
    for feature, (_, row) in zip(
        features_of(tmp_path / "a.geojson.zip"), table.iterrows(), strict=True
    ):
        label = feature["properties"]["classification"]
        assert feature["id"] == row["Object ID"]
        assert label == {"name": row["Classification"], "color": colours[row["Classification"]]}
        measured = feature["properties"]["measurements"]
        finite = row.iloc[9:].dropna()
        assert list(measured) == list(finite.index)
        assert list(measured.values()) == finite.tolist()


def test_colours_are_those_of_the_configuration(
    tmp_path: Path, save_cells: SaveCells, square_cells: np.ndarray
) -> None:
    cells = save_cells(square_cells, classes=("nucleus", "positive"))
    target = tmp_path / "a.geojson.zip"
    export(cells, target, settings=Export(colours=("#0a00FF",)))
    colours = {"nucleus": [10, 0, 255], "positive": list(CLASS_COLOURS[1])}
    assert read_record(target)["colours"] == colours
    shown = [feature["properties"]["classification"] for feature in features_of(target)]
    assert {label["name"]: label["color"] for label in shown} == colours


def test_slide_set_aside_stays_aside(tmp_path: Path) -> None:
    cells = tmp_path / "cells.parquet"
    quarantine(cells, stage="tile", reason="a.svs: does not open")
    with pytest.raises(QuarantinedError, match=r"a\.svs: does not open"):
        export(cells, tmp_path / "cells.tsv", settings=Export())
    assert not (tmp_path / "cells.tsv").exists()
