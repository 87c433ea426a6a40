"""Self-training of U-Nets: rounds of learning labels and giving the pool better ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wsipsm import compute
from wsipsm.config import Inference, Training
from wsipsm.io.checkpoint import save
from wsipsm.learning.augment import REACH
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.segmenter import UNetSegmenter
from wsipsm.models.stain import nuclear_density
from wsipsm.models.unet import Committee, UNet
from wsipsm.training.calibrate import Fit, calibrate
from wsipsm.training.cohort import Masked
from wsipsm.training.goals import GOALS
from wsipsm.training.loss import Loss
from wsipsm.training.pool import Place, Pool
from wsipsm.training.recipe import Learnt
from wsipsm.training.relabel import relabel
from wsipsm.training.samples import Samples
from wsipsm.training.start import Start

T = TypeVar("T")

LATER_RATE = 0.75
"""Learning rate of later rounds over that of the first."""

TEACHER = Inference(rotations=4)
"""How a trained network labels the pool anew."""


def train_unet(
    cohort: list[Masked],
    *,
    settings: Training,
    place: Path,
    seed: int,
    workers: int,
    start: Start | None,
) -> Learnt:
    """Train U-Nets on the labels of a cohort, then on those that they give the cohort together.

    A network finds pale nuclei that the labels lack, since labels err here and there and nuclei
    look alike everywhere; the next round learns them.

    Parameters
    ----------
    cohort
        Slides with pseudo masks, and annotations where there are any.
    place
        Private folder, from which a killed training continues.
    start
        Weights that the encoder begins with; None for random ones.

    Raises
    ------
    DataError
        The training diverged.
    """
    pool = Pool(
        cohort,
        place / "pool",
        count=max(settings.regions, len(cohort)),
        side_px=REACH * settings.tile_px,
        annotated_share=settings.annotated_share,
        seed=seed,
        goal=GOALS[settings.head],
    )
    _each(pool.fill, pool.places, workers=workers, label="draw regions", unit="regions")
    seeds = [_seed_of(seed, member) for member in range(settings.members)]
    network = _committee(seeds, settings, classes=len(cohort[0].classes), start=start)
    network.to(compute.device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    segmenter = UNetSegmenter(network, settings=TEACHER, mpp=cohort[0].tiles.mpp)
    rounds = _Rounds(network, pool, settings, place, seeds, workers)
    curve, fits = [], []
    for number in range(settings.rounds):
        curve += rounds.learn(number)
        fits.append(calibrate(segmenter, pool, workers=workers))
        if number + 1 < settings.rounds:
            teach = _Teacher(segmenter, pool, fits[-1], number + 1)
            _each(
                teach,
                pool.of_specimens(pool.places),
                workers=workers,
                label="label anew",
                unit="parts",
            )
    return Learnt(
        network.state_dict(),
        network.architecture,
        {**asdict(fits[-1]), "rounds": [asdict(fitted) for fitted in fits], "curve": curve},
    )


def _seed_of(seed: int, member: int) -> int:
    """Seed of a member: that of the training for the first, and none of another training's."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1)[0]) if member else seed


def _committee(
    seeds: Sequence[int], settings: Training, *, classes: int, start: Start | None
) -> Committee:
    networks = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(UNet(settings.backbone, classes=classes, head=settings.head))
        if start:
            networks[-1].start_from(start.weights)
    return Committee(networks)


@dataclass(frozen=True)
class _Rounds:
    """Trains the members round by round; what is done of a round is read from disk."""

    network: Committee
    pool: Pool
    settings: Training
    place: Path
    seeds: list[int]
    workers: int

    def learn(self, number: int) -> list[dict[str, float]]:
        """Train for one round, or load what it came to; returns its part of the mean curve."""
        curves = [self._learn(number, member) for member in range(len(self.seeds))]
        before = number * self._steps(0)
        return [
            {
                "step": points[0]["step"] + before,
                "loss": sum(point["loss"] for point in points) / len(points),
            }
            for points in zip(*curves, strict=True)
        ]

    def _learn(self, number: int, member: int) -> list[dict[str, float]]:
        network = self.network.members[member]
        done = self.place / f"round_{number}_{member}"
        if not done.exists():
            curve = self._fit(number, member)
            ahead = done.with_name(f"{done.name}.new")
            save({"model": network.state_dict(), "curve": curve}, ahead)
            ahead.replace(done)
        device = next(network.parameters()).device
        state: dict[str, Any] = torch.load(done, weights_only=True, map_location=device)
        network.load_state_dict(state["model"])
        network.eval()
        learnt: list[dict[str, float]] = state["curve"]
        return learnt

    def _fit(self, number: int, member: int) -> list[dict[str, float]]:
        settings = self.settings
        plan = Plan(
            self._steps(number),
            settings.batch,
            settings.learning_rate * (LATER_RATE if number else 1),
            weight_decay=settings.weight_decay,
            averaging=settings.averaging,
        )
        samples = Samples(
            self.pool,
            labels=number,
            side_px=settings.tile_px,
            batch=settings.batch,
            seed=self.seeds[member],
        )
        return fit(
            self.network.members[member],
            sample_of=samples,
            loss_of=Loss(self.pool.goal, settings.distance_weight),
            plan=plan,
            snapshot=self.place / f"snapshot_{number}_{member}",
            workers=self.workers,
        )

    def _steps(self, number: int) -> int:
        """Even shares of all steps; what is left over falls to the last round."""
        each = max(1, self.settings.steps // self.settings.rounds)
        last = number + 1 == self.settings.rounds
        return max(1, self.settings.steps - number * each) if last else each


@dataclass(frozen=True)
class _Teacher:
    """Gives the regions of a slide the labels of a round."""

    segmenter: UNetSegmenter
    pool: Pool
    fit: Fit
    number: int

    def __call__(self, places: Sequence[Place]) -> None:
        todo = [place for place in places if not self.pool.has(self.number, place)]
        if todo:
            segmenter = self.pool.met(self.segmenter, todo).adapted(
                foreground=self.fit.foreground, median_area_um2=self.fit.median_area_um2
            )
            for place in todo:
                self._label(segmenter, place)

    def _label(self, segmenter: UNetSegmenter, place: Place) -> None:
        slide = self.pool.cohort[place.slide]
        image = self.pool.image(place)
        chances, height, spread = (maps[0] for maps in segmenter.maps(image[None]))
        classes, instances = relabel(
            segmenter.cells(chances, height, spread),
            1 - chances[0],
            nuclear_density(image, slide.tiles.stain),
            mpp=slide.tiles.mpp,
            threshold=self.fit.foreground,
        )
        labels = slide.lay_over(place.region, classes, instances)
        self.pool.write(self.number, place, *labels)


def _each(
    work: Callable[[T], None], things: Sequence[T], *, workers: int, label: str, unit: str
) -> None:
    """Do the work on every one; threads share them, and each is worked off on its own."""
    with ThreadPoolExecutor(workers) as workshop:
        done = workshop.map(work, things)
        with compute.progress(label, total=len(things), unit=unit) as shown:
            for _ in done:
                shown.update(1)
