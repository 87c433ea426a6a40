"""Every rule of QuPath's reader, shown to fire on a bad example, and kept by what we export."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from wsipsm.config import Export
from wsipsm.export.export import export
from wsipsm.io.geojson import read_annotations
from wsipsm.io.parquet import polygons_of, read_cells
from wsipsm.io.product import read_record
from wsipsm.types import MEASUREMENTS

from .shapes import nuclei

Read = Callable[[bytes], list[dict[str, Any]]]

GOOD: dict[str, Any] = {
    "type": "Feature",
    "id": "7b0a9fd0-70b8-5c4e-9f4e-5f6c9cbb9a01",
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9.25, 0], [9, 9], [0, 9], [0, 0]]]},
    "properties": {
        "objectType": "detection",
        "classification": {"name": "nucleus", "color": [0, 158, 115]},
        "measurements": {"Area px": 41.2},
    },
}
RING = GOOD["geometry"]["coordinates"][0]
OTHER_ID = "7b0a9fd0-70b8-5c4e-9f4e-5f6c9cbb9a02"
BOWTIE = [[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]
FAR_HOLE = [[30, 30], [30, 35], [35, 35], [30, 30]]
OVERLAPPING = [[RING], [[[1, 1], [8, 1], [8, 8], [1, 1]]]]


def changed(path: str, value: Any) -> bytes:
    """The good feature with one member changed; `path` is dotted, a value of ... removes it."""
    feature = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place = feature
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps([feature]).encode()


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("type", "Foo", "not a feature"),
        ("colour", 1, "unknown member"),
        ("id", None, "id must be a string"),
        ("id", ..., "id must be a string"),
        ("id", "cell-1", "badly formed"),
        ("geometry", None, "geometry must be an object"),
        ("geometry", ..., "geometry must be an object"),
        ("geometry", {}, "Polygon or MultiPolygon"),
        ("geometry.type", "GeometryCollection", "Polygon or MultiPolygon"),
        ("geometry.colour", 1, "unknown member of a geometry"),
        ("geometry.plane", {"q": 1}, "unknown key in plane"),
        ("geometry.coordinates", [RING[:-1]], "unclosed"),
        ("geometry.coordinates", [RING[:2] + RING[:1]], "fewer than 4"),
        ("geometry.coordinates", [[[0, float("nan")], *RING[1:]]], "finite"),
        ("geometry.coordinates", [[[0, 0.001], *RING[1:-1], [0, 0.001]]], "two decimals"),
        ("geometry.coordinates", [[[*position, 0] for position in RING]], "x, y"),
        ("geometry.coordinates", [[["0", 0], *RING[1:-1], ["0", 0]]], "must be a number"),
        ("geometry.coordinates", [BOWTIE], "Self-intersection"),
        ("geometry.coordinates", [RING, FAR_HOLE], "Hole lies outside shell"),
        ("geometry", {"type": "MultiPolygon", "coordinates": OVERLAPPING}, "invalid geometry"),
        ("geometry.coordinates", [[[0, 0], [0.1, 0], [0.1, 0.1], [0, 0]]], "area"),
        ("nucleusGeometry", GOOD["geometry"], "for cells"),
        ("properties", None, "properties must be an object"),
        ("properties.objectType", "Detection", "objectType"),
        ("properties.objectType", ..., "objectType"),
        ("properties.nucleusGeometry", GOOD["geometry"], "unknown property"),
        ("properties.plane", {}, "unknown property"),
        ("properties.classification", "nucleus", "must be an object"),
        ("properties.classification.name", "", "empty"),
        ("properties.classification.name", None, "empty"),
        ("properties.classification.name", "a: b", "colon"),
        ("properties.classification.color", ..., "color"),
        ("properties.classification.color", -16711936, "color"),
        ("properties.classification.color", "#00ff00", "color"),
        ("properties.classification.color", [0, 0, 256], "color"),
        ("properties.measurements", [1], "must be an object"),
        ("properties.measurements", {"a": "large"}, "measurement must be finite"),
        ("properties.measurements", {"a": None}, "measurement must be finite"),
        ("properties.measurements", {"a": True}, "measurement must be finite"),
        ("properties.measurements", {"a": {"b": 1}}, "measurement must be finite"),
        ("properties.measurements", {"a": 1e39}, "measurement must be finite"),
        ("properties.measurements", {"a": float("inf")}, "finite"),
        ("properties.measurements", {"": 1}, "name must not be empty"),
        ("properties.isLocked", "true", "isLocked"),
        ("properties.name", None, "name must be a string"),
        ("properties.name", "", "name must be a string"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_rule_fires(read_strictly: Read, path: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        read_strictly(changed(path, value))


def test_rules_about_a_whole_file_fire(read_strictly: Read) -> None:
    recoloured = copy.deepcopy(GOOD) | {"id": OTHER_ID}
    recoloured["properties"]["classification"]["color"] = [1, 2, 3]
    with pytest.raises(ValueError, match="duplicate id"):
        read_strictly(json.dumps([GOOD, GOOD]).encode())
    with pytest.raises(ValueError, match="one colour"):
        read_strictly(json.dumps([GOOD, recoloured]).encode())
    with pytest.raises(ValueError, match="Extra data"):
        read_strictly(json.dumps(GOOD).encode() + b"\n" + json.dumps(GOOD).encode())
    with pytest.raises(ValueError, match="ascii"):
        read_strictly(json.dumps({**GOOD, "id": "µ"}, ensure_ascii=False).encode())


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: [f]], ids=["feature", "list"])
def test_good_feature_passes(read_strictly: Read, wrap: Callable[[Any], Any]) -> None:
    assert len(read_strictly(json.dumps(wrap(GOOD)).encode())) == 1
    collection = {"type": "FeatureCollection", "features": [GOOD, {**GOOD, "id": OTHER_ID}]}
    assert len(read_strictly(json.dumps(collection).encode())) == 2


def test_nasty_cells_keep_every_rule(
    tmp_path: Path, save_cells: Callable[..., Path], nasty: np.ndarray, read_strictly: Read
) -> None:
    target = tmp_path / "a.geojson.zip"
    export(save_cells(nasty), target, settings=Export())
    with zipfile.ZipFile(target) as archive:
        features = read_strictly(archive.read("part-0000.geojson"))
    assert len(features) == len(nasty) - 3
    assert any(len(feature["geometry"]["coordinates"]) == 2 for feature in features)


def features_of(target: Path, read_strictly: Read) -> list[dict[str, Any]]:
    """Every feature of a zip, each of which keeps the rules."""
    with zipfile.ZipFile(target) as archive:
        parts = [read_strictly(archive.read(name)) for name in archive.namelist()]
    return [feature for part in parts for feature in part]


@pytest.mark.slow
def test_hundred_thousand_cells_keep_every_rule(
    save_cells: Callable[..., Path], nasty: np.ndarray, read_strictly: Read
) -> None:
    outlines = np.concatenate([np.tile(nasty, 200), nuclei(100_000 - 200 * len(nasty))])
    outlines = np.random.default_rng(0).permutation(outlines)
    cells = save_cells(outlines, classes=("negative", "positive"))
    target = cells.with_name("cells.geojson.zip")
    export(cells, target, settings=Export())
    record = read_record(target)
    features = features_of(target, read_strictly)
    assert record["dropped"] == 200 * 3  # too small, no area, empty
    assert record["repaired"] == 200 * 5  # bow tie, two bad holes, spike, neck
    assert len(features) == record["features"] == 100_000 - 200 * 3
    assert record["parts"] == 10
    written = {feature["id"] for feature in features}
    ids = pq.read_table(cells, columns=["id"])["id"].to_pylist()
    assert [feature["id"] for feature in features] == [name for name in ids if name in written]


def test_cells_around_nuclei_keep_every_rule(
    save_cells: Callable[..., Path], nasty: np.ndarray, read_strictly: Read
) -> None:
    cells = save_cells(np.concatenate([nuclei(300), nasty]), mpp=0.25, bounds=[7, 9, 90, 90])
    targets = [cells.with_name(f"{name}.geojson.zip") for name in ("nuclei", "cells")]
    for target, width in zip(targets, (0, 5), strict=True):
        export(cells, target, settings=Export(cell_expansion_um=width))
    detections, grown = (features_of(target, read_strictly) for target in targets)
    assert len(grown) == len(detections) == 300 + len(nasty) - 3
    for detection, cell in zip(detections, grown, strict=True):
        assert cell["properties"].pop("objectType") == "cell"
        assert detection["properties"].pop("objectType") == "detection"
        assert cell["properties"] == detection["properties"]
        assert cell["nucleusGeometry"] == detection["geometry"]
    shapes = [
        shapely.from_geojson([json.dumps(cell[name]) for cell in grown])
        for name in ("nucleusGeometry", "geometry")
    ]
    assert shapely.covers(shapely.buffer(shapes[1], 0.02), shapes[0])[:300].all()
    assert (shapely.area(shapes[1]) > 1.3 * shapely.area(shapes[0]))[:300].all()


def test_cells_do_not_depend_on_row_groups(tmp_path: Path, save_cells: Callable[..., Path]) -> None:
    source = save_cells(nuclei(300), mpp=0.25)
    texts = []
    for size in (300, 37):
        cells = tmp_path / f"{size}.parquet"
        pq.write_table(pq.read_table(source), cells, row_group_size=size)
        export(cells, tmp_path / "a.geojson.zip", settings=Export(cell_expansion_um=5))
        texts.append((tmp_path / "a.geojson.zip").read_bytes())
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def exported(
    save_cells: Callable[..., Path], real_outlines: np.ndarray, nasty: np.ndarray
) -> tuple[Path, Path]:
    """Real nuclei with the nasty outlines among them, and the zip made from them."""
    outlines = np.concatenate([real_outlines[:1500], nasty, real_outlines[1500:]])
    cells = save_cells(outlines, classes=("nucleus", "größer"))
    target = cells.with_name("cells.geojson.zip")
    export(cells, target, settings=Export(part_features=1000))
    return cells, target


@pytest.mark.real_data
def test_real_and_nasty_cells_keep_every_rule(
    exported: tuple[Path, Path], read_strictly: Read
) -> None:
    cells, target = exported
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        parts = [read_strictly(archive.read(name)) for name in names]
    assert names == [f"part-{number:04d}.geojson" for number in range(len(names))]
    assert {len(part) for part in parts[:-1]} == {1000}
    features = [feature for part in parts for feature in part]
    table = read_cells(cells)
    record = read_record(target)
    assert record["features"] == len(features) > 2000
    assert record["features"] + record["dropped"] == len(table)
    assert record["dropped"] == 3  # too small, no area, empty
    assert record["repaired"] >= 5
    ids = [feature["id"] for feature in features]
    written = set(ids)
    assert ids == [cell for cell in table["id"].to_pylist() if cell in written]
    assert {feature["properties"]["objectType"] for feature in features} == {"detection"}
    measured = [len(feature["properties"]["measurements"]) for feature in features]
    assert min(measured) == len(MEASUREMENTS) + 1  # and agreement
    assert max(measured) == len(MEASUREMENTS) + 2  # and the score


@pytest.mark.real_data
def test_outlines_stay_where_they_were(exported: tuple[Path, Path]) -> None:
    cells, target = exported
    table = read_cells(cells)
    before = dict(zip(table["id"].to_pylist(), polygons_of(table), strict=True))
    with zipfile.ZipFile(target) as archive:
        first = json.loads(archive.read("part-0000.geojson"))["features"]
    after = np.array([shapely.geometry.shape(feature["geometry"]) for feature in first])
    originals = np.array([before[feature["id"]] for feature in first])
    valid = shapely.is_valid(originals)
    moved = shapely.hausdorff_distance(originals[valid], after[valid])
    assert valid.sum() > 900
    assert np.median(moved) < 0.0101
    areas = shapely.area(originals[valid]), shapely.area(after[valid])
    assert np.allclose(*areas, rtol=0.01)


@pytest.mark.real_data
def test_geopandas_reads_table_and_parts(exported: tuple[Path, Path]) -> None:
    cells, target = exported
    table = geopandas.read_parquet(cells)
    assert len(table) == len(read_cells(cells))
    with zipfile.ZipFile(target) as archive:
        parts = [geopandas.read_file(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert sum(map(len, parts)) == read_record(target)["features"]
    assert all(part.geometry.is_valid.all() for part in parts)


@pytest.mark.real_data
def test_our_reader_takes_what_we_write(exported: tuple[Path, Path]) -> None:
    polygons, classes = read_annotations(exported[1])
    with zipfile.ZipFile(exported[1]) as archive:
        features = [
            feature
            for name in archive.namelist()
            for feature in json.loads(archive.read(name))["features"]
        ]
    written = shapely.from_geojson([json.dumps(feature["geometry"]) for feature in features])
    assert shapely.equals_identical(polygons, written).all()
    assert set(classes) == {"nucleus", "größer"}
