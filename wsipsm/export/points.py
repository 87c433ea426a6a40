"""Cells as points for QuPath: one set of points for each class, and the hot spots around them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsipsm.config import Export
from wsipsm.export.names import Colour, class_colours
from wsipsm.export.qupath import classification
from wsipsm.export.rows import Cells
from wsipsm.io.geojson import feature_text, geometries, write_features
from wsipsm.models.index import HOT_SPOT_UM, HotSpot, hot_spots

_NAMESPACE = uuid.UUID("0e4a8f9c-65d3-5d5e-8f0a-7b1c9c6c2a55")
_HOT_SPOT: tuple[str, Colour] = ("Hot spot", (200, 0, 0))


def write_points(cells: Cells, path: Path, settings: Export) -> None:
    """Write one annotation of points for each class that has cells, and one for each hot spot.

    QuPath draws and counts sets of points at once, a hundred thousand too; a hot spot is a
    circle, its name says the share of cells that are not of the first class. Cells are read once
    for each class.
    """
    with path.open("wb") as file:
        write_features(file, _features(cells, settings))


def _features(cells: Cells, settings: Export) -> Iterator[bytes]:
    facts = cells.record["slide"]
    for name, colour in class_colours(cells.record["classes"], settings.colours).items():
        points = np.concatenate([*_points(cells, name), np.zeros((0, 2))])
        if len(points):
            placed = (points - facts["bounds"][:2]).round(2)
            shape = {"type": "MultiPoint", "coordinates": placed.tolist()}
            yield _annotation(f"{facts['slide']}/points/{name}", name, (name, colour), shape)
    for number, spot in enumerate(hot_spots_of(cells), start=1):
        name = f"Hot spot {number}: {spot.share.value:.1%} of {spot.share.total:,} cells"
        yield _annotation(f"{facts['slide']}/hot/{number}", name, _HOT_SPOT, _circle(spot, facts))


def hot_spots_of(cells: Cells) -> list[HotSpot]:
    """Where the cells of other classes than the first are most frequent; none of one class."""
    facts, classes = cells.record["slide"], cells.record["classes"]
    if len(classes) < 2:
        return []
    batches = (
        (
            table["centroid_x"].to_numpy(),
            table["centroid_y"].to_numpy(),
            table["class"].to_numpy(zero_copy_only=False) != classes[0],
        )
        for table in cells.tables()
    )
    return hot_spots(batches, size_px=(facts["height_px"], facts["width_px"]), mpp=facts["mpp"])


def _points(cells: Cells, name: str) -> Iterator[NDArray[np.float64]]:
    """Centroids (n, 2) of the cells of a class, as x and y in level-0 pixels."""
    for table in cells.tables():
        here = table["class"].to_numpy(zero_copy_only=False) == name
        both = [table[f"centroid_{axis}"].to_numpy()[here] for axis in "xy"]
        yield np.stack(both, axis=1)


def _circle(spot: HotSpot, facts: dict[str, Any]) -> bytes:
    left, top = facts["bounds"][:2]
    centre = shapely.Point(spot.x - left, spot.y - top)
    circle = centre.buffer(HOT_SPOT_UM / facts["mpp"], quad_segs=16)
    return geometries(np.array([shapely.set_precision(circle, 0.01)], dtype=object))[0]


def _annotation(key: str, name: str, kind: tuple[str, Colour], geometry: object) -> bytes:
    properties = {
        "objectType": "annotation",
        "name": name,
        "classification": classification(*kind),
    }
    feature = {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, key)),
        "geometry": geometry,
        "properties": properties,
    }
    return feature_text(feature)
