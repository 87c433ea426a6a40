"""How much a map knows of nuclei, and which of its tiles are flipped."""

import numpy as np
import pytest

from wsipsm.benchmark import maps
from wsipsm.benchmark.plain import PLAIN
from wsipsm.benchmark.trial import score_paper
from wsipsm.evaluation.metrics import METRICS


def test_a_flipped_tile_lies_below_one_half() -> None:
    nuclei = np.zeros((64, 96), bool)
    nuclei[10:20, :] = True
    values = nuclei.astype(np.float32)
    values[:32, 32:64] = 1 - values[:32, 32:64]
    found = maps.tile_aucs(values, nuclei, side_px=32)
    assert found[:3].tolist() == [1, 0, 1]
    assert np.isnan(found[3:]).all()  # no nucleus in these
    assert maps.auc(np.zeros((64, 96)), nuclei) == pytest.approx(0.5)


def test_the_papers_way_merges_nuclei_that_touch_in_the_centre() -> None:
    truth, found = np.zeros((2, 600, 600), np.int64)
    truth[300:320, 300:310], truth[300:320, 310:320] = 1, 2
    truth[0:20, 0:20] = 3  # outside of the centre tile
    found[300:320, 300:320] = 1
    scores = dict(zip(METRICS, score_paper(truth, found, mpp=0.25), strict=True))
    assert scores["aji"] == scores["pq"] == 1


@pytest.mark.parametrize("name", PLAIN)
def test_plain_methods_find_dark_disks(name: str) -> None:
    image = np.full((128, 128, 3), (235, 190, 215), np.uint8)
    y, x = np.mgrid[:128, :128]
    for row, col in ((30, 30), (30, 90), (90, 60)):
        image[(y - row) ** 2 + (x - col) ** 2 <= 100] = (90, 60, 150)
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    pixels = np.clip(image + noise, 0, 255).astype(np.uint8).transpose(2, 0, 1)
    labels = PLAIN[name](pixels, "he", 0.25, 0)
    assert labels.max() == 3
    assert (labels == PLAIN[name](pixels, "he", 0.25, 0)).all()
