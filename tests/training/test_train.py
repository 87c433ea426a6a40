"""Stage 5: the network learns, repeats bit for bit, and refuses what it cannot use."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsipsm.config import Pseudomasks, Training
from wsipsm.errors import DataError
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.io.product import quarantine, read_record
from wsipsm.models.input import to_input
from wsipsm.models.segmenter import MODELS
from wsipsm.pseudomasks.pseudomask import pseudomask
from wsipsm.training import train as stage
from wsipsm.training.train import train


def test_the_loss_falls(products) -> None:
    curve = [point["loss"] for point in read_record(products.unet)["curve"]]
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])


def test_the_threshold_gives_as_much_foreground_as_the_pseudo_masks(products) -> None:
    state, record = load_checkpoint(products.unet)
    network = MODELS["unet"](**record["architecture"])
    network.load_state_dict(state)
    masked = stage._Masked(products.tiles, products.pseudomasks)
    samples = stage._Samples([masked], settings=Training(tile_px=96), seed=9)
    found, wanted = [], []
    with torch.inference_mode():
        for index in range(40):
            image, classes = samples.plain(0, index)
            chances = torch.softmax(network.eval()(to_input(image[None]))[0, :-1], dim=0)
            known = classes != 255
            found.append((1 - chances[0].numpy() > record["foreground"])[known])
            wanted.append(classes[known] > 0)
    low, high = stage.LEAST_FOREGROUND
    share = np.concatenate(found).mean() / np.concatenate(wanted).mean()
    if low < record["foreground"] < high:
        assert 0.7 < share < 1.4
    else:
        assert (share < 1) == (record["foreground"] == low)


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_workers_do_not_change_a_byte(products, tmp_path: Path, backbone: str) -> None:
    settings = Training(steps=2, batch=4, tile_px=64, backbone=backbone)
    pair = (products.tiles, products.pseudomasks)
    for workers in (1, 3):
        target = tmp_path / f"{workers}.pt"
        train([pair], target, model="unet", settings=settings, seed=5, workers=workers)
    assert (tmp_path / "1.pt").read_bytes() == (tmp_path / "3.pt").read_bytes()
    assert read_record(tmp_path / "1.pt")["model"] == "unet"


def test_a_cohort_without_a_usable_slide_is_one_sentence(products, tmp_path: Path) -> None:
    quarantine(tmp_path / "bad.zarr", stage="pseudomask", reason="no stain")
    with pytest.raises(DataError, match="no slide to train on is left"):
        train(
            [(products.tiles, tmp_path / "bad.zarr")],
            tmp_path / "unet.pt",
            model="unet",
            settings=Training(),
            seed=0,
        )


def test_slides_with_other_classes_do_not_mix(products, tmp_path: Path) -> None:
    other = tmp_path / "other.zarr"
    settings = Pseudomasks(classes=("a", "b"))
    pseudomask(products.tiles, products.activation, other, settings=settings, seed=0)
    pairs = [(products.tiles, products.pseudomasks), (products.tiles, other)]
    with pytest.raises(DataError, match=r"classes .* differ"):
        train(pairs, tmp_path / "unet.pt", model="unet", settings=Training(), seed=0)
