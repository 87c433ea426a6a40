"""A U-Net whose encoder begins at the weights of the activation network, and when it cannot."""

from pathlib import Path

import pytest
import torch

from wsipsm.config import Training
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.io.product import read_record
from wsipsm.models.unet import UNet
from wsipsm.training.start import read_start
from wsipsm.training.train import train

STILL = Training(
    backbone="resnet18", init="encoder", rounds=1, steps=1, batch=2, tile_px=64, regions=4,
    learning_rate=1e-12, averaging=0,
)  # fmt: skip


def encoder_of(products) -> dict[str, torch.Tensor]:
    state, _ = load_checkpoint(products.encoder)
    return {name.removeprefix("backbone."): value for name, value in state.items()}


def test_the_encoder_of_a_u_net_takes_all_but_the_head(products) -> None:
    wanted = encoder_of(products)
    network = UNet("resnet18", classes=1)
    network.start_from(read_start(products.encoder, STILL).weights)
    found = network.encoder.body.state_dict()
    assert set(wanted) - set(found) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_a_training_begins_there_and_says_so(products, tmp_path: Path) -> None:
    target = tmp_path / "unet.pt"
    slides = [(products.tiles, products.pseudomasks)]
    train(slides, target, model="unet", settings=STILL, seed=0, encoder=products.encoder)
    state, record = load_checkpoint(target)
    wanted = encoder_of(products)
    for name in ("conv1.weight", "layer2.0.conv1.weight", "layer4.1.bn2.weight"):
        found = state[f"members.0.encoder.body.{name}"]
        torch.testing.assert_close(found, wanted[name], rtol=0, atol=1e-9)
    encoder = read_record(products.encoder)["provenance"]["id"]
    assert record["provenance"]["inputs"]["models/encoder"] == encoder


def test_no_start_is_read_unless_asked_for(products) -> None:
    assert read_start(products.encoder, Training()) is None


def test_an_encoder_that_is_missing_or_differs_is_one_sentence(products) -> None:
    with pytest.raises(SettingsError, match="needs the product of stage 2; give --encoder"):
        read_start(None, STILL)
    other = STILL.model_copy(update={"backbone": "resnet34"})
    with pytest.raises(SettingsError, match=r"encoder.pt is resnet18, and .* is resnet34; give"):
        read_start(products.encoder, other)
