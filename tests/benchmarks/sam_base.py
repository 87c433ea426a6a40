"""A small model that learns in full, from random weights: the base of the adapters."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.sam_slides import HOME, annotate, dense, slides_of
from tests.models.sam_files import SMALL, published, tiny_sam
from wsipsm import compute
from wsipsm.config import Sam
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.adapters import AdaptedSam
from wsipsm.models.sam import build_sam
from wsipsm.training.choice import Field
from wsipsm.training.cohort import Masked
from wsipsm.training.sam_loss import SamLoss
from wsipsm.training.sam_samples import Views

VIEW_UM = 28.0
CELLS = 10
BASE = Plan(500, 8, 1.2e-3, weight_decay=1e-3, warm_up=0.15)
ADAPT_STEPS, ADAPT_BATCH, ADAPT_RATE = 200, 4, 1e-2


def base(target: Path, folder: Path) -> None:
    """Train the small model from scratch on slides of the first look."""
    found = slides_of(HOME, folder)[:-1]
    cohort = []
    for number, slide in enumerate(found):
        path = annotate(slide, dense(slide), folder / f"home_{number}.geojson")
        cohort.append(Masked(slide.tiles, slide.pseudomasks, str(path)))
    fields = [
        Field(number, region, 1, 1, 1, 1)
        for number, slide in enumerate(cohort)
        for region in slide.fields.regions()
    ]
    compute.device()
    state = fit_whole(
        published(newborn()), cohort, fields, plan=BASE, name=folder / "base.snapshot"
    )
    torch.save({key: value.detach().clone() for key, value in state.items()}, target)


def newborn() -> nn.Module:
    """A random model that looks near its point from the first step on.

    Queries and keys between points and image are alike, and places weigh more than labels; from
    plain random weights, it takes thousands of steps to find out where it is asked.
    """
    torch.manual_seed(0)
    sam = tiny_sam(**SMALL)
    for name, part in sam.named_modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.1)
        if name.endswith(("token_to_image", "image_to_token")):
            nn.init.zeros_(part.q_proj.bias)
            part.q_proj.weight.data.mul_(3)
            part.k_proj.load_state_dict(part.q_proj.state_dict())
    return sam


class WholeSam(AdaptedSam):
    """A model that learns as a whole, batch norm too."""

    def train(self, mode: bool = True) -> WholeSam:
        """Train everything."""
        nn.Module.train(self, mode)
        return self


def settings(base: Path, **changes: object) -> Sam:
    """Settings of the small model."""
    given = {
        "base": str(base), "input_px": SMALL["image_px"], "view_um": VIEW_UM, "fields": 1,
        "cells": CELLS, "steps": ADAPT_STEPS, "batch": ADAPT_BATCH,
        "learning_rate": ADAPT_RATE, "dice": 1.0,
    }  # fmt: skip
    return Sam(**{**given, **changes})


def fit_whole(
    state: dict[str, Tensor], cohort: list[Masked], fields: list[Field], *, plan: Plan, name: Path
) -> dict[str, Tensor]:
    """Train all weights of a model; returns them under their published names."""
    sam = build_sam(state, input_px=SMALL["image_px"]).requires_grad_(True)
    network = WholeSam(sam)
    given = settings(name, steps=plan.steps, batch=plan.batch)
    name.unlink(missing_ok=True)
    curve = fit(
        network,
        sample_of=Views(cohort, fields, settings=given, seed=0),
        loss_of=SamLoss(dice=1.0),
        plan=plan,
        snapshot=name,
        workers=compute.allotted_cores(),
    )
    losses = [point["loss"] for point in curve]
    print(f"loss {np.mean(losses[:10]):.3f} to {np.mean(losses[-10:]):.3f}", file=sys.stderr)
    return published(sam)
