"""Segment Anything learns from a few fields: points, loss, adapters, and cells at the end."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsipsm.config import Inference, Prompting, Sam
from wsipsm.errors import SettingsError
from wsipsm.inference.segment import segment
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.io.parquet import part_of
from wsipsm.io.product import read_record
from wsipsm.io.tiles import open_tiles
from wsipsm.models.adapters import AdaptedSam, adapt
from wsipsm.models.sam import CELL, PASSIVE, build_sam
from wsipsm.models.segmenter import Asking
from wsipsm.training.choice import choose_fields
from wsipsm.training.cohort import Masked
from wsipsm.training.sam_loss import SamLoss
from wsipsm.training.sam_samples import Views, ask
from wsipsm.training.train import train

from ..models.sam_files import published, shake, vit_sam


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "sam.pth"
    torch.save(published(shake(vit_sam())), path)
    return path


def settings(base: Path, **changes: object) -> Sam:
    given = {"base": str(base), "input_px": 64, "view_um": 48.0, "steps": 2, "batch": 2,
             "cells": 4, "fields": 2}  # fmt: skip
    return Sam(**{**given, **changes})


def touching() -> tuple[np.ndarray, np.ndarray]:
    instances = np.zeros((60, 60), np.int64)
    instances[10:30, 5:25] = 1
    instances[10:30, 25:50] = 2
    classes = (instances > 0).astype(np.int64)
    classes[40:] = 255
    return classes, instances


@pytest.mark.parametrize(("label", "passive"), [("cell", CELL), ("background", PASSIVE)])
def test_points_stand_deep_in_cells_and_far_from_them(label: str, passive: int) -> None:
    classes, instances = touching()
    wanted = Sam(cells=5, background=1, background_label=label)
    for seed in range(20):
        points, asked, ids = ask(np.random.default_rng(seed), classes, instances, settings=wanted)
        assert sorted(ids.tolist()) == [0, 0, 1, 2]
        assert asked.tolist() == [CELL if number else passive for number in ids]
        for (y, x), number in zip(points, ids, strict=True):
            assert instances[y, x] == number
            if number:
                assert 14 <= y < 26
                assert not 21 <= x < 29
            else:
                assert classes[y, x] == 0
                assert min(abs(y - 20) - 10, 99) >= 4 or x >= 54 or x < 5


def test_a_view_without_cells_asks_for_background_only() -> None:
    empty = np.zeros((20, 20), np.int64)
    _, asked, ids = ask(np.random.default_rng(0), empty, empty, settings=Sam(background=2))
    assert (asked.tolist(), ids.tolist()) == ([CELL] * 2, [0, 0])
    points, _, _ = ask(np.random.default_rng(0), empty + 255, empty, settings=Sam())
    assert points.shape == (0, 2)


class Fixed(SamLoss):
    """The loss of masks alone."""

    def masks(self, logits: torch.Tensor, wanted: torch.Tensor) -> float:
        return float(self._of_masks(logits[None], wanted[None], torch.ones_like(wanted)))


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_a_better_mask_has_less_loss(dice: float) -> None:
    wanted = torch.zeros(16, 16)
    wanted[4:9, 4:9] = 1
    near = torch.roll(wanted, 1, 0)
    loss = Fixed(dice=dice)
    found = [loss.masks(20 * mask - 10, wanted) for mask in (wanted, near, 1 - wanted)]
    assert found == sorted(found)
    assert found[0] < 1e-3


def test_pixels_that_are_not_known_have_no_say() -> None:
    wanted = torch.zeros(1, 8, 8)
    known = torch.ones(8, 8)
    known[:, 4:] = 0
    logits = torch.full((1, 8, 8), -20.0)
    logits[:, :, 4:] = 20
    assert float(SamLoss(dice=1)._of_masks(logits, wanted, known)) < 1e-3


def views(products, base: Path, **changes: object) -> Views:
    cohort = [Masked(products.tiles, products.pseudomasks)]
    fields, _ = choose_fields(cohort, count=2, seed=0)
    return Views(cohort, fields, settings=settings(base, **changes), seed=1)


@pytest.mark.parametrize("parts", [("encoder", "decoder"), ("decoder",)])
def test_a_sample_shows_its_cells_where_its_points_are(products, base: Path, parts) -> None:
    samples = views(products, base, parts=parts)
    asked = 0
    for index in range(6):
        image, labels, points, how, ids, weights, _, key = samples(0, index)
        assert image.shape == (3, 64, 64)
        assert labels.shape == (16, 16)
        assert len(points) == len(how) == len(ids) == len(weights) == 6
        assert (key >= 0) == (parts == ("decoder",))
        assert 0 <= image.min() < image.max() <= 255
        for (x, y), number in zip(points[weights > 0], ids[weights > 0], strict=True):
            at = labels[int(y) // 4, int(x) // 4]
            asked += int(number) > 0
            assert at in (number, -1) or number == 0 or (labels == number).sum() < 9
    assert asked > 8
    torch.testing.assert_close(samples(3, 1), samples(3, 1), rtol=0, atol=0)


def test_embeddings_of_a_frozen_encoder_are_kept(products, base: Path) -> None:
    samples = views(products, base, parts=("decoder",))
    state = torch.load(base, weights_only=True)
    network = adapt(
        build_sam(state, input_px=64), rank=2, alpha=2, dropout=0.1, parts=("decoder",)
    ).train()
    loss = SamLoss(dice=0.5)
    chunk = [torch.stack(column) for column in zip(samples(0, 0), samples(0, 1), strict=True)]
    first = loss(network, *chunk)
    keys = set(chunk[-1].tolist())
    assert set(loss.kept) == keys
    again = loss(network, *chunk)
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    learning = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        again = loss(network, *chunk)
        again.backward()
        optimizer.step()
    assert again < 0.95 * first


def trained(products, target: Path, given: Sam, *, workers: int = 2) -> Path:
    pair = (products.tiles, products.pseudomasks)
    train([pair], target, model="sam_lora", settings=given, seed=0, workers=workers)
    return target


@pytest.fixture(scope="module")
def adapter(products, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(products, tmp_path_factory.mktemp("adapter") / "sam_lora.pt", settings(base))


def test_workers_do_not_change_a_byte_and_only_adapters_are_kept(
    products, base, adapter, tmp_path
) -> None:
    again = trained(products, tmp_path / "again.pt", settings(base), workers=1)
    assert again.read_bytes() == adapter.read_bytes()
    assert adapter.stat().st_size < 1e6
    state, record = load_checkpoint(adapter)
    assert all(".lora_" in name for name in state)
    assert len(record["architecture"]["sha256"]) == 64
    assert record["provenance"]["settings"]["sam_sha256"] == record["architecture"]["sha256"]
    assert record["model"] == "sam_lora"
    assert [lesson["slide"] for lesson in record["lessons"]] == ["phantom_1"] * 2


@pytest.mark.parametrize("points", ["pseudomasks", "unet", "grid"])
def test_an_adapter_segments_tiles_whoever_says_where(products, adapter, tmp_path, points) -> None:
    source = {"pseudomasks": products.pseudomasks, "unet": products.unet}.get(points)
    prompting = Prompting(points=points, min_score=0, min_stability=0, max_overlap=0.5, grid=2)
    target = tmp_path / "tile_cells"
    segment(products.tiles, adapter, target, settings=Inference(), asking=Asking(prompting, source))
    record = read_record(target)
    assert (record["model"], record["classes"]) == ("sam_lora", ["nucleus"])
    assert record["provenance"]["settings"]["prompting_points"] == points
    assert ("prompts" in record["provenance"]["inputs"]) == (source is not None)
    shards = open_tiles(products.tiles).kept_shards()
    assert all(part_of(target, shard).exists() for shard in shards)


def test_a_base_that_is_another_one_now_is_one_sentence(products, base, tmp_path) -> None:
    moved = tmp_path / "base.pth"
    moved.write_bytes(base.read_bytes())
    model = trained(products, tmp_path / "sam.pt", settings(moved, steps=1))
    torch.save(published(shake(vit_sam(), seed=9)), moved)
    asking = Asking(Prompting(), products.pseudomasks)
    with pytest.raises(SettingsError, match="another file, or damaged"):
        segment(products.tiles, model, tmp_path / "out", settings=Inference(), asking=asking)


def test_nobody_says_where_is_one_sentence(products, adapter, tmp_path) -> None:
    with pytest.raises(SettingsError, match="no product says where; name the pseudo masks by"):
        segment(products.tiles, adapter, tmp_path / "out", settings=Inference())


def test_training_mode_reaches_only_dropout(base: Path) -> None:
    state = torch.load(base, weights_only=True)
    network = adapt(build_sam(state, input_px=64), rank=2, alpha=2, dropout=0.1, parts=("decoder",))
    assert isinstance(network, AdaptedSam)
    changed = {type(m).__name__ for m in network.train().modules() if m.training}
    assert changed == {"Dropout"}
