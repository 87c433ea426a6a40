"""The way back from QuPath: cells out, fields drawn around them, and targets in."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import torch

from wsipsm.config import Export, Inference, Training
from wsipsm.errors import DataError
from wsipsm.export.export import export
from wsipsm.io.annotations import open_annotations
from wsipsm.io.parquet import polygons_of, read_cells, write_cells
from wsipsm.io.product import read_record
from wsipsm.io.raster import fill_polygons
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.models.segmenter import UNetSegmenter, load_segmenter
from wsipsm.training.fields import Fields
from wsipsm.training.targets import IGNORE
from wsipsm.training.train import train
from wsipsm.types import Region

from ..io.test_annotations import drawn, write

FIELD = (100, 140, 300, 420)
"""Left, top, right, bottom of a field in working pixels."""


def in_level_0(slide: Tiles, box: tuple[int, ...] = FIELD) -> shapely.Polygon:
    x, y = slide.bounds[:2]
    return shapely.transform(shapely.box(*box), lambda at: at * slide.scale - (x, y))


@pytest.mark.parametrize("corner", [(0, 0), (64, 32)])
def test_cells_come_back_from_qupath_as_the_same_targets(products, tmp_path, corner) -> None:
    slide = replace(open_tiles(products.tiles), bounds=(*corner, 900, 900))
    record = json.loads(pq.read_schema(products.cells).metadata[b"wsipsm"])
    record["slide"]["bounds"] = slide.bounds
    cells = read_cells(products.cells)
    write_cells(tmp_path / "cells.parquet", cells, record)
    export(tmp_path / "cells.parquet", tmp_path / "cells.geojson.zip", settings=Export())
    with zipfile.ZipFile(tmp_path / "cells.geojson.zip", "a") as archive:
        field = drawn(in_level_0(slide), "Region*")
        archive.writestr("field.geojson", json.dumps(field))

    fields = Fields(tmp_path / "cells.geojson.zip", slide, ["nucleus"])
    whole = Region(0, 0, slide.grid.height_px, slide.grid.width_px)
    blank = np.zeros((whole.height, whole.width), np.int64)
    classes, instances, known = fields.lay_over(whole, blank, blank)

    ids = np.arange(1, cells.num_rows + 1)
    wanted = fill_polygons(polygons_of(cells), ids, whole, scale=slide.scale)
    left, top, right, bottom = FIELD
    inside = np.zeros_like(known)
    inside[top:bottom, left:right] = True
    assert known[inside].all()
    assert 20 < fields.facts["cells"] < cells.num_rows
    near_one = ((classes == 1) & (wanted > 0) & known).sum() / ((wanted > 0) & known).sum()
    assert near_one > 0.995
    assert (classes[known] == (instances[known] > 0)).all()
    pairs = np.unique(np.stack([instances[known], wanted[known]]), axis=1, return_counts=True)[1]
    assert np.sort(pairs)[::-1][: fields.facts["cells"] + 1].sum() > 0.995 * known.sum()


def test_a_field_rules_inside_and_objects_that_it_cuts_are_ignored_outside(
    products, tmp_path
) -> None:
    slide = open_tiles(products.tiles)
    cell = (290, 200, 310, 220)
    path = write(
        tmp_path / "a.geojson",
        drawn(in_level_0(slide), "Region*"),
        drawn(in_level_0(slide, cell), "b"),
        drawn(in_level_0(slide, (400, 400, 420, 420)), "unheard of, and far from the field"),
    )
    fields = Fields(path, slide, ["a", "b"])
    instances = np.zeros((512, 512), np.int64)
    instances[300:310, 295:305] = 7_000_000_000
    instances[450:460, 450:460] = 5
    classes, found, known = fields.lay_over(
        Region(0, 0, 512, 512), (instances > 0).astype(np.uint8), instances
    )
    assert (classes[200:220, 290:310] == 2).all()
    assert len(np.unique(found[200:220, 290:310])) == 1
    assert known[200:220, 290:310].all()
    assert (classes[300:310, 300:305] == IGNORE).all()
    assert not found[300:310, 295:305].any()
    assert (classes[450:460, 450:460] == 1).all()
    assert (found[450:460, 450:460] == 5).all()
    assert (classes[known] > 0).sum() == 400
    assert known.sum() == 200 * 280 + 200


def test_places_are_drawn_evenly_from_the_fields(products, tmp_path) -> None:
    slide = open_tiles(products.tiles)
    boxes = [(10, 10, 40, 20), (100, 300, 130, 390)]
    path = write(
        tmp_path / "a.geojson", *(drawn(in_level_0(slide, box), "Region*") for box in boxes)
    )
    fields = Fields(path, slide, ["nucleus"])
    rng = np.random.default_rng(0)
    y, x = np.array([fields.draw(rng) for _ in range(500)]).T
    inside = [(x >= a) & (x < c) & (y >= b) & (y < d) for a, b, c, d in boxes]
    assert (inside[0] | inside[1]).all()
    assert 0.05 < inside[0].mean() < 0.15


@pytest.mark.parametrize(
    ("features", "classes", "sentence"),
    [
        ([((9, 9, 20, 20), "nucleus")], ["nucleus"], "no field of the class"),
        ([((5000, 0, 6000, 90), "Region*")], ["nucleus"], "no field lies in tissue"),
        ([(FIELD, "Region*"), ((150, 150, 160, 160), "blob")], ["nucleus"], "class 'blob', but"),
        ([(FIELD, "Region*"), ((150, 150, 160, 160), None)], ["a", "b"], "no class, but .* a, b"),
    ],
)
def test_annotations_that_cannot_teach_are_one_sentence(
    products, tmp_path: Path, features, classes, sentence
) -> None:
    slide = open_tiles(products.tiles)
    shapes = [drawn(in_level_0(slide, box), name) for box, name in features]
    path = write(tmp_path / "a.geojson", *shapes)
    with pytest.raises(DataError, match=sentence) as error:
        Fields(path, slide, classes)
    assert str(error.value).startswith(str(path))


def contrast(slide: Tiles, model: Path, region: Region, truth: np.ndarray) -> float:
    """How much likelier a network finds foreground in true cells than beside them."""
    segmenter, _ = load_segmenter(
        model, settings=Inference(), mpp=slide.mpp, device=torch.device("cpu")
    )
    image = slide.read(region)[None]
    assert isinstance(segmenter, UNetSegmenter)
    chances, _, _ = segmenter.knowing(segmenter.look(image)).maps(image)
    chance = 1 - chances[0, 0]
    return float(chance[truth].mean() - chance[~truth].mean())


def test_cells_in_a_field_teach_what_cells_look_like_elsewhere(
    products, drawn_slides: Path, tmp_path: Path
) -> None:
    slide = open_tiles(products.tiles)
    right = Region(0, 256, 512, 256)
    features = json.loads((drawn_slides / "phantom_1.cells.geojson").read_text())["features"]
    field = drawn(in_level_0(slide, (0, 0, 256, 512)), "Region*")
    settings = Training(
        rounds=1, steps=40, batch=4, tile_px=64, regions=8, averaging=0, annotated_share=1
    )
    model, seen = tmp_path / "unet.pt", {}
    for name, cells in {"empty": [], "cells": features}.items():
        path = write(tmp_path / f"{name}.geojson", field, *cells)
        lesson = (products.tiles, products.pseudomasks, str(path))
        train([lesson], model, model="unet", settings=settings, seed=0, workers=2)
        truth = open_annotations(drawn_slides / "phantom_1.cells.geojson", slide).ids(right) > 0
        seen[name] = contrast(slide, model, right, truth)
    assert seen["cells"] > 0.2
    assert seen["cells"] > 3 * seen["empty"]

    record = read_record(model)
    facts = record["annotations"][slide.slide]
    assert facts["path"] == str(path)
    assert record["provenance"]["inputs"][f"{slide.slide}: cells.geojson"] == facts["sha256"]
    assert facts["fields"] == 1
    assert facts["area_px"] == 512 * 1024
