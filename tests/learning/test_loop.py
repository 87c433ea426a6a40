"""The training loop: same weights for any number of workers, killed or not."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsipsm.errors import DataError
from wsipsm.learning.loop import Plan, fit


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))


def sample_of(step: int, index: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + index)
    image = torch.randn(1, 9, 9, generator=generator)
    return image, image[:, 2:-2, 2:-2] * 2


def loss_of(model: nn.Module, images: Tensor, wanted: Tensor) -> Tensor:
    return (model(images) - wanted).square().mean()


def trained(tmp_path: Path, *, workers: int, steps: int = 12, sample=sample_of) -> dict:
    model = network()
    plan = Plan(steps, 6, 1e-2, averaging=0.9, snapshot_every=4)
    curve = fit(
        model,
        sample_of=sample,
        loss_of=loss_of,
        plan=plan,
        snapshot=tmp_path / "snapshot",
        workers=workers,
    )
    return {"curve": curve, **model.state_dict()}


def same(first: dict, second: dict) -> bool:
    return first["curve"] == second["curve"] and all(
        torch.equal(first[name], second[name]) for name in first if name != "curve"
    )


def test_workers_do_not_change_a_bit(tmp_path: Path) -> None:
    once = trained(tmp_path / "a", workers=1, steps=3)
    assert same(once, trained(tmp_path / "b", workers=4, steps=3))


@pytest.mark.parametrize("at", [1, 5, 11])
def test_an_interrupted_run_continues_to_the_same_bits(tmp_path: Path, at: int) -> None:
    def interrupted(step: int, index: int) -> tuple[Tensor, Tensor]:
        if step == at:
            raise KeyboardInterrupt
        return sample_of(step, index)

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = trained(tmp_path / "whole", workers=2)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", workers=2, sample=interrupted)
    assert (tmp_path / "cut" / "snapshot").exists() == (at >= 5)
    assert same(whole, trained(tmp_path / "cut", workers=2))


def test_the_loss_falls_and_the_model_ends_in_evaluation_mode(tmp_path: Path) -> None:
    model = network()
    plan = Plan(60, 8, 2e-2)
    curve = fit(
        model,
        sample_of=sample_of,
        loss_of=loss_of,
        plan=plan,
        snapshot=tmp_path / "snapshot",
        workers=2,
    )
    assert curve[-1]["loss"] < curve[0]["loss"] / 2
    assert not model.training


def test_a_diverging_loss_is_told(tmp_path: Path) -> None:
    def broken(step: int, index: int) -> tuple[Tensor, Tensor]:
        image, wanted = sample_of(step, index)
        return image, wanted * float("inf")

    with pytest.raises(DataError, match=r"loss .* at step 1; lower the learning rate"):
        trained(tmp_path, workers=1, sample=broken)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [Plan(100, 1, 1.0).rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10]
    assert rates[-1] < 0.01
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_frozen_weights_stay_and_are_not_kept_with_the_others(tmp_path: Path) -> None:
    model = network()
    model[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    plan = Plan(8, 6, 1e-2, averaging=0.5, snapshot_every=4, weight_decay=0.1)
    snapshot = tmp_path / "snapshot"
    fit(model, sample_of=sample_of, loss_of=loss_of, plan=plan, snapshot=snapshot, workers=2)
    changed = {n for n, v in model.named_parameters() if not torch.equal(v, before[n])}
    assert changed == {"1.weight", "1.bias", "3.weight", "3.bias"}
    kept = torch.load(snapshot, weights_only=True)
    assert not {"0.weight", "0.bias"} & (set(kept["model"]) | set(kept["average"]))


def test_the_rate_rises_for_the_share_of_steps_that_is_asked_for() -> None:
    rates = [Plan(100, 1, 1.0, warm_up=0.3).rate(step) for step in range(100)]
    assert rates.index(max(rates)) in (29, 30)
    assert rates[99] < 0.01
    assert Plan(100, 1, 1.0).rate(9) == 1.0


@pytest.mark.parametrize(("whole", "largest"), [(True, 6), (False, 2)])
def test_a_loss_that_compares_sees_the_whole_batch(
    tmp_path: Path, whole: bool, largest: int
) -> None:
    seen = []

    def loss_in_one_piece(model: nn.Module, images: Tensor, wanted: Tensor) -> Tensor:
        seen.append(len(images))
        return loss_of(model, images, wanted)

    fit(
        network(),
        sample_of=sample_of,
        loss_of=loss_in_one_piece,
        plan=Plan(1, 6, 1e-2, whole=whole),
        snapshot=tmp_path / "snapshot",
        workers=1,
    )
    assert max(seen) == largest
