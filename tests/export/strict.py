"""A reader of GeoJSON as strict as QuPath's own."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import orjson
import shapely

FLOAT32_MAX = float(np.finfo(np.float32).max)


def read(text: bytes) -> list[dict[str, Any]]:
    """The features of a GeoJSON text, or `ValueError` where QuPath would reject or lose some."""
    try:
        content = orjson.loads(text.decode("ascii"))
    except orjson.JSONDecodeError:  # again, by a slower reader that names the reason
        content = json.loads(text, parse_constant=_refuse_constant)
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content["features"]
    features: list[dict[str, Any]] = content if isinstance(content, list) else [content]
    colours: dict[str, list[int]] = {}
    for feature in features:
        _check_feature(feature, colours)
    ids = [feature["id"] for feature in features]
    _expect(len(set(ids)) == len(ids), "duplicate id")
    for name in ("geometry", "nucleusGeometry"):
        _check_shapes([feature[name] for feature in features if name in feature])
    return features


def _refuse_constant(text: str) -> None:
    raise ValueError(f"not a finite number: {text}")


def _expect(good: bool, rule: str) -> None:
    if not good:
        raise ValueError(rule)


def _check_feature(feature: dict[str, Any], colours: dict[str, list[int]]) -> None:
    _expect(feature.get("type") == "Feature", "not a feature")
    known = {"type", "id", "geometry", "properties", "nucleusGeometry"}
    _expect(set(feature) <= known, "unknown member of a feature")
    _expect(isinstance(feature.get("id"), str), "id must be a string")
    _expect(str(uuid.UUID(feature["id"])) == feature["id"], "id must be a UUID")
    _expect(isinstance(feature.get("properties"), dict), "properties must be an object")
    properties = feature["properties"]
    kind = properties.get("objectType")
    _expect(kind in ("detection", "annotation", "cell", "tile"), "objectType")
    _check_geometry(feature.get("geometry"))
    if "nucleusGeometry" in feature:
        _expect(kind == "cell", "nucleusGeometry is for cells")
        _check_geometry(feature["nucleusGeometry"])
    known = {"objectType", "classification", "measurements", "isLocked", "name"}
    _expect(set(properties) <= known, "unknown property")
    _expect(isinstance(properties.get("isLocked", False), bool), "isLocked must be a bool")
    _expect(_is_text(properties.get("name", "a name")), "name must be a string")
    if "classification" in properties:
        _check_class(properties["classification"], colours)
    _check_measurements(properties.get("measurements", {}))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _check_class(found: Any, colours: dict[str, list[int]]) -> None:
    _expect(isinstance(found, dict), "classification must be an object")
    _expect(_is_text(found.get("name")), "class name must not be empty")
    _expect(":" not in found["name"], "a colon derives a class")
    colour = found.get("color")
    _expect(
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(value) is int and 0 <= value <= 255 for value in colour),
        "color must be [r, g, b]",
    )
    _expect(colours.setdefault(found["name"], colour) == colour, "one colour for a class")


def _check_measurements(found: Any) -> None:
    _expect(isinstance(found, dict), "measurements must be an object")
    _expect(all(found), "measurement name must not be empty")
    numbers = {type(value) for value in found.values()} <= {int, float}
    small = numbers and all(abs(value) < FLOAT32_MAX for value in found.values())
    _expect(small, "measurement must be finite")


def _check_geometry(geometry: Any) -> None:
    _expect(isinstance(geometry, dict), "geometry must be an object")
    _expect(set(geometry) <= {"type", "coordinates", "plane"}, "unknown member of a geometry")
    plane = geometry.get("plane", {})
    _expect(isinstance(plane, dict) and set(plane) <= {"c", "z", "t"}, "unknown key in plane")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    _expect(kind in ("Polygon", "MultiPolygon"), "geometry must be a Polygon or MultiPolygon")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    for polygon in polygons:
        for ring in polygon:
            _check_ring(ring)


def _check_ring(ring: Any) -> None:
    _expect(len(ring) >= 4, "fewer than 4 positions")
    _expect({len(position) for position in ring} == {2}, "position must be x, y")
    kinds = {type(value) for position in ring for value in position}
    _expect(kinds <= {int, float}, "coordinate must be a number")
    _expect(ring[0] == ring[-1], "unclosed ring")


def _check_shapes(geometries: list[dict[str, Any]]) -> None:
    texts = [
        orjson.dumps({"type": found["type"], "coordinates": found["coordinates"]})
        for found in geometries
    ]
    shapes = shapely.from_geojson(texts)
    positions = shapely.get_coordinates(shapes)
    _expect(bool((np.abs(positions - positions.round(2)) < 1e-9).all()), "more than two decimals")
    for reason in shapely.is_valid_reason(shapes[~shapely.is_valid(shapes)]):
        _expect(False, f"invalid geometry: {reason}")
    _expect(bool((shapely.area(shapes) > 0.01).all()), "area below 0.01")
