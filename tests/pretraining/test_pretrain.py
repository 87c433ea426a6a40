"""Stage 2: every proxy learns, resumes and repeats."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from wsipsm.config import Pretraining, Proxy
from wsipsm.errors import DataError, SettingsError
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.io.product import quarantine, read_record
from wsipsm.models.encoder import load_encoder
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.pretraining.proxies import TASKS, Tile, learner_for


@pytest.mark.parametrize("proxy", get_args(Proxy))
def test_every_proxy_has_a_finite_loss_that_reaches_the_first_layer(proxy: Proxy) -> None:
    rng = np.random.default_rng(0)
    image, other = rng.integers(0, 256, (2, 3, 64, 64)).astype(np.uint8)
    task = TASKS[proxy]
    views = [task.views(rng, Tile(image, lambda: other, lambda: 0.3)) for _ in range(2)]
    learner = learner_for(proxy, backbone="resnet18", seed=0)
    loss = task.loss(learner, *(torch.stack(column) for column in zip(*views, strict=True)))
    loss.backward()
    assert torch.isfinite(loss)
    assert learner.encoder.backbone.conv1.weight.grad.abs().max() > 0


def test_a_batch_of_one_cannot_be_compared(products, tmp_path: Path) -> None:
    settings = Pretraining(proxy="vicreg", steps=1, batch=1, tile_px=64)
    with pytest.raises(SettingsError, match="compares the tiles of a batch; use at least 2"):
        pretrain([products.tiles], tmp_path / "e.pt", settings=settings, seed=0)


def test_the_seed_decides_the_first_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        return learner_for("stain", backbone="resnet18", seed=seed).encoder.backbone.conv1.weight

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_the_product_repeats_bit_for_bit_and_tells_its_curve(products, tmp_path: Path) -> None:
    pretrain(
        [products.tiles], tmp_path / "encoder.pt", settings=products.pretraining, seed=0, workers=1
    )
    assert (tmp_path / "encoder.pt").read_bytes() == products.encoder.read_bytes()
    record = read_record(products.encoder)
    assert [point["step"] for point in record["curve"]] == [1, 2]
    assert record["provenance"]["settings"]["proxy"] == "stain"
    network, _ = load_encoder(products.encoder)
    assert not network.training


def test_slides_that_were_set_aside_are_left_out(products, tmp_path: Path) -> None:
    quarantine(tmp_path / "bad.zarr", stage="tile", reason="broken")
    settings = Pretraining(steps=1, batch=1, tile_px=64)
    pretrain([tmp_path / "bad.zarr", products.tiles], tmp_path / "a.pt", settings=settings, seed=0)
    state, record = load_checkpoint(tmp_path / "a.pt")
    assert len(record["provenance"]["inputs"]) == 1
    assert state
    with pytest.raises(DataError, match="every slide of the cohort was set aside"):
        pretrain([tmp_path / "bad.zarr"], tmp_path / "b.pt", settings=settings, seed=0)
