"""Stage 5: the network learns, repeats bit for bit, and refuses what it cannot use."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from wsipsm.config import Inference, Pseudomasks, Training
from wsipsm.errors import DataError
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.io.product import quarantine, read_record
from wsipsm.io.sample import sample_regions
from wsipsm.io.tiles import open_tiles
from wsipsm.models.segmenter import UNetSegmenter, load_segmenter
from wsipsm.pseudomasks.pseudomask import pseudomask
from wsipsm.training import pool, samples, unet
from wsipsm.training import train as stage
from wsipsm.training.calibrate import RANGE
from wsipsm.training.cohort import open_cohort
from wsipsm.training.targets import IGNORE
from wsipsm.training.train import train


def test_the_loss_falls(products) -> None:
    curve = [point["loss"] for point in read_record(products.unet)["curve"]]
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])


def test_the_threshold_gives_as_much_foreground_as_the_pseudo_masks(products) -> None:
    cpu, mpp = torch.device("cpu"), open_tiles(products.tiles).mpp
    plain, record = load_segmenter(products.unet, settings=Inference(), mpp=mpp, device=cpu)
    assert isinstance(plain, UNetSegmenter)
    slide = open_cohort([(products.tiles, products.pseudomasks)])[0]
    squares = sample_regions(slide.tiles, count=16)
    segmenter = plain.knowing(plain.look(np.stack([slide.tiles.read(one) for one in squares])))
    found, wanted = [], []
    for tile in slide.tiles.kept_tiles():
        region = slide.tiles.grid.tile(*tile)
        image, classes = slide.tiles.read(region), slide.labels(region)[0]
        chances = segmenter.maps(image[None])[0][0]
        known = classes != IGNORE
        found.append((1 - chances[0] > record["foreground"])[known])
        wanted.append(classes[known] > 0)
    low, high = RANGE
    share = np.concatenate(found).mean() / np.concatenate(wanted).mean()
    if low < record["foreground"] < high:
        assert 0.7 < share < 1.4
    else:
        assert (share < 1) == (record["foreground"] == low)


SHORT = Training(rounds=2, steps=8, batch=4, tile_px=64, regions=6)


@pytest.fixture(scope="module")
def twice(products, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of two rounds by one worker."""
    target = tmp_path_factory.mktemp("twice") / "unet.pt"
    pair = (products.tiles, products.pseudomasks)
    train([pair], target, model="unet", settings=SHORT, seed=5, workers=1)
    return target.read_bytes()


