"""Stage 2: train the activation network on unlabelled tiles of the whole cohort."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from torch import Tensor

from wsipsm import compute
from wsipsm.config import Pretraining
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.product import Provenance, making
from wsipsm.io.tiles import Tiles, open_usable
from wsipsm.learning.dataset import Sampler
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.stain import nuclear_density
from wsipsm.pretraining.proxies import TASKS, Tile, learner_for

THRESHOLD_TILES = 4
"""Tiles of a slide that set its threshold."""


def pretrain(
    tiles: list[Path],
    target: Path,
    *,
    settings: Pretraining,
    seed: int,
    workers: int | None = None,
) -> None:
    """Train the activation network; a killed run continues from its last snapshot.

    Parameters
    ----------
    tiles
        `tiles.zarr` of every slide to learn from; quarantined ones are left out.
    target
        The checkpoint, `encoder.pt`.

    Raises
    ------
    DataError
        No slide is left, or the training diverged.
    SettingsError
        The batch is too small for the proxy, or there is no such backbone.
    """
    slides = open_usable(tiles)
    known = {**settings.model_dump(), "seed": seed}
    provenance = Provenance("pretrain", known, {slide.slide: slide.id for slide in slides})
    device = compute.device()
    task = TASKS[settings.proxy]
    if task.projected and settings.batch < 2:
        raise SettingsError(
            f"pretraining.batch: {settings.proxy} compares the tiles of a batch; use at least 2"
        )
    with making(target, provenance) as partial:
        learner = learner_for(settings.proxy, backbone=settings.backbone, seed=seed)
        learner.to(device)
        curve = fit(
            learner,
            sample_of=_Samples(slides, settings=settings, seed=seed),
            loss_of=task.loss,
            plan=Plan(settings.steps, settings.batch, settings.learning_rate, whole=task.projected),
            snapshot=partial.path.with_name("snapshot"),
            workers=workers or compute.allotted_cores(),
        )
        encoder = learner.encoder
        record = {
            "provenance": provenance.as_dict(),
            "architecture": encoder.architecture,
            "curve": curve,
        }
        save_checkpoint(partial.path, encoder.state_dict(), record)


class _Samples:
    """Samples of a proxy: views of tiles drawn from the cohort."""

    def __init__(self, slides: list[Tiles], *, settings: Pretraining, seed: int) -> None:
        self.sampler = Sampler(tuple(slides), seed)
        self.settings = settings
        if settings.proxy == "stain":
            self.shares = _shares(slides, side_px=settings.tile_px, seed=seed)

    def __call__(self, step: int, index: int) -> tuple[Tensor, ...]:
        rng = self.sampler.generator(step, index)
        side = self.settings.tile_px
        number, region = self.sampler.draw(rng, side_px=side)
        image = self.sampler.slides[number].read(region)
        tile = Tile(
            image=image,
            other=lambda: self.sampler.image(rng, side_px=side),
            stained=lambda: self._stained(number, image),
        )
        return TASKS[self.settings.proxy].views(rng, tile)

    def _stained(self, number: int, image: NDArray[np.uint8]) -> float:
        density = nuclear_density(image, self.sampler.slides[number].stain)
        share = float((density > self.shares.thresholds[number]).mean())
        return (share - self.shares.mean) / self.shares.deviation


@dataclass(frozen=True)
class _Shares:
    """Each slide's threshold of nuclear density; mean and deviation of the share above it."""

    thresholds: list[float]
    mean: float
    deviation: float


def _shares(slides: list[Tiles], *, side_px: int, seed: int) -> _Shares:
    """Otsu's threshold of each slide, and how its share above differs between training tiles."""
    thresholds, shares = [], []
    for slide in slides:
        densities = _densities(slide, seed=seed)
        values = np.concatenate([density.ravel()[::16] for density in densities])
        thresholds.append(float(threshold_otsu(values)))
        stained = [density > thresholds[-1] for density in densities]
        shares += [piece.mean() for tile in stained for piece in _pieces(tile, side_px)]
    deviation = float(np.std(shares))
    return _Shares(thresholds, float(np.mean(shares)), deviation if deviation > 0 else 1)


def _densities(slide: Tiles, *, seed: int) -> list[NDArray[np.float32]]:
    """Nuclear density of a sample of one slide's tissue tiles."""
    kept = slide.kept_tiles()
    rng = np.random.default_rng([seed, len(kept)])
    picks = rng.choice(len(kept), size=min(THRESHOLD_TILES, len(kept)), replace=False)
    tiles = [slide.grid.tile(*kept[pick]) for pick in sorted(picks)]
    return [nuclear_density(slide.read(tile), slide.stain) for tile in tiles]


def _pieces(tile: NDArray[np.bool_], side: int) -> list[NDArray[np.bool_]]:
    """Whole training tiles that a tile holds; all of it where it holds none."""
    rows, cols = (range(0, size - side + 1, side) for size in tile.shape)
    places = [(row, col) for row in rows for col in cols]
    return [tile[row : row + side, col : col + side] for row, col in places] or [tile]
