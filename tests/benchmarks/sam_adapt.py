"""What adapters bring on slides of another look: a table of scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.sam_base import ADAPT_BATCH, ADAPT_STEPS, fit_whole, settings
from tests.benchmarks.sam_scores import Table, score_pseudomasks
from tests.benchmarks.sam_slides import ABROAD, HOME, Slide, annotate, corner, slides_of
from wsipsm import compute
from wsipsm.io.checkpoint import load_checkpoint, save_checkpoint
from wsipsm.io.product import Provenance
from wsipsm.learning.loop import Plan
from wsipsm.models.adapters import adapter_state
from wsipsm.models.sam_adapted import SamFacts, adapted_sam
from wsipsm.models.sam_file import find_base
from wsipsm.training.choice import choose_fields
from wsipsm.training.cohort import Masked
from wsipsm.training.train import train

FULL_RATE = 1e-3
CORNERS = ((-1, -1), (1, 1))


def adapt_to(base: Path, folder: Path) -> None:
    """Adapt the base to another look; print a table of scores on a slide that taught nothing."""
    lesson, test = slides_of(ABROAD, folder)
    made = folder / "adapted"
    made.mkdir(exist_ok=True)
    table = Table(base, folder)
    plain = whole_checkpoint(base, made / "base.pt")
    table.add("base, on a slide of its own look", plain, slides_of(HOME, folder)[-1], 0)
    table.add("base, nothing learnt", plain, test, 0)
    scores = []
    for number, place in enumerate(CORNERS, start=1):
        drawn = annotate(lesson, [corner(*place)], made / f"field_{number}.geojson")
        model, learnt = adapter(base, lesson, drawn.with_suffix(".pt"), str(drawn))
        scores.append(table.add(f"adapter, annotated field {number}", model, test, learnt))
    model, learnt = adapter(base, lesson, made / "pseudo.pt", "-", fields=8)
    table.add("adapter, pseudo masks alone", model, test, learnt)
    whole = tuned(base, lesson, made, made / "field_1.geojson")
    table.add("all weights, annotated field 1", whole, test, table.count)
    table.write("the pseudo masks that it is asked by", score_pseudomasks(test), 0)
    print(
        f"\nOne field, each in turn: F1 mean {np.mean(scores):.3f}, median"
        f" {np.median(scores):.3f}, worst {min(scores):.3f}, best {max(scores):.3f}"
    )


def adapter(
    base: Path, lesson: Slide, target: Path, annotations: str, **changes: object
) -> tuple[Path, int]:
    """Train an adapter on a slide; returns its checkpoint and the number of its weights."""
    known = (lesson.tiles, lesson.pseudomasks, annotations)
    train([known], target, model="sam_lora", settings=settings(base, **changes), seed=0)
    state, _ = load_checkpoint(target)
    return target, sum(value.numel() for value in state.values())


def tuned(base: Path, lesson: Slide, folder: Path, annotations: Path) -> Path:
    """Train all weights on an annotated field, as long as an adapter learns."""
    cohort = [Masked(lesson.tiles, lesson.pseudomasks, str(annotations))]
    fields, _ = choose_fields(cohort, count=1, seed=0)
    plan = Plan(ADAPT_STEPS, ADAPT_BATCH, FULL_RATE, warm_up=0.3)
    compute.device()
    state = torch.load(base, weights_only=True)
    whole = fit_whole(state, cohort, fields, plan=plan, name=folder / "snapshot")
    torch.save({k: v.detach().clone() for k, v in whole.items()}, folder / "whole.pth")
    return whole_checkpoint(folder / "whole.pth", folder / "whole.pt")


def whole_checkpoint(base: Path, target: Path) -> Path:
    """A checkpoint whose adapters do nothing: the base as it is."""
    given = settings(base)
    facts = SamFacts.of(given, sha256=find_base(str(base), sha256="")[1])
    network = adapted_sam(base, facts, dropout=0)
    record = {
        "provenance": Provenance("train", {}, {"base": facts.sha256}).as_dict(),
        "model": "sam_lora",
        "architecture": facts.as_dict(),
        "classes": ["nucleus"],
    }
    save_checkpoint(target, adapter_state(network.sam), record)
    return target