def test_workers_do_not_change_a_byte(products, tmp_path: Path, twice: bytes) -> None:
    target = tmp_path / "unet.pt"
    pair = (products.tiles, products.pseudomasks)
    train([pair], target, model="unet", settings=SHORT, seed=5, workers=3)
    assert target.read_bytes() == twice
    record = read_record(target)
    assert record["model"] == "unet"
    assert [point["step"] for point in record["curve"]] == list(range(1, 9))
    assert len(record["rounds"]) == 2
    assert record["foreground"] == record["rounds"][-1]["foreground"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("module", "name", "at"),
    [(samples.Samples, "__call__", 6), (samples.Samples, "__call__", 20), (pool.Pool, "write", 9)],
)
def test_a_training_killed_in_or_between_rounds_ends_in_the_same_bytes(
    products, tmp_path: Path, twice: bytes, monkeypatch, module, name, at
) -> None:
    target = tmp_path / "unet.pt"
    pair = (products.tiles, products.pseudomasks)
    plain, calls = getattr(module, name), count()

    def killed(*given):
        if next(calls) == at:
            raise KeyboardInterrupt
        return plain(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(KeyboardInterrupt):
            train([pair], target, model="unet", settings=SHORT, seed=5, workers=2)
    assert (tmp_path / "unet.pt.partial" / "pool").exists()
    train([pair], target, model="unet", settings=SHORT, seed=5, workers=2)
    assert target.read_bytes() == twice


COMMITTEE = SHORT.model_copy(update={"members": 2})


@pytest.mark.parametrize(("training", "step"), [(0, 2), (1, 0), (3, 3)])
def test_a_committee_killed_in_any_member_ends_in_the_same_bytes(
    products, tmp_path: Path, committee: bytes, monkeypatch, training: int, step: int
) -> None:
    target = tmp_path / "unet.pt"
    pair = (products.tiles, products.pseudomasks)
    plain, calls = unet.fit, count()

    def killed(*given, **options):
        if next(calls) == training:
            options["plan"] = replace(options["plan"], snapshot_every=1)
            options["sample_of"] = interrupting(options["sample_of"], step)
        return plain(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(unet, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            train([pair], target, model="unet", settings=COMMITTEE, seed=5, workers=1)
    train([pair], target, model="unet", settings=COMMITTEE, seed=5, workers=2)
    assert target.read_bytes() == committee


def interrupting(sample_of, at: int):
    """Samples until step `at`."""

    def sample(step: int, index: int):
        if step == at:
            raise KeyboardInterrupt
        return sample_of(step, index)

    return sample


@pytest.fixture(scope="module")
def committee(products, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of two members and two rounds by one worker."""
    target = tmp_path_factory.mktemp("committee") / "unet.pt"
    pair = (products.tiles, products.pseudomasks)
    train([pair], target, model="unet", settings=COMMITTEE, seed=5, workers=1)
    return target.read_bytes()


def test_members_differ_and_the_first_is_what_it_is_alone(products, tmp_path: Path) -> None:
    states = {}
    for members in (1, 2):
        settings = SHORT.model_copy(update={"rounds": 1, "steps": 3, "members": members})
        target = tmp_path / f"{members}.pt"
        pair = (products.tiles, products.pseudomasks)
        train([pair], target, model="unet", settings=settings, seed=5, workers=2)
        states[members], record = load_checkpoint(target)
        assert record["architecture"]["members"] == members
    for name, value in states[1].items():
        assert torch.equal(value, states[2][name])
    weight = "decoder.0.0.weight"
    assert not torch.equal(states[2][f"members.0.{weight}"], states[2][f"members.1.{weight}"])


def test_horizontal_and_vertical_maps_repeat_and_resume_and_need_no_more_than_the_checkpoint(
    products, tmp_path: Path, monkeypatch
) -> None:
    settings = COMMITTEE.model_copy(update={"head": "hv"})
    pair = (products.tiles, products.pseudomasks)
    once, again = tmp_path / "once.pt", tmp_path / "again.pt"
    train([pair], once, model="unet", settings=settings, seed=5, workers=2)
    plain, calls = samples.Samples.__call__, count()

    def killed(*given):
        if next(calls) == 40:
            raise KeyboardInterrupt
        return plain(*given)

    with monkeypatch.context() as patch:
        patch.setattr(samples.Samples, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            train([pair], again, model="unet", settings=settings, seed=5, workers=1)
    train([pair], again, model="unet", settings=settings, seed=5, workers=1)
    assert again.read_bytes() == once.read_bytes()
    cpu = torch.device("cpu")
    segmenter, record = load_segmenter(once, settings=Inference(maps=True), mpp=0.5, device=cpu)
    assert record["architecture"]["head"] == "hv"
    image = np.random.default_rng(0).integers(0, 255, (1, 3, 64, 64), np.uint8)
    (found,) = segmenter.knowing(segmenter.look(image))(image)
    assert found.maps is not None
    assert found.maps.shape == (2, 64, 64)


def test_other_settings_begin_anew(products, tmp_path: Path, twice: bytes, monkeypatch) -> None:
    target = tmp_path / "unet.pt"
    pair = (products.tiles, products.pseudomasks)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train([pair], target, model="unet", settings=SHORT, seed=6, workers=2)
    train([pair], target, model="unet", settings=SHORT, seed=5, workers=2)
    assert target.read_bytes() == twice


def interrupted(*_) -> None:
    raise KeyboardInterrupt


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
