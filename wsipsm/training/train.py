"""Stage 5: train a segmenter on pseudo masks, and on annotated fields where given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsipsm import compute
from wsipsm.config import Sam, Training
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.product import Provenance, making
from wsipsm.models.sam_file import find_base
from wsipsm.training.cohort import Slide, inputs_of, open_cohort
from wsipsm.training.recipe import Recipe
from wsipsm.training.sam import train_sam
from wsipsm.training.start import read_start
from wsipsm.training.unet import train_unet

RECIPES: dict[str, Recipe[Any]] = {"unet": train_unet, "sam_lora": train_sam}
"""How each model is trained, by the name that the configuration uses."""


def train(
    slides: Sequence[Slide],
    target: Path,
    *,
    model: str,
    settings: Training | Sam,
    seed: int,
    workers: int | None = None,
    encoder: Path | None = None,
    rounds: Path | None = None,
) -> None:
    """Train a model; a killed run continues where it was.

    Parameters
    ----------
    slides
        `tiles.zarr` and `pseudomasks.zarr` of every slide, and the GeoJSON of its annotated
        fields, or "-" for none; quarantined slides are left out.
    target
        The checkpoint, such as `unet.pt`.
    settings
        The section of that model.
    encoder
        The activation network, for `training.init: encoder` alone.
    rounds
        Folder that keeps what each round came to, for a training that differs in having more of
        them, as long as these; None: a private one, which goes at the end.

    Raises
    ------
    DataError
        No slide is left, slides differ in their classes, annotations cannot be used, or the
        training diverged.
    SettingsError
        The base of the model, or the encoder, is not there, or another one.
    """
    start = read_start(encoder, settings) if isinstance(settings, Training) else None
    cohort = open_cohort(slides)
    if isinstance(settings, Sam):
        _, sha256 = find_base(settings.base, sha256=settings.sha256)
        settings = settings.model_copy(update={"sha256": sha256})
    prefix = "sam_" if isinstance(settings, Sam) else ""
    known = {f"{prefix}{name}": value for name, value in settings.model_dump().items()}
    known |= {"model": model, "seed": seed}
    began = {"models/encoder": start.id} if start else {}
    provenance = Provenance("train", known, inputs_of(cohort) | began)
    with making(target, provenance) as partial:
        place = rounds or partial.path.parent
        place.mkdir(parents=True, exist_ok=True)
        learnt = RECIPES[model](
            cohort,
            settings=settings,
            place=place,
            seed=seed,
            workers=workers or compute.allotted_cores(),
            start=start,
        )
        annotated = {slide.tiles.slide: slide.fields for slide in cohort if slide.fields}
        record = {
            "provenance": provenance.as_dict(),
            "model": model,
            "architecture": learnt.architecture,
            "classes": cohort[0].classes,
            "annotations": {name: fields.facts for name, fields in annotated.items()},
            **learnt.facts,
        }
        save_checkpoint(partial.path, learnt.state, record)
