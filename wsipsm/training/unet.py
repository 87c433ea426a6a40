"""Self-training of the U-Net: rounds of learning labels and giving the pool better ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from wsipsm import compute
from wsipsm.config import Inference, Training
from wsipsm.io.checkpoint import save
from wsipsm.learning.augment import REACH
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.segmenter import UNetSegmenter
from wsipsm.models.stain import nuclear_density
from wsipsm.models.unet import UNet
from wsipsm.training.calibrate import Fit, calibrate
from wsipsm.training.cohort import Masked
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
    """Train a U-Net on the labels of a cohort, then on those that it gives the cohort itself.

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
    )
    _each(pool.fill, pool.places, workers=workers, label="draw regions", unit="regions")
    device = compute.device()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(settings.backbone, classes=len(cohort[0].classes))
    if start:
        network.start_from(start.weights)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    segmenter = UNetSegmenter(network, settings=TEACHER, mpp=cohort[0].tiles.mpp)
    rounds = _Rounds(network, pool, settings, place, seed, workers)
    curve, fits = [], []
    for number in range(settings.rounds):
        curve += rounds.learn(number)
        fits.append(calibrate(segmenter, pool, workers=workers))
        if number + 1 < settings.rounds:
            teach = _Teacher(segmenter, pool, fits[-1], number + 1)
            _each(
                teach,
                pool.of_slides(pool.places),
                workers=workers,
                label="label anew",
                unit="slides",
            )
    return Learnt(
        network.state_dict(),
        network.architecture,
        {**asdict(fits[-1]), "rounds": [asdict(fitted) for fitted in fits], "curve": curve},
    )


@dataclass(frozen=True)
class _Rounds:
    """Trains the network round by round; a round that is done is read from disk."""

    network: UNet
    pool: Pool
    settings: Training
    place: Path
    seed: int
    workers: int

    def learn(self, number: int) -> list[dict[str, float]]:
        """Train for one round, or load what it came to; returns its part of the curve."""
        done = self.place / f"round_{number}"
        if not done.exists():
            curve = self._fit(number)
            ahead = done.with_name(f"{done.name}.new")
            save({"model": self.network.state_dict(), "curve": curve}, ahead)
            ahead.replace(done)
        device = next(self.network.parameters()).device
        state: dict[str, Any] = torch.load(done, weights_only=True, map_location=device)
        self.network.load_state_dict(state["model"])
        self.network.eval()
        before = number * self._steps(0)
        return [{**point, "step": point["step"] + before} for point in state["curve"]]

    def _fit(self, number: int) -> list[dict[str, float]]:
        settings = self.settings
        plan = Plan(
            self._steps(number),
            settings.batch,
            settings.learning_rate * (LATER_RATE if number else 1),
            weight_decay=settings.weight_decay,
            averaging=settings.averaging,
        )
        samples = Samples(
            self.pool, labels=number, side_px=settings.tile_px, batch=settings.batch, seed=self.seed
        )
        return fit(
            self.network,
            sample_of=samples,
            loss_of=Loss(settings.distance_weight),
            plan=plan,
            snapshot=self.place / f"snapshot_{number}",
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
        chances, distance = (maps[0] for maps in segmenter.maps(image[None]))
        classes, instances = relabel(
            segmenter.cells(chances, distance),
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
