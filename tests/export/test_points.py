"""Cells as points, and hot spots, as QuPath reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely

from wsipsm.config import Export
from wsipsm.export.export import export
from wsipsm.io.parquet import read_cells

SaveCells = Callable[..., Path]


def grid_of_squares() -> np.ndarray:
    y, x = np.mgrid[100:900:50, 100:900:50]
    return shapely.box(x.ravel(), y.ravel(), x.ravel() + 20.0, y.ravel() + 20.0)


def test_points_are_the_centroids_of_each_class(tmp_path: Path, save_cells: SaveCells) -> None:
    cells = save_cells(
        grid_of_squares(), classes=("negative", "positive"), bounds=[40, 50, 2000, 1000]
    )
    target = tmp_path / "a.points.geojson"
    export(cells, target, settings=Export(colours=("#0000ff", "#ff0000")))
    features = json.loads(target.read_text("ascii"))["features"]
    points = [one for one in features if one["geometry"]["type"] == "MultiPoint"]
    assert [one["properties"]["classification"]["name"] for one in points] == [
        "negative",
        "positive",
    ]
    assert points[1]["properties"]["classification"]["color"] == [255, 0, 0]
    table = read_cells(cells)
    wanted = np.stack([table[f"centroid_{axis}"].to_numpy() for axis in "xy"], 1) - (40, 50)
    found = np.concatenate([one["geometry"]["coordinates"] for one in points])
    np.testing.assert_allclose(np.sort(found, 0), np.sort(wanted.round(2), 0))
    assert {one["properties"]["objectType"] for one in features} == {"annotation"}
    assert len({one["id"] for one in features}) == len(features)
    spots = [one for one in features if one["geometry"]["type"] == "Polygon"]
    assert spots[0]["properties"]["name"].startswith("Hot spot 1: ")
    assert shapely.from_geojson(json.dumps(spots[0]["geometry"])).is_valid


def test_one_class_has_no_hot_spots_and_no_cells_no_points(
    tmp_path: Path, save_cells: SaveCells
) -> None:
    target = tmp_path / "a.points.geojson"
    export(save_cells(grid_of_squares()), target, settings=Export())
    assert len(json.loads(target.read_text())["features"]) == 1
    export(save_cells(np.array([], object)), tmp_path / "b.points.geojson", settings=Export())
    assert json.loads((tmp_path / "b.points.geojson").read_text())["features"] == []
