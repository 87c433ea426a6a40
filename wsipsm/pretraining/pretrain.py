"""Stage 2: train the activation network on unlabelled tiles of the whole cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.filters import threshold_otsu
from torch import Tensor

from wsipsm import compute
from wsipsm.config import Pretraining
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.product import Provenance, making
from wsipsm.io.tiles import Tiles, open_usable
from wsipsm.learning.dataset import Sampler
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.stain import nuclear_density
from wsipsm.pretraining.proxies import TASKS, Tile, learner_for

THRESHOLD_TILES = 8


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
    """
    slides = open_usable(tiles)
    known = {**settings.model_dump(), "seed": seed}
    provenance = Provenance("pretrain", known, {slide.slide: slide.id for slide in slides})
    device = compute.device()
    task = TASKS[settings.proxy]
    with making(target, provenance) as partial:
        learner = learner_for(settings.proxy, backbone=settings.backbone, seed=seed)
        learner.to(device)
        curve = fit(
            learner,
            sample_of=_Samples(slides, settings=settings, seed=seed),
            loss_of=task.loss,
            plan=Plan(settings.steps, settings.batch, settings.learning_rate),
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
        self.thresholds = [_nuclear_threshold(slide, seed=seed) for slide in slides]

    def __call__(self, step: int, index: int) -> tuple[Tensor, ...]:
        rng = self.sampler.generator(step, index)
        side = self.settings.tile_px
        number, region = self.sampler.draw(rng, side_px=side)
        slide = self.sampler.slides[number]
        image = slide.read(region)
        stained = nuclear_density(image, slide.stain) > self.thresholds[number]
        tile = Tile(
            image=image,
            other=lambda: self.sampler.image(rng, side_px=side),
            stained_share=float(stained.mean(dtype=np.float32)),
        )
        return TASKS[self.settings.proxy].views(rng, tile)


def _nuclear_threshold(slide: Tiles, *, seed: int) -> float:
    """Otsu's threshold of nuclear density over a sample of one slide's tissue tiles."""
    rng = np.random.default_rng([seed, len(slide.kept_tiles())])
    kept = slide.kept_tiles()
    picks = rng.choice(len(kept), size=min(THRESHOLD_TILES, len(kept)), replace=False)
    density = [
        nuclear_density(slide.read(slide.grid.tile(*kept[pick])), slide.stain).ravel()[::16]
        for pick in sorted(picks)
    ]
    return float(threshold_otsu(np.concatenate(density)))
