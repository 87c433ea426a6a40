"""The stage: products in, one JSON out."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave
from skimage.measure import label, regionprops
from skimage.segmentation import expand_labels

from wsipsm.config import Evaluation, Tiling
from wsipsm.errors import DataError, SettingsError
from wsipsm.evaluation.evaluate import evaluate
from wsipsm.evaluation.metrics import METRICS, score_labels
from wsipsm.io import ngff
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.product import Provenance, quarantine
from wsipsm.tiling.tile import tile

from .conftest import HEIGHT, MPP, WIDTH, write_encoder, write_label_cells
from .test_truth import write_geojson

DATA = Path(os.environ.get("WSIPSM_TEST_DATA", "../shared/data")) / "wsi_mosaic"
FEW = Evaluation(resamples=100, field_um=30)
PLAIN = FEW.model_copy(update={"controls": ()})


def run(example, target, *, cells=None, truth="-", settings=PLAIN, workers=1):
    evaluate(
        target,
        tiles=(example.tiles,),
        cells=(cells or example.cells,),
        truth=(str(truth),),
        encoder=example.encoder,
        settings=settings,
        seed=3,
        workers=workers,
    )
    return json.loads(target.read_text())


@pytest.fixture
def truth(example, tmp_path):
    path = tmp_path / "truth.png"
    imsave(path, example.labels.astype(np.uint16), check_contrast=False)
    return path


def worse(labels):
    """Nuclei that are moved, grown and partly missing, each of one piece."""
    found = np.roll(expand_labels(labels, 1), (2, -1), axis=(0, 1))
    found[found % 9 == 0] = 0
    return label(np.where(found % 10 == 5, np.maximum(found - 1, 0), found), connectivity=1)


def test_the_truth_scores_one(example, truth, tmp_path):
    result = run(example, tmp_path / "unet.json", truth=truth)
    assert result["slides"]["drawn"]["unet"] == dict.fromkeys(METRICS, 1.0)
    nuclei = len(np.unique(example.labels)) - 1
    assert result["counts"]["drawn"]["unet"]["true"] == nuclei
    assert result["counts"]["drawn"]["unet"]["found"] == nuclei
    assert result["methods"]["unet"]["aji"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 1}


def test_a_slide_scores_like_the_field_that_it_is(example, truth, tmp_path):
    found = worse(example.labels)
    cells = example.write_cells("worse.parquet", found)
    result = run(example, tmp_path / "unet.json", cells=cells, truth=truth)
    radius_px = FEW.radius_um / MPP
    pieces = score_labels(example.labels, found, radius_px=radius_px)
    assert result["slides"]["drawn"]["unet"] == pytest.approx(pieces, abs=1e-12)
    assert 0.3 < pieces["aji"] < 0.9


def test_intervals_hold_the_mean(example, truth, tmp_path):
    cells = example.write_cells("interval.parquet", worse(example.labels))
    result = run(example, tmp_path / "unet.json", cells=cells, truth=truth)
    for name, value in result["slides"]["drawn"]["unet"].items():
        low, high = result["intervals"]["drawn"]["unet"][name]
        assert low <= value <= high
        assert result["methods"]["unet"][name]["mean"] == value
    low, high = result["intervals"]["drawn"]["unet"]["aji"]
    assert 0.005 < high - low < 0.3


def test_workers_do_not_change_a_byte(example, truth, tmp_path):
    for workers in (1, 3):
        run(example, tmp_path / f"{workers}.json", truth=truth, settings=FEW, workers=workers)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "3.json").read_bytes()


def test_controls_are_scored_beside_the_cells(example, truth, tmp_path):
    methods = run(example, tmp_path / "unet.json", truth=truth, settings=FEW)["methods"]
    assert set(methods) == {"unet", "stain_otsu", "rgb_kmeans", "untrained_psm"}
    assert methods["stain_otsu"]["aji"]["mean"] > 0.8
    assert methods["rgb_kmeans"]["aji"]["mean"] > 0.8
    assert 0 <= methods["untrained_psm"]["aji"]["mean"] < methods["stain_otsu"]["aji"]["mean"]


def test_classes_in_common_are_scored_one_by_one(example, tmp_path):
    named = write_geojson(tmp_path / "truth.geojson", example.labels, ["one", "three"])
    result = run(example, tmp_path / "unet.json", truth=named)
    assert list(result["classes"]["drawn"]) == ["one"]
    assert result["classes"]["drawn"]["one"]["aji"] == 1
    assert result["class_methods"]["one"]["f1"]["n"] == 1
    assert result["slides"]["drawn"]["unet"]["aji"] == 1


def test_two_cells_on_one_nucleus_are_one_too_many(example, truth, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from wsipsm.io.parquet import write_cells

    table = pq.read_table(example.cells).drop_columns(["bbox"])
    twice = pa.concat_tables([table, table.slice(0, 10)])
    record = json.loads(pq.read_schema(example.cells).metadata[b"wsipsm"])
    write_cells(tmp_path / "twice.parquet", twice, record)
    result = run(example, tmp_path / "unet.json", cells=tmp_path / "twice.parquet", truth=truth)
    counts = result["counts"]["drawn"]["unet"]
    assert counts["found"] == counts["true"] + 10
    assert result["slides"]["drawn"]["unet"]["precision"] < 1


def test_what_an_artefact_excludes_is_not_scored(example, truth, tmp_path):
    tiles = tmp_path / "tiles.zarr"
    shutil.copytree(example.tiles, tiles)
    group = ngff.open_group(tiles, "a")
    excluded = np.zeros(group["kept"].shape, np.uint8)
    excluded[0, 1] = 1
    group["excluded"][:] = excluded
    slide = replace(example, tiles=tiles)
    counts = run(slide, tmp_path / "unet.json", truth=truth)["counts"]["drawn"]["unet"]
    centres = 0.5 + np.array([one.centroid for one in regionprops(example.labels)])
    inside = (centres[:, 0] < 128) & (centres[:, 1] >= 128) & (centres[:, 1] < 256)
    assert 0 < inside.sum() < len(inside)
    assert counts["true"] == counts["found"] == len(inside) - inside.sum()


def test_no_cells_score_nothing(example, truth, tmp_path):
    cells = example.write_cells("none.parquet", np.zeros_like(example.labels))
    result = run(example, tmp_path / "unet.json", cells=cells, truth=truth)
    assert set(result["slides"]["drawn"]["unet"].values()) == {0.0}


def test_without_truth_the_file_says_so(example, tmp_path, caplog):
    result = run(example, tmp_path / "unet.json")
    assert result["slides"] == {}
    assert result["methods"] == {}
    assert result["note"] == "no slide has truth: nothing was scored"
    assert "no slide has truth" in caplog.text
    assert result["skipped"] == {"drawn": "no truth is named for it"}


def test_quarantined_slides_are_left_out(example, truth, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    quarantine(bad / "tiles.zarr", stage="tile", reason="bad.svs: broken")
    quarantine(bad / "cells.parquet", stage="stitch", reason="bad.svs: broken")
    common = {"encoder": example.encoder, "settings": PLAIN, "workers": 1}
    evaluate(
        tmp_path / "unet.json",
        tiles=(bad / "tiles.zarr", example.tiles),
        cells=(bad / "cells.parquet", example.cells),
        truth=("-", str(truth)),
        **common,
    )
    result = json.loads((tmp_path / "unet.json").read_text())
    assert list(result["slides"]) == ["drawn"]
    assert result["skipped"] == {"bad": "bad.svs: broken"}
    with pytest.raises(DataError, match="every slide was set aside"):
        evaluate(
            tmp_path / "none.json",
            tiles=(bad / "tiles.zarr",),
            cells=(bad / "cells.parquet",),
            truth=("-",),
            **common,
        )


def test_only_what_lies_in_fields_is_scored(example, tmp_path):
    left = np.where(np.arange(WIDTH) < WIDTH // 2, example.labels, 0)
    path = write_geojson(tmp_path / "left.geojson", left)
    content = json.loads(path.read_text())
    corners = [[0, 0], [WIDTH // 2, 0], [WIDTH // 2, HEIGHT], [0, HEIGHT], [0, 0]]
    field = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": {"classification": {"name": "Region*", "color": [0, 0, 0]}},
    }
    settings = FEW.model_copy(update={"controls": ("stain_otsu",)})
    everywhere = run(example, tmp_path / "a.json", truth=path, settings=settings)
    fields = tmp_path / "fields.geojson"
    fields.write_text(json.dumps({**content, "features": [field, *content["features"]]}))
    inside = run(example, tmp_path / "b.json", truth=fields, settings=settings)
    for method in ("unet", "stain_otsu"):
        both = [result["slides"]["drawn"][method]["precision"] for result in (everywhere, inside)]
        assert both[0] < 0.6
        assert both[1] > 0.9
    counts = [result["counts"]["drawn"]["unet"]["found"] for result in (everywhere, inside)]
    assert 0.4 * counts[0] < counts[1] < 0.6 * counts[0]


def test_a_slide_is_not_scored_against_what_taught_the_model(example, truth, tmp_path):
    drawn = write_geojson(tmp_path / "drawn.geojson", example.labels)
    digest = hashlib.sha256(drawn.read_bytes()).hexdigest()
    provenance = Provenance("train", {}, {}).as_dict()
    record = {"provenance": provenance, "annotations": {"drawn": {"sha256": digest}}}
    save_checkpoint(tmp_path / "unet.pt", {}, record)
    copy = tmp_path / "copy.geojson"
    copy.write_bytes(drawn.read_bytes())
    reason = "its annotations taught the model"
    for name, skipped, taught in [
        (copy, {"drawn": reason}, []),
        ("-", {"drawn": f"no truth is named for it; {reason}"}, []),
        (truth, {}, ["drawn"]),
    ]:
        common = {"encoder": example.encoder, "checkpoint": tmp_path / "unet.pt", "workers": 1}
        evaluate(
            tmp_path / "unet.json",
            tiles=(example.tiles,),
            cells=(example.cells,),
            truth=(str(name),),
            settings=PLAIN,
            **common,
        )
        result = json.loads((tmp_path / "unet.json").read_text())
        assert (result["skipped"], result["taught"]) == (skipped, taught)
        assert bool(result["slides"]) == (not skipped)


def test_wrong_lists_are_refused(example, truth, tmp_path):
    other = example.write_cells("other.parquet", example.labels, model="sam")
    common = {"encoder": example.encoder, "settings": PLAIN}
    target = tmp_path / "unet.json"
    two = (example.tiles, example.tiles)
    with pytest.raises(SettingsError, match="once for each slide"):
        evaluate(target, tiles=two, cells=(example.cells,), truth=("-",), **common)
    with pytest.raises(SettingsError, match="given twice"):
        evaluate(target, tiles=two, cells=(example.cells,) * 2, truth=("-", "-"), **common)
    with pytest.raises(SettingsError, match="no such truth"):
        evaluate(target, tiles=two[:1], cells=(example.cells,), truth=("gone.png",), **common)
    again = tmp_path / "again"
    again.mkdir()
    quarantine(again / "tiles.zarr", stage="tile", reason="x")
    with pytest.raises(SettingsError, match="cells of sam and unet"):
        evaluate(
            target,
            tiles=(example.tiles, _renamed(example.tiles, tmp_path)),
            cells=(example.cells, other),
            truth=(str(truth), "-"),
            **common,
        )


def _renamed(tiles, folder):
    copy = folder / "copy.zarr"
    copy.mkdir()
    record = json.loads((tiles / "zarr.json").read_text())
    record["attributes"]["wsipsm"]["slide"]["slide"] = "other"
    (copy / "zarr.json").write_text(json.dumps(record))
    return copy


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no test data: set WSIPSM_TEST_DATA")
def test_a_real_slide_with_gaps(tmp_path):
    labels = imread(DATA / "monuseg_train4_labels.png").astype(np.int64)
    tiles = tmp_path / "mosaic" / "tiles.zarr"
    tiles.parent.mkdir()
    slide = DATA / "monuseg_train4.tiff"
    tile(slide, tiles, settings=Tiling(shard_tiles=2), slide_mpp=0.25, workers=2)
    write_encoder(tmp_path / "encoder.pt")
    found = worse(labels)
    write_label_cells(tmp_path / "cells.parquet", found, ["nucleus"], model="unet")
    evaluate(
        tmp_path / "unet.json",
        tiles=(tiles,),
        cells=(tmp_path / "cells.parquet",),
        truth=(str(DATA / "monuseg_train4_labels.png"),),
        encoder=tmp_path / "encoder.pt",
        settings=FEW,
        workers=2,
    )
    result = json.loads((tmp_path / "unet.json").read_text())
    scores = result["slides"][slide.stem]
    assert scores["unet"] == pytest.approx(score_labels(labels, found), abs=1e-9)
    assert scores["stain_otsu"]["aji"] > 0.3
    assert scores["rgb_kmeans"]["aji"] > 0.2
