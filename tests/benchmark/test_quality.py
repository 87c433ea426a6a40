"""Training without labels is scored beside plain stain, on fields that it saw and on others."""

import json
from pathlib import Path
from typing import Any

import pytest

from wsipsm.benchmark.fields import read_fields
from wsipsm.benchmark.quality import benchmark_quality
from wsipsm.benchmark.run import Bench
from wsipsm.config import Activation, Pretraining, Pseudomasks, Training
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint

SMALL = {"steps": 4, "batch": 2, "tile_px": 64, "regions": 4}


def measure(fields: Path, folder: Path, **options: Any) -> list[dict[str, Any]]:
    """Rows of the fields' table, of a training that is soon over."""
    known = {
        "work": folder / "work",
        "training": Training(rounds=2, **SMALL),
        "pretraining": Pretraining(steps=1, batch=2, tile_px=64),
        "workers": 1,
    }
    text = benchmark_quality([fields], folder / "quality.json", **known, **options)
    assert f"### {fields.name}" in text
    result = json.loads((folder / "quality.json").read_text())
    rows: list[dict[str, Any]] = result["groups"][fields.name]
    return rows


def test_each_data_set_has_a_row_for_each_method(fields_folder: Path, tmp_path: Path) -> None:
    rows = measure(fields_folder, tmp_path, seeds=2, ablate=True)
    assert {row["cells"]: row["AJI"]["seeds"] for row in rows} == {
        "stain, Otsu, watershed": 1,
        "pseudo masks": 1,
        "round 1": 2,
        "round 2": 2,
        "all seeds together": 1,
        "round 1, resnet18 from random weights": 2,
        "round 1, resnet18 from those of stage 2": 2,
        "round 1, horizontal and vertical maps": 2,
        "peaks of depth alone": 2,
        "peaks of the distance map alone": 2,
        "threshold by truth": 2,
    }
    assert all(row["AJI"]["fields"] == 2 for row in rows)
    assert rows[0]["AJI"]["mean"] > 0.3
    assert len(list((tmp_path / "work" / "models").glob("unet-*.pt"))) == 11


def test_fields_whose_outlines_are_learned_are_not_scored(
    fields_folder: Path, tmp_path: Path
) -> None:
    rows = measure(fields_folder, tmp_path, seeds=1, annotated=(1,))
    assert [row["cells"] for row in rows[2:]] == ["round 2", "round 2, 1 annotated"]
    assert all(row["AJI"]["fields"] == 1 for row in rows)
    (models,) = {path.parent for path in (tmp_path / "work").rglob("unet-*.pt")}
    records = [load_checkpoint(path)[1] for path in models.glob("unet-*.pt")]
    assert sorted(list(record["annotations"]) for record in records) == [[], ["a"]]


def test_more_annotated_fields_than_there_are_is_one_sentence(
    fields_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="2 fields have outlines; ask for fewer annotated"):
        measure(fields_folder, tmp_path, annotated=(1, 3))


def test_rounds_that_trainings_share_change_no_byte(fields_folder: Path, tmp_path: Path) -> None:
    products = []
    for name, numbers in (("alone", (2,)), ("after", (1, 2))):
        with Bench(tmp_path / name, workers=1) as bench:
            tiles = bench.tiles([f for f in read_fields([fields_folder]) if f.truth])
            encoder = bench.encoder(tiles, Pretraining(steps=1, batch=2, tile_px=64), seed=0)
            maps = bench.activations(tiles, encoder, Activation())
            labels = bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0)
            slides = [(tiles[field], labels[field]) for field in tiles]
            for number in numbers:
                settings = Training(rounds=number, **SMALL | {"steps": 2 * number})
                model = bench.model(slides, settings, seed=0, encoder=encoder)
        products.append(model.read_bytes())
    assert products[0] == products[1]


def test_a_start_from_another_network_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"training.init: encoder, but .* give both the same"):
        benchmark_quality(
            [tmp_path / "no folder"],
            tmp_path / "quality.json",
            work=tmp_path / "work",
            training=Training(init="encoder"),
        )


def test_fields_without_outlines_cannot_be_scored(fields_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plain" / "images").mkdir(parents=True)
    (tmp_path / "plain" / "images" / "white.png").write_bytes(
        (fields_folder / "images" / "white.png").read_bytes()
    )
    with pytest.raises(SettingsError, match="no field has outlines"):
        benchmark_quality(
            [tmp_path / "plain"],
            tmp_path / "quality.json",
            work=tmp_path / "work",
            training=Training(),
        )
