"""Training without labels is scored beside plain stain, on fields that it saw and on others."""

import json
from pathlib import Path

import pytest

from wsipsm.benchmark.quality import benchmark_quality
from wsipsm.config import Pretraining, Training
from wsipsm.errors import SettingsError


def test_each_data_set_has_a_row_for_each_method(fields_folder: Path, tmp_path: Path) -> None:
    training = Training(rounds=2, steps=4, batch=2, tile_px=64, regions=4)
    options = {
        "work": tmp_path / "work",
        "training": training,
        "pretraining": Pretraining(steps=1, batch=2, tile_px=64),
        "seeds": 1,
        "workers": 1,
    }
    text = benchmark_quality([fields_folder], tmp_path / "quality.json", ablate=True, **options)
    wanted = [
        "stain, Otsu, watershed",
        "pseudo masks",
        "round 1",
        "round 2",
        "threshold by truth",
    ]
    result = json.loads((tmp_path / "quality.json").read_text())
    rows = result["groups"][fields_folder.name]
    assert [row["cells"] for row in rows] == wanted
    assert [row["AJI"]["seeds"] for row in rows] == [1, 1, 1, 1, 1]
    assert all(row["AJI"]["fields"] == 2 for row in rows)
    assert rows[0]["AJI"]["mean"] > 0.3
    assert rows[4]["AJI"]["mean"] >= 0
    assert f"### {fields_folder.name}" in text
    assert len(list((tmp_path / "work" / "models").glob("unet-*.pt"))) == 2


def test_a_start_from_another_network_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"training.init: encoder, but .* give both the same"):
        benchmark_quality(
            [tmp_path / "no folder"],
            tmp_path / "quality.json",
            work=tmp_path / "work",
            training=Training(init="encoder"),
        )


def test_a_start_from_the_encoder_is_scored_beside_one_at_random(
    fields_folder: Path, tmp_path: Path
) -> None:
    for init in ("random", "encoder"):
        small = {"rounds": 1, "steps": 1, "batch": 2, "tile_px": 64, "regions": 4}
        benchmark_quality(
            [fields_folder],
            tmp_path / f"{init}.json",
            work=tmp_path / "work",
            training=Training(backbone="resnet18", init=init, **small),
            pretraining=Pretraining(steps=1, batch=2, tile_px=64),
            seeds=1,
            workers=1,
        )
    models = tmp_path / "work" / "models"
    assert len(list(models.glob("unet-*.pt"))) == 2
    assert len(list(models.glob("encoder-*.pt"))) == 1


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
