"""GeoJSON: repair of outlines, streamed writing, reading of annotations as people have them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsipsm.errors import DataError
from wsipsm.io.geojson import (
    clean,
    feature_text,
    geometries,
    read_annotations,
    write_features,
)

SQUARE = shapely.box(10, 20, 30, 40)
DONUT = shapely.Polygon(SQUARE.exterior.coords, [shapely.box(15, 25, 20, 30).exterior.coords])
TRIANGLE = shapely.Polygon([(0, 0), (9.25, 0), (3, 7.5)])


def array_of(*outlines: shapely.Geometry) -> np.ndarray:
    """Outlines as an object array."""
    return np.array(outlines, dtype=object)


def feature(geometry: Any, name: str | None = None) -> dict[str, Any]:
    """A feature as QuPath exports it; `geometry` is of shapely or already GeoJSON."""
    if isinstance(geometry, shapely.Geometry):
        geometry = json.loads(shapely.to_geojson(geometry))
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [1, 2, 3]}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def collection(*features: dict[str, Any]) -> bytes:
    """Features as a FeatureCollection."""
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


# repair


def test_good_outlines_are_only_snapped() -> None:
    cleaned = clean(array_of(SQUARE, DONUT, TRIANGLE))
    assert cleaned.kept.all()
    assert (cleaned.repaired, cleaned.dropped) == (0, 0)
    assert shapely.equals(cleaned.polygons, array_of(SQUARE, DONUT, TRIANGLE)).all()


def test_bad_outlines_are_repaired_or_dropped_and_counted() -> None:
    bowtie = shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 16)])
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 9, 9)])
    with np.errstate(invalid="ignore"):
        broken = shapely.Polygon([(0, 0), (np.nan, 1), (2, 2)])
        endless = shapely.Polygon([(0, 0), (np.inf, 1), (2, 2)])
    tiny = shapely.box(0, 0, 0.05, 0.05)
    outlines = array_of(bowtie, two, broken, endless, tiny, shapely.Polygon(), SQUARE)
    before = outlines.copy()
    cleaned = clean(outlines)
    assert cleaned.kept.tolist() == [True, True, False, False, False, False, True]
    assert (cleaned.repaired, cleaned.dropped) == (2, 4)
    assert cleaned.polygons[1].equals(shapely.box(5, 5, 9, 9))
    assert all(a is b for a, b in zip(outlines, before, strict=True))


def test_nothing_to_clean() -> None:
    cleaned = clean(array_of())
    assert len(cleaned.polygons) == len(cleaned.kept) == cleaned.repaired == cleaned.dropped == 0


rings = arrays(
    np.float64, st.tuples(st.integers(3, 12), st.just(2)), elements=st.floats(-50, 50, width=32)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rings, min_size=1, max_size=6))
def test_what_is_kept_is_fit_for_qupath(points: list[np.ndarray]) -> None:
    outlines = array_of(*(shapely.Polygon(ring) for ring in points))
    cleaned = clean(outlines)
    positions = shapely.get_coordinates(cleaned.polygons)
    assert len(cleaned.polygons) == cleaned.kept.sum()
    assert shapely.is_valid(cleaned.polygons).all()
    assert (shapely.get_type_id(cleaned.polygons) == 3).all()
    assert (shapely.area(cleaned.polygons) > 0.01).all()
    assert (positions == positions.round(2)).all()
    again = clean(cleaned.polygons)
    assert again.kept.all()


# writing


def test_written_features_come_back(tmp_path: Path) -> None:
    polygons = clean(array_of(SQUARE, DONUT, TRIANGLE)).polygons
    names = ["größer µ", "核", "b"]
    path = tmp_path / "a.geojson"
    with path.open("wb") as file:
        features = map(feature, geometries(polygons), names)
        write_features(file, map(feature_text, features))
    text = path.read_bytes()
    assert text.isascii()
    assert b"9.25" in text
    found, classes = read_annotations(path)
    assert shapely.equals_identical(found, polygons).all()
    assert classes == names


def test_no_features_are_an_empty_collection() -> None:
    file = io.BytesIO()
    write_features(file, [])
    assert json.loads(file.getvalue()) == {"type": "FeatureCollection", "features": []}
    assert geometries(array_of()) == []


def test_geometries_are_those_of_shapely() -> None:
    polygons = array_of(TRIANGLE, DONUT, SQUARE)
    for some in (polygons, polygons[[0, 2]]):
        assert (shapely.from_geojson(geometries(some)) == some).all()


# reading


@pytest.mark.parametrize("name", ["a.geojson", "a.json", "a.GeoJSON", "a.geojson.gz", "a.zip"])
def test_every_kind_of_file_is_read(tmp_path: Path, name: str) -> None:
    text = collection(feature(SQUARE, "tumour"), feature(DONUT))
    path = tmp_path / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("one.geojson", text)
            archive.writestr("folder/two.json", json.dumps(feature(TRIANGLE)))
            archive.writestr("__MACOSX/._one.geojson", b"\x00\x05\x16\x07")
            archive.writestr("notes.txt", "not JSON")
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    polygons, classes = read_annotations(path)
    wanted = [SQUARE, DONUT, TRIANGLE] if path.suffix == ".zip" else [SQUARE, DONUT]
    assert shapely.equals(polygons, wanted).all()
    assert classes == ["tumour", None, None][: len(wanted)]


@pytest.mark.parametrize("wrap", ["collection", "list", "feature", "marked"])
def test_every_shape_of_json_is_read(tmp_path: Path, wrap: str) -> None:
    found = feature(SQUARE, "a")
    texts = {
        "collection": collection(found),
        "list": json.dumps([found]).encode(),
        "feature": json.dumps(found).encode(),
        "marked": b"\xef\xbb\xbf" + collection(found),
    }
    path = tmp_path / "a.geojson"
    path.write_bytes(texts[wrap])
    polygons, classes = read_annotations(path)
    assert polygons[0].equals(SQUARE)
    assert classes == ["a"]


def test_parts_of_a_multipolygon_count_each(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    both = shapely.MultiPolygon([TRIANGLE, SQUARE])
    path.write_bytes(collection(feature(both, "a"), feature(DONUT, "b")))
    polygons, classes = read_annotations(path)
    assert shapely.equals(polygons, [TRIANGLE, SQUARE, DONUT]).all()
    assert classes == ["a", "a", "b"]


def test_hand_drawn_outlines_are_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    bowtie = {"type": "Polygon", "coordinates": [[[0, 0], [20, 20], [20, 0], [0, 16], [0, 0]]]}
    flat = {"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [0, 0], [0, 0]]]}
    high = {"type": "Polygon", "coordinates": [[[0, 0, 5], [9, 0, 5], [9, 9, 5], [0, 0, 5]]]}
    empty = {"type": "Polygon", "coordinates": []}
    path.write_bytes(collection(*map(feature, (bowtie, flat, high, empty), "abcd")))
    polygons, classes = read_annotations(path)
    assert classes == ["a", "c"]
    assert shapely.is_valid(polygons).all()
    assert not shapely.has_z(polygons).any()


def test_origin_is_added(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(collection(feature(SQUARE)))
    polygons, _ = read_annotations(path, origin=(100, 200))
    assert polygons[0].equals(shapely.box(110, 220, 130, 240))


def test_file_without_objects_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(collection())
    polygons, classes = read_annotations(path)
    assert len(polygons) == len(classes) == 0


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.geojson", None, "no such file; correct the path"),
        ("a.xml", b"<xml/>", "not a GeoJSON file; its name must end in"),
        ("a.geojson", b"", "not JSON"),
        ("a.geojson", b'{"type": "Fea', "not JSON"),
        ("a.geojson", json.dumps(feature(SQUARE)).encode() * 2, "not JSON"),
        ("a.geojson", b'{"type":"Polygon","coordinates":[]}', "JSON without GeoJSON features"),
        ("a.geojson", b'{"features": 5}', "JSON without GeoJSON features"),
        ("a.geojson", b"[1, 2]", "JSON without GeoJSON features"),
        ("a.geojson", b"5", "JSON without GeoJSON features"),
        ("a.geojson.gz", b"not gzip", "cannot be unpacked"),
        ("a.geojson.gz", gzip.compress(b"[]" * 99, mtime=0)[:-9], "cannot be unpacked"),
        ("a.zip", b"not zip", "cannot be unpacked"),
        ("a.json", collection(feature(SQUARE), feature(shapely.Point(1, 2))), r"feature 2 \(Point"),
        ("a.json", collection(feature(None)), r"feature 1 \(no geometry\)"),
        (
            "a.json",
            collection(feature({"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9]]]})),
            r"feature 1 \(Polygon\) is no closed polygon",
        ),
    ],
)
def test_unreadable_files_are_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as error:
        read_annotations(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").mkdir()
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_annotations(tmp_path / "a.geojson")
