"""The page of a cohort, read as a browser would, and the table of slides that were set aside."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from wsipsm import cli
from wsipsm.config import Evaluation, Export
from wsipsm.errors import DataError
from wsipsm.evaluation.evaluate import evaluate
from wsipsm.export.export import export
from wsipsm.io.parquet import read_cells, write_cells
from wsipsm.io.product import quarantine, read_record
from wsipsm.report.page import _lessons

from .conftest import CLASSES, HOSTILE

ALL = ("phantom_1", "bad", HOSTILE, "begun")


@pytest.fixture(scope="module")
def text(results: Any) -> str:
    return str(results.report(*ALL))


@pytest.fixture(scope="module")
def page(text: str, read: Callable[[str], Any]) -> Any:
    return read(text)


def copied(results: Any, tmp_path: Path) -> Any:
    """Results that a test may change."""
    folder = tmp_path / "results"
    shutil.copytree(results.folder, folder, symlinks=True)
    return type(results)(folder)


def test_needs_nothing_but_itself(page: Any) -> None:
    used = {name for name, _ in page.elements}
    assert used.isdisjoint({"link", "iframe", "object"})
    assert page.all("script") == [{}]
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert "url(" not in page.text("style")
    assert "default-src 'none'" in str(page.all("meta"))


def test_every_link_has_its_target(page: Any) -> None:
    ids = Counter(of["id"] for _, of in page.elements if "id" in of)
    assert set(ids.values()) == {1}
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    named = {of["aria-labelledby"] for _, of in page.elements if "aria-labelledby" in of}
    assert named <= set(ids)


def test_can_be_heard(page: Any) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all("scope" in head for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    levels = [int(name[1]) for name, _ in page.elements if name in ("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_pictures_have_the_size_they_claim(page: Any) -> None:
    images = page.images()
    sizes = [(int(of["width"]), int(of["height"])) for of in page.all("img")]
    assert [image.size for image in images] == sizes
    # two curves and the figures; two slides with 4 + 3 * 4 pictures and a plot; one of tiles alone
    assert len(images) == 2 + 1 + 2 * 17 + 2
    blank = [image for image in images if all(a == b for a, b in image.convert("RGB").getextrema())]
    assert not blank


def test_slides_are_named_and_counted(page: Any) -> None:
    assert page.text("h3").split("\n").count("phantom_1") == 1
    assert set(ALL) - {"bad"} <= set(page.text("h3").split("\n"))
    assert page.text("strong").split("\n")[:3] == ["2", "1", "1"]
    assert "Without cells of every model yet: begun." in page.text("p")


def test_cells_are_counted(results: Any, page: Any) -> None:
    record = read_record(results.folder / "slides/phantom_1/unet/cells.parquet")
    cells = record["counts"]["cells"]
    assert cells > 0
    assert page.text("strong").split("\n")[3] == f"{2 * cells:,}"
    assert page.text("td").split("\n").count(f"{record['counts']['owned']:,}") >= 2


def test_fields_that_taught_a_model_are_named_with_their_reason() -> None:
    reason = "1 of 9 by density 30, variety 0.4, confidence 0.9"
    lesson = {"slide": "a", "region": [64, 128, 256, 256], "cells": 12, "reason": reason}
    said = _lessons({"lessons": [lesson]})
    assert said == f" Learnt from 1 fields: a at row 64, column 128: 12 cells, {reason}."
    assert _lessons({}) == ""


def test_names_are_shown_as_text(page: Any) -> None:
    assert HOSTILE in page.text("a")
    for name in CLASSES:
        assert name in page.text("th")
        assert name in page.text("li")
    assert not any("onerror" in of for _, of in page.elements)
    assert any(HOSTILE in image["alt"] for image in page.all("img"))


def test_quarantined_slide_is_listed_with_its_first_stage(results: Any, page: Any) -> None:
    reason = 'b.svs: no mpp in the file; <script>set</script> the "mpp" column'
    with results.table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert rows == [{"slide": "bad", "stage": "activate", "reason": reason}]
    shown = page.text("td")
    assert "<script>set</script>" in shown
    assert "activate" in shown.split("\n")


def test_evaluation_shows_methods_and_intervals(results: Any, page: Any) -> None:
    scores = json.loads((results.folder / "evaluation/unet.json").read_text())["methods"]
    heads = page.text("th").split("\n")
    assert {"unet", "control: stain, Otsu, watershed"} <= set(heads)
    for method in ("unet", "stain_otsu"):
        assert f"{scores[method]['aji']['mean']:.3f}" in page.text()
        low, high = scores[method]["f1"]["low"], scores[method]["f1"]["high"]
        assert f"{low:.3f} to {high:.3f}" in page.text("small")
    assert "Cells of unet match the truth with F1" in page.text("p")
    assert "unet against the truth of this slide" in page.text("summary")


def test_commands_are_valid(page: Any) -> None:
    stages = Counter()
    for line in page.text("pre").split("\n"):
        program, stage, *arguments = shlex.split(line)
        stages[stage] += 1
        assert program == "wsipsm"
        cli.main.commands[stage].make_context(stage, arguments)
    assert stages == {
        "tile": 3, "pretrain": 1, "activate": 2, "pseudomask": 2, "train": 1, "segment": 2,
        "stitch": 2, "evaluate": 1, "report": 1,
    }  # fmt: skip


def test_command_repeats_the_settings(results: Any, page: Any) -> None:
    line = next(line for line in page.text("pre").split("\n") if " tile " in line)
    context = cli.main.commands["tile"].make_context("tile", shlex.split(line)[2:])
    record = read_record(results.folder / "slides/phantom_1/tiles.zarr")
    settings = record["provenance"]["settings"]
    for name in ("mpp", "tile_px", "min_tissue_share"):
        assert context.params[name] == str(settings[name])
    assert context.params["name"] == record["slide"]["slide"]


def test_same_products_give_the_same_bytes(results: Any, text: str) -> None:
    table = results.table.read_bytes()
    results.page.unlink()
    assert results.report(*ALL) == text
    assert results.table.read_bytes() == table


def test_page_without_evaluation_and_models(results: Any, tmp_path: Path, read: Any) -> None:
    changed = copied(results, tmp_path)
    shutil.rmtree(changed.folder / "evaluation")
    shutil.rmtree(changed.folder / "models")
    page = read(changed.report("begun", "missing"))
    assert "There is no evaluation" in page.text("p")
    assert "There is no training curve." in page.text("p")
    assert "begun, missing" in page.text("p")
    assert changed.table.read_text() == "slide\tstage\treason\n"


def test_page_shows_artefacts(results: Any, tmp_path: Path, read: Any) -> None:
    changed = copied(results, tmp_path)
    tiles = changed.folder / "slides/begun/tiles.zarr"
    tiles.unlink()
    shutil.copytree(results.folder / "slides/begun/tiles.zarr", tiles)
    group = zarr.open_group(str(tiles))
    kept = np.asarray(group["kept"]) > 0
    group["artefacts/pen"][:] = np.where(kept, 0.2, 0)  # type: ignore[index]
    group["excluded"][:] = kept.astype(np.uint8)  # type: ignore[index]
    group["kept"][:] = 0  # type: ignore[index]
    page = read(changed.report("begun"))
    assert f"pen: {kept.sum()} tiles" in page.text("li")
    assert f"pen {kept.sum()}, fold 0" in page.text("dd")
    assert f"Crossed: excluded, {kept.sum()} tiles." in page.text("figcaption")
    assert any("artefacts" in image["alt"] for image in page.all("img"))


def test_agreement_of_a_committee_is_shown_where_there_is_one(
    results: Any, page: Any, tmp_path: Path, read: Any
) -> None:
    title = "committee agreement"
    assert title not in page.text("th").split("\n")
    assert "committee" not in page.text("dd")
    changed = copied(results, tmp_path)
    path = changed.folder / "slides/phantom_1/unet/cells.parquet"
    table, record = read_cells(path), read_record(path)
    column = table.schema.get_field_index("agreement")
    half = np.full(table.num_rows, 0.5, np.float32)
    half[: (table.num_rows - 1) // 2] = 0.875  # fewer than half of the cells
    write_cells(path, table.set_column(column, "agreement", [half]), record)
    committee = read(changed.report("phantom_1", HOSTILE))
    assert title in committee.text("th").split("\n")
    assert "0.50" in committee.text("td").split("\n")
    assert committee.text("dd").count("; median agreement of the committee 0.500") == 1

    write_cells(path, table.drop(["agreement"]), record)
    assert title not in read(changed.report("phantom_1")).text("th")


def test_classes_have_the_colours_of_their_export(results: Any, tmp_path: Path) -> None:
    changed = copied(results, tmp_path)
    cells = changed.folder / "slides/phantom_1/unet/cells.parquet"
    settings = Export(colours=("#123456",))
    export(cells, cells.with_name("cells.geojson.zip"), settings=settings)
    assert "rgb(18, 52, 86)" in changed.report("phantom_1")


def test_slides_beyond_a_number_are_shown_small(results: Any, tmp_path: Path, read: Any) -> None:
    changed = copied(results, tmp_path)
    page = read(changed.report("phantom_1", HOSTILE, full_slides=1))
    assert len(page.all("img")) == 2 + 1 + 17 + 1
    command = next(text for text in page.text("code").split("\n") if "wsipsm report" in text)
    _, stage, *arguments = shlex.split(command)
    context = cli.main.commands[stage].make_context(stage, arguments)
    assert context.params["slides"] == (HOSTILE,)


def test_evaluation_without_truth(results: Any, tmp_path: Path, read: Any) -> None:
    changed = copied(results, tmp_path)
    slide = changed.folder / "slides/phantom_1"
    evaluate(
        changed.folder / "evaluation/unet.json",
        tiles=(slide / "tiles.zarr",),
        cells=(slide / "unet/cells.parquet",),
        truth=("-",),
        encoder=changed.folder / "models/encoder.pt",
        settings=Evaluation(),
    )
    page = read(changed.report("phantom_1"))
    assert "no slide has truth: nothing was scored" in page.text("p")
    assert "phantom_1: no truth is named for it" in page.text("li")


def test_cohort_without_a_slide_writes_the_table_alone(results: Any, tmp_path: Path) -> None:
    changed = copied(results, tmp_path)
    changed.page.unlink(missing_ok=True)
    aside = changed.folder / "slides/worse/tiles.zarr"
    aside.parent.mkdir()
    quarantine(aside, stage="tile", reason="no tissue")
    with pytest.raises(DataError, match="no slide to report on"):
        changed.report("bad", "worse")
    rows = changed.table.read_text().splitlines()[1:]
    assert [row.split("\t")[:2] for row in rows] == [["bad", "activate"], ["worse", "tile"]]
    assert not changed.page.exists()
