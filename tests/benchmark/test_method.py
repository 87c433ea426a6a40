"""The table of methods, end to end on small fields."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsipsm import cli
from wsipsm.benchmark.fields import read_fields
from wsipsm.benchmark.method import benchmark_method
from wsipsm.benchmark.points import found_points
from wsipsm.benchmark.preset import read_arrays
from wsipsm.benchmark.recipe import Recipe
from wsipsm.benchmark.run import Bench
from wsipsm.config import Pretraining
from wsipsm.errors import SettingsError


def test_a_table_of_methods(fields_folder: Path, tmp_path: Path) -> None:
    methods = ("stain_otsu", "rgb_kmeans", "auto")
    words = ["benchmark-method", str(fields_folder), str(tmp_path / "table.json")]
    words += ["--seeds", "1", "--steps", "1", "--workers", "1"]
    done = CliRunner().invoke(cli.main, [*words, *(f"--methods={name}" for name in methods)])
    assert done.exit_code == 0, done.output
    lines = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(methods)
    groups = json.loads((tmp_path / "table.json").read_text())["groups"]
    assert list(groups) == [fields_folder.name]
    rows = {row["method"]: row for row in groups[fields_folder.name]["outlines"]}
    assert rows["stain, Otsu, watershed"]["AJI"]["fields"] == 2
    assert rows["stain, Otsu, watershed"]["AJI"]["mean"] > 0.5
    assert rows["stage 4: auto (the default)"]["flipped tiles"].endswith("of 2")
    assert rows["stage 4: auto (the default)"]["follows"]
    assert "AUC of the map" not in rows["RGB k-means, watershed"]


def test_the_papers_recipe_runs_to_the_end(fields_folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(backbone="resnet18", steps=1, batch=2, tile_px=64, classes=2)
    options = {"settings": recipe, "seed": 0}
    with Bench(tmp_path, workers=1) as bench:
        tiles = bench.tiles(read_fields([fields_folder])[:2])
        settings = Pretraining(steps=1, batch=1, tile_px=64, proxy="similarity")
        encoder = bench.encoder(tiles, settings, seed=0)
        inputs = {name: (path, encoder) for name, path in tiles.items()}
        masks = bench.each("paper_masks", inputs, "masks.zarr", options)
        slides = [(path, masks[name]) for name, path in tiles.items()]
        first = bench.once("paper_network", (slides,), "first.pt", options)
        seen = {name: (path, masks[name], first) for name, path in tiles.items()}
        points = bench.each("paper_points", seen, "points.zarr", {})
        slides = [(path, points[name]) for name, path in tiles.items()]
        second = bench.once("paper_network", (slides,), "second.pt", options)
        inputs = {name: (path, second) for name, path in tiles.items()}
        cells = bench.each("paper_segment", inputs, "cells.zarr", {})
    assert set(read_arrays(masks["a"])) == {"classes", "instances"}
    assert set(read_arrays(points["a"])["classes"].ravel()) <= {0, 255}
    assert list(found_points(cells["a"])) == ["negative", "positive", "unclear"]


def test_mistakes_are_one_sentence(fields_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no method 'magic'"):
        benchmark_method([fields_folder], tmp_path / "a", work=tmp_path, methods=["magic"])
