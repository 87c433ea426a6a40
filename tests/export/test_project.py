"""The QuPath project of a cohort: what it holds, names, colours, counts, bad slides."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from wsipsm.config import Export
from wsipsm.errors import DataError, SettingsError
from wsipsm.export.export import export
from wsipsm.export.project import project
from wsipsm.export.qupath import image_names, tissue_outlines
from wsipsm.io.geojson import read_annotations
from wsipsm.io.product import quarantine, read_record
from wsipsm.types import CLASS_COLOURS


@dataclass
class Cohort:
    """Products of some slides, in one order."""

    folder: Path
    tiles: list[Path]
    cells: list[Path]
    zips: list[Path]

    @property
    def products(self) -> dict[str, list[Path]]:
        """What `project` wants."""
        return {"tiles": self.tiles, "cells": self.cells, "zips": self.zips}


@pytest.fixture
def cohort(
    tmp_path: Path,
    save_tiles: Callable[..., Path],
    save_cells: Callable[..., Path],
    square_cells: np.ndarray,
) -> Cohort:
    """Three slides: two share the name of their file, one has a space in it and is cropped."""
    made = Cohort(tmp_path, [], [], [])
    sources = {"a": "batch1/scan.svs", "b": "batch2/Scan.svs", "c": "my slide.mrxs"}
    for count, (slide, name) in enumerate(sources.items(), start=3):
        source = tmp_path / name
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(b"pixels")
        bounds = [100, 200, 2000, 1500] if slide == "c" else [0, 0, 3000, 2000]
        known = {"slide": slide, "source": str(source), "bounds": bounds}
        made.tiles.append(save_tiles(**known))
        path = tmp_path / slide / "cells.parquet"
        made.cells.append(
            save_cells(square_cells[:count], path=path, classes=("nucleus", "positive"), **known)
        )
        made.zips.append(path.with_name("cells.geojson.zip"))
        export(path, made.zips[-1], settings=Export(part_features=2))
    return made


def load(path: Path) -> Any:
    """Content of a JSON file, which must be ASCII."""
    return json.loads(path.read_text(encoding="ascii"))


def test_project_opens_every_slide(cohort: Cohort) -> None:
    target = cohort.folder / "qupath"
    project(target, **cohort.products)
    content = load(target / "project.qpproj")
    assert set(content) == {
        *("version", "createTimestamp", "modifyTimestamp", "uri", "lastID", "images")
    }
    assert content["uri"] == "file:" + str(target / "project.qpproj").replace(" ", "%20")
    assert content["lastID"] == 3
    assert content["createTimestamp"] == content["modifyTimestamp"] > 1e12
    names = [image["imageName"] for image in content["images"]]
    assert names == ["a scan.svs", "b Scan.svs", "my slide.mrxs"]
    assert [image["entryID"] for image in content["images"]] == [1, 2, 3]
    for image in content["images"]:
        assert set(image) == {"serverBuilder", "entryID", "imageName", "metadata"}
        builder = image["serverBuilder"]
        assert set(builder) == {"builderType", "uri", "args"}
        assert builder["builderType"] == "uri"
        assert re.match(r"file:/[^/]", builder["uri"])
    assert content["images"][2]["serverBuilder"]["uri"].endswith("/my%20slide.mrxs")


def test_classes_have_signed_colours(cohort: Cohort) -> None:
    target = cohort.folder / "qupath"
    project(target, **cohort.products)
    classes = load(target / "classifiers" / "classes.json")["pathClasses"]
    assert [entry["name"] for entry in classes] == ["nucleus", "positive", "Tissue"]
    for entry, colour in zip(classes, CLASS_COLOURS[:2], strict=False):
        assert -(2**31) <= entry["color"] < 0
        argb = entry["color"].to_bytes(4, "big", signed=True)
        assert tuple(argb) == (255, *colour)


def test_manifest_counts_what_the_files_hold(
    cohort: Cohort, read_strictly: Callable[[bytes], list[dict[str, Any]]]
) -> None:
    target = cohort.folder / "qupath"
    project(target, **cohort.products)
    images = load(target / "manifest.json")["images"]
    assert list(images) == ["a scan.svs", "b Scan.svs", "my slide.mrxs"]
    for count, (name, entry) in enumerate(images.items(), start=3):
        assert entry["detections"] == {"file": f"detections/{name}.geojson.zip", "count": count}
        with zipfile.ZipFile(target / entry["detections"]["file"]) as archive:
            parts = [read_strictly(archive.read(part)) for part in archive.namelist()]
        assert sum(map(len, parts)) == count
        tissue = read_strictly((target / entry["tissue"]["file"]).read_bytes())
        assert len(tissue) == entry["tissue"]["count"] == 2
        for feature in tissue:
            assert feature["properties"]["objectType"] == "annotation"
            assert feature["properties"]["isLocked"] is True
            assert feature["properties"]["classification"]["name"] == "Tissue"
    files = {path.name for path in (target / "detections").iterdir()}
    assert len(files) == 6


def test_tissue_lies_where_qupath_shows_it(cohort: Cohort) -> None:
    target = cohort.folder / "qupath"
    project(target, **cohort.products)
    whole, _ = read_annotations(target / "detections" / "a scan.svs.tissue.geojson")
    cropped, classes = read_annotations(target / "detections" / "my slide.mrxs.tissue.geojson")
    assert classes == ["Tissue", "Tissue"]
    moved = shapely.transform(cropped, lambda positions: positions + np.array([100, 200]))
    assert shapely.equals_exact(whole, moved, 1e-6).all()
    assert shapely.total_bounds(whole).tolist() == [300, 200, 2800, 1800]


def test_project_brings_its_script_and_its_steps(cohort: Cohort) -> None:
    target = cohort.folder / "qupath"
    project(target, **cohort.products)
    script = (target / "scripts" / "import_detections.groovy").read_text(encoding="ascii")
    for call in ("PathIO.readObjects", "clearDetections()", "resolveHierarchy()", "throw new"):
        assert call in script
    assert script.index("throw new") < script.index("clearDetections()")
    assert "Automate > Project scripts..." in (target / "README.txt").read_text(encoding="ascii")
    record = read_record(target)
    assert record["provenance"]["stage"] == "project"
    assert not (cohort.folder / "qupath.partial").exists()


def test_same_products_are_same_project(cohort: Cohort) -> None:
    target = cohort.folder / "qupath"
    contents = []
    for _ in range(2):
        project(target, **cohort.products)
        files = sorted(path for path in target.rglob("*") if path.is_file())
        contents.append({path: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("kind", ["tiles", "cells", "zips"])
def test_slides_set_aside_are_left_out(cohort: Cohort, kind: str) -> None:
    quarantine(cohort.products[kind][1], stage="tile", reason="Scan.svs: does not open")
    target = cohort.folder / "qupath"
    project(target, **cohort.products)
    assert list(load(target / "manifest.json")["images"]) == ["scan.svs", "my slide.mrxs"]


def test_cohort_without_slides_is_an_error(cohort: Cohort) -> None:
    for path in cohort.zips:
        quarantine(path, stage="export", reason="bad")
    with pytest.raises(DataError, match="every slide was set aside"):
        project(cohort.folder / "qupath", **cohort.products)


def test_lists_must_match(cohort: Cohort) -> None:
    with pytest.raises(SettingsError, match="3 tiles, 3 cells, 2 zips"):
        project(cohort.folder / "qupath", **{**cohort.products, "zips": cohort.zips[:2]})


def test_zip_of_other_cells_is_an_error(cohort: Cohort) -> None:
    with pytest.raises(DataError, match="made from other cells than"):
        project(cohort.folder / "qupath", **{**cohort.products, "zips": cohort.zips[::-1]})


def test_names_are_told_apart_whatever_their_case() -> None:
    sources = [Path("x/One.svs"), Path("y/one.SVS"), Path("y/two.svs")]
    assert image_names(["a", "b", "c"], sources) == ["a One.svs", "b one.SVS", "two.svs"]


def test_tissue_outlines_follow_the_mask() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:25, 10:30] = True
    mask[10:15, 15:20] = False
    mask[30:35, 50:60] = True
    mask[25:27, 30:32] = True  # touches the first piece at a corner only
    outlines = tissue_outlines(mask, size_px=(400, 600), bounds=(0, 0))
    assert sorted(shapely.area(outlines).round().tolist()) == [400, 5000, 37500]
    assert sum(len(outline.interiors) for outline in outlines) == 1
    assert len(tissue_outlines(np.zeros((4, 4), bool), size_px=(8, 8), bounds=(0, 0))) == 0
