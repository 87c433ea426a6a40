"""Fields go through the real stages, and what exists is not made again."""

import shutil
from pathlib import Path

from wsipsm.benchmark.fields import read_fields
from wsipsm.benchmark.run import Bench
from wsipsm.benchmark.score import found_labels, score_field, true_labels
from wsipsm.config import Activation, Pretraining, Pseudomasks
from wsipsm.evaluation.metrics import METRICS
from wsipsm.io.tiles import open_tiles


def test_stages_run_on_fields_and_are_kept(fields_folder: Path, tmp_path: Path) -> None:
    fields = read_fields([fields_folder])
    with Bench(tmp_path, workers=1) as bench:
        tiles = bench.tiles(fields)
        encoder = bench.encoder(tiles, Pretraining(steps=1, batch=2, tile_px=64), seed=0)
        maps = bench.activations(tiles, encoder, Activation())
        masks = bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0)
        made = {path: path.stat().st_mtime_ns for path in masks.values()}
        # killed after stage 3: what is missing is made again, with the same names
        shutil.rmtree(masks["a"])
        assert bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0) == masks
        assert masks["b"].stat().st_mtime_ns == made[masks["b"]]
        assert bench.pseudomasks(tiles, maps, Pseudomasks(), seed=1)["b"] != masks["b"]
    assert not list(tmp_path.rglob("*.partial"))
    opened = open_tiles(tiles["a"])
    truth = true_labels(fields[0], opened)
    scores = score_field(truth, found_labels(masks["a"], opened), mpp=opened.mpp)
    assert scores[METRICS.index("aji")] > 0.3
    # a white field is set aside by every stage, and nothing is found in it
    assert all("quarantine" in (made["white"] / "zarr.json").read_text() for made in (tiles, masks))
    assert not found_labels(masks["white"], opened).any()


def test_cells_become_a_label_image(products) -> None:
    slide = open_tiles(products.tiles)
    labels = found_labels(products.cells, slide)
    assert labels.shape == (slide.grid.height_px, slide.grid.width_px)
    assert labels.max() > 10
