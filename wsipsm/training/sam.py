"""Segment Anything learns cells from a few fields: low-rank adapters on a base that stays.

After CellSeg1 (arXiv 2412.01410). The fields are annotated ones, or tiles with pseudo masks.
"""

from __future__ import annotations

from pathlib import Path

import torch

from wsipsm import compute
from wsipsm.config import Sam
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.adapters import adapter_state
from wsipsm.models.sam_adapted import SamFacts, adapted_sam
from wsipsm.models.sam_file import find_base
from wsipsm.training.choice import choose_fields
from wsipsm.training.cohort import Masked
from wsipsm.training.recipe import Learnt
from wsipsm.training.sam_loss import SamLoss
from wsipsm.training.sam_samples import Views
from wsipsm.training.start import Start


def train_sam(
    cohort: list[Masked],
    *,
    settings: Sam,
    place: Path,
    seed: int,
    workers: int,
    start: Start | None,  # noqa: ARG001
) -> Learnt:
    """Train adapters on the best fields of a cohort.

    Parameters
    ----------
    cohort
        Slides with pseudo masks, and annotations where there are any.
    place
        Private folder, from which a killed training continues.
    start
        Of no use here: weights begin at those of the base.

    Raises
    ------
    SettingsError
        The base is not there or another one, or the extra `sam` is not installed.
    DataError
        No field shows a cell, or the training diverged.
    """
    base, sha256 = find_base(settings.base, sha256=settings.sha256)
    facts = SamFacts.of(settings, sha256=sha256)
    fields, chosen = choose_fields(cohort, count=settings.fields, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = adapted_sam(base, facts, dropout=settings.dropout)
    network.to(compute.device())
    curve = fit(
        network,
        sample_of=Views(cohort, fields, settings=settings, seed=seed),
        loss_of=SamLoss(dice=settings.dice),
        plan=Plan(
            settings.steps,
            settings.batch,
            settings.learning_rate,
            warm_up=settings.warm_up,
            chunk=settings.chunk,
        ),
        snapshot=place / "snapshot",
        workers=workers,
    )
    return Learnt(adapter_state(network.sam), facts.as_dict(), {"curve": curve, "lessons": chosen})
