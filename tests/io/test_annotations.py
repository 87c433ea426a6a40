"""What people drew on a slide: which objects are fields, which are cells, and where they lie."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from wsipsm.export.qupath import TISSUE
from wsipsm.io.annotations import NO_CELLS, open_annotations
from wsipsm.io.tiles import open_tiles
from wsipsm.types import Region


def drawn(shape: shapely.Geometry, name: str | None = None, **more: object) -> dict[str, object]:
    properties = {"classification": {"name": name, "color": [9, 9, 9]}} if name else {}
    geometry = json.loads(shapely.to_geojson(shape))
    return {"type": "Feature", "geometry": geometry, "properties": properties, **more}


def write(path: Path, *features: dict[str, object]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize("field", ["Region*", "Region", "region"])
def test_fields_and_cells_are_told_apart_by_their_class(products, tmp_path, field) -> None:
    path = write(
        tmp_path / "a.geojson",
        drawn(shapely.box(0, 0, 50, 50), field),
        drawn(shapely.box(1, 1, 9, 9), "nucleus"),
        drawn(shapely.box(0, 0, 90, 90), "Ignore*"),
        drawn(shapely.box(0, 0, 99, 99), NO_CELLS),
        drawn(shapely.box(11, 11, 19, 19)),
    )
    found = open_annotations(path, open_tiles(products.tiles))
    assert [shape.bounds for shape in found.fields] == [(0, 0, 50, 50)]
    assert [shape.bounds for shape in found.cells] == [(1, 1, 9, 9), (11, 11, 19, 19)]
    assert found.classes == ["nucleus", None]
    assert NO_CELLS == TISSUE


def test_of_a_cell_the_nucleus_counts(products, tmp_path) -> None:
    nucleus = json.loads(shapely.to_geojson(shapely.box(4, 4, 6, 6)))
    path = write(
        tmp_path / "a.geojson", drawn(shapely.box(0, 0, 9, 9), "nucleus", nucleusGeometry=nucleus)
    )
    found = open_annotations(path, open_tiles(products.tiles))
    assert found.cells[0].bounds == (4, 4, 6, 6)


def test_pixels_are_counted_from_the_corner_of_the_bounds(products, tmp_path) -> None:
    slide = replace(open_tiles(products.tiles), bounds=(40, 20, 500, 500))
    assert slide.scale == 2
    path = write(
        tmp_path / "a.geojson",
        drawn(shapely.box(0, 0, 20, 10), "Region*"),
        drawn(shapely.box(4, 2, 8, 8)),
    )
    found = open_annotations(path, slide)
    region = Region(9, 18, 8, 14)
    ids = np.zeros((40, 40), int)
    ids[11:14, 22:24] = 1
    field = np.zeros((40, 40), bool)
    field[10:15, 20:30] = True
    np.testing.assert_array_equal(found.ids(region), ids[region.slices])
    np.testing.assert_array_equal(found.in_fields(region), field[region.slices])
