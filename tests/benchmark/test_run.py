"""Fields go through the real stages, and what exists is not made again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from wsipsm.benchmark.fields import read_fields
from wsipsm.benchmark.run import Bench
from wsipsm.benchmark.score import found_labels, score_field, true_labels
from wsipsm.config import Activation, Inference, Pretraining, Pseudomasks, Training
from wsipsm.evaluation.metrics import METRICS
from wsipsm.io import ngff
from wsipsm.io.slide import open_slide
from wsipsm.io.tiles import open_tiles
from wsipsm.types import Region


@pytest.fixture(scope="module")
def folder(drawn_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fields of 256 px of a drawn slide with their truth, and a white one without."""
    folder = tmp_path_factory.mktemp("fields")
    for inside in ("images", "labels"):
        (folder / inside).mkdir()
    ids = np.asarray(ngff.open_group(drawn_slides / "phantom_1.labels.zarr")["0"])
    with open_slide(drawn_slides / "phantom_1.tiff") as slide:
        for name, at in (("a", 320), ("b", 448)):
            part = Region(at, at, 256, 256)
            image = slide.read(part, mpp=0.25).transpose(1, 2, 0)
            imsave(folder / "images" / f"{name}.png", image, check_contrast=False)
            labels = ids[part.slices].astype(np.uint16)
            imsave(folder / "labels" / f"{name}.png", labels, check_contrast=False)
    white = np.full((256, 256, 3), 255, np.uint8)
    imsave(folder / "images" / "white.png", white, check_contrast=False)
    return folder


def test_stages_run_on_fields_and_are_kept(folder: Path, tmp_path: Path) -> None:
    fields = read_fields([folder])
    with Bench(tmp_path, workers=1) as bench:
        tiles = bench.tiles(fields)
        encoder = bench.encoder(tiles, Pretraining(steps=1, batch=2, tile_px=64), seed=0)
        maps = bench.activations(tiles, encoder, Activation())
        masks = bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0)
        slides = [(path, masks[name]) for name, path in tiles.items()]
        model = bench.model(slides, Training(steps=2, batch=2, tile_px=64), seed=0)
        cells = bench.cells(tiles, model, Inference())
        made = {path: path.stat().st_mtime_ns for path in (*masks.values(), model)}
        # killed after stage 2: what is missing is made again, with the same names
        shutil.rmtree(masks["a"])
        assert bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0) == masks
        assert masks["b"].stat().st_mtime_ns == made[masks["b"]]
        assert bench.pseudomasks(tiles, maps, Pseudomasks(), seed=1)["b"] != masks["b"]
    assert sorted(path.name for path in tmp_path.rglob("*.partial")) == []
    opened = open_tiles(tiles["a"])
    truth = true_labels(fields[0], opened)
    scores = score_field(truth, found_labels(masks["a"], opened), mpp=opened.mpp)
    assert scores[METRICS.index("aji")] > 0.3
    assert found_labels(cells["a"], opened).shape == truth.shape


def test_a_field_whose_data_are_bad_is_set_aside_and_found_empty(
    folder: Path, tmp_path: Path
) -> None:
    with Bench(tmp_path, workers=1) as bench:
        tiles = bench.tiles(read_fields([folder])[2:])
    assert "quarantine" in (tiles["white"] / "zarr.json").read_text()
