"""What adapters bring on drawn slides, and what prompts save: `base`, `adapt`, `speed`.

`python -m tests.benchmarks.sam base FILE FOLDER` trains a small model in full on H&E phantoms,
which it draws into a folder, and writes it under the published names; `adapt FILE FOLDER` adapts
it to another look and prints a table; `speed` times prompts against the grid, and suppression
against the matrix of all pairs; `device` times models of the published sizes, random, on a GPU or
whatever there is.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
import torch
from torch import Tensor, nn

from tests.benchmarks import sam_speed
from tests.models.sam_files import SMALL, published, tiny_sam
from wsipsm import compute
from wsipsm.activation.activate import activate
from wsipsm.benchmark.score import found_labels
from wsipsm.config import (
    Activation,
    Inference,
    Pretraining,
    Prompting,
    Pseudomasks,
    Sam,
    Stitching,
    Tiling,
)
from wsipsm.evaluation.metrics import score_labels
from wsipsm.inference.segment import segment
from wsipsm.io.annotations import open_annotations
from wsipsm.io.checkpoint import load_checkpoint, save_checkpoint
from wsipsm.io.product import Provenance
from wsipsm.io.tiles import open_tiles
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.adapters import AdaptedSam, adapter_state
from wsipsm.models.sam import build_sam
from wsipsm.models.sam_adapted import SamFacts, adapted_sam
from wsipsm.models.sam_file import find_base
from wsipsm.models.segmenter import Asking
from wsipsm.phantom.phantom import draw_slides
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.pseudomasks.pseudomask import pseudomask
from wsipsm.stitching.stitch import stitch
from wsipsm.tiling.tile import tile
from wsipsm.training.choice import Field, choose_fields
from wsipsm.training.cohort import Masked
from wsipsm.training.sam_loss import SamLoss
from wsipsm.training.sam_samples import Views
from wsipsm.training.train import train
from wsipsm.types import Region

SIDE_PX = 1024
VIEW_UM = 32.0
FIELD_PX = 340
ADAPT_STEPS, ADAPT_BATCH = 60, 4
BASE_STEPS, BASE_BATCH = 150, 8
FULL_RATE = 5e-4


@dataclass(frozen=True)
class Look:
    """How slides of one kind are drawn and worked on."""

    name: str
    stain: str
    mpp: float
    seed: int
    slides: int


HOME = Look("home", "he", 0.25, 11, 2)
ABROAD = Look("abroad", "ihc", 0.4, 12, 2)


@dataclass(frozen=True)
class Slide:
    """Products of one drawn slide."""

    tiles: Path
    pseudomasks: Path
    truth: Path


def slides_of(look: Look, folder: Path) -> list[Slide]:
    """Draw slides and run the stages up to the pseudo masks, once."""
    home = folder / look.name
    draw_slides(
        home / "drawn", count=look.slides, size_px=SIDE_PX, mpp=0.25, stain=look.stain,
        seed=look.seed,
    )  # fmt: skip
    paths = sorted((home / "drawn").glob("*.tiff"))
    found = []
    for path in paths:
        where = home / path.stem
        if not (where / "tiles.zarr").exists():
            tiling = Tiling(mpp=look.mpp, tile_px=256, shard_tiles=2, exclude=())
            tile(path, where / "tiles.zarr", stain=look.stain, settings=tiling)
        found.append(Slide(where / "tiles.zarr", where / "pseudomasks.zarr",
                           path.with_name(f"{path.stem}.cells.geojson")))  # fmt: skip
    encoder = home / "encoder.pt"
    if not encoder.exists():
        pretrain([each.tiles for each in found], encoder, settings=Pretraining(steps=1), seed=0)
    for each in found:
        if not each.pseudomasks.exists():
            activation = each.tiles.with_name("activation.zarr")
            activate(each.tiles, encoder, activation, settings=Activation())
            pseudomask(
                each.tiles, activation, each.pseudomasks, settings=Pseudomasks(psm_weight=0), seed=0
            )
    return found


def annotate(slide: Slide, corner: tuple[int, int] | None, target: Path) -> Path:
    """Truth of a slide with a field around all of it, or in one of its quarters."""
    features = json.loads(slide.truth.read_text())["features"]
    if corner is None:
        box = shapely.box(0, 0, SIDE_PX, SIDE_PX)
    else:
        x, y = (SIDE_PX / 2 + at * (FIELD_PX / 2 + 20) for at in corner)
        box = shapely.box(x, y, x, y).buffer(FIELD_PX / 2, cap_style="square")
    field = {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(box),
        "properties": {"classification": {"name": "Region*"}},
    }
    for feature in features:
        feature["properties"].pop("classification", None)
    target.write_text(json.dumps({"type": "FeatureCollection", "features": [field, *features]}))
    return target


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
        "cells": 6, "steps": ADAPT_STEPS, "batch": ADAPT_BATCH, "dice": 1.0,
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


def base(target: Path, folder: Path) -> None:
    """Train the small model from scratch on slides of the first look."""
    found = slides_of(HOME, folder)
    cohort = []
    for number, slide in enumerate(found):
        path = annotate(slide, None, folder / f"home_{number}.geojson")
        cohort.append(Masked(slide.tiles, slide.pseudomasks, str(path)))
    fields = [
        Field(number, region, 1, 1, 1, 1)
        for number, slide in enumerate(cohort)
        for region in slide.fields.regions()
    ]
    torch.manual_seed(0)
    plan = Plan(BASE_STEPS, BASE_BATCH, 2e-3, weight_decay=1e-3)
    compute.device()
    state = fit_whole(
        published(tiny_sam(**SMALL)), cohort, fields, plan=plan, name=folder / "base.snapshot"
    )
    torch.save({key: value.detach().clone() for key, value in state.items()}, target)


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


def score(model: Path, slide: Slide, folder: Path) -> dict[str, float]:
    """Metrics of a model's cells of one slide, asked by its pseudo masks."""
    parts, cells = folder / "tile_cells", folder / "cells.parquet"
    asking = Asking(Prompting(), slide.pseudomasks)
    segment(slide.tiles, model, parts, settings=Inference(), asking=asking)
    stitch(parts, cells, settings=Stitching())
    tiles = open_tiles(slide.tiles)
    whole = Region(0, 0, tiles.grid.height_px, tiles.grid.width_px)
    truth = open_annotations(slide.truth, tiles).ids(whole)
    return score_labels(truth, found_labels(cells, tiles))


def adapt_to(base_file: Path, folder: Path) -> None:
    """Adapt the base to slides of another look, in four ways, and print a table."""
    lesson, test = slides_of(ABROAD, folder)
    made = folder / "adapted"
    made.mkdir(exist_ok=True)
    count = sum(value.numel() for value in torch.load(base_file, weights_only=True).values())
    rows = []

    def row(name: str, model: Path, learnt: int) -> float:
        found = score(model, test, folder)
        figures = " | ".join(f"{found[key]:.3f}" for key in ("f1", "ap", "aji", "pq"))
        rows.append(f"| {name} | {learnt:,} ({learnt / count:.1%}) | {figures} |")
        print(rows[-1], file=sys.stderr)
        return found["f1"]

    def adapter(target: Path, annotations: str, **changes: object) -> tuple[Path, int]:
        known = (lesson.tiles, lesson.pseudomasks, annotations)
        given = settings(base_file, **changes)
        train([known], target, model="sam_lora", settings=given, seed=0)
        state, _ = load_checkpoint(target)
        return target, sum(value.numel() for value in state.values())

    row("base, nothing learnt", whole_checkpoint(base_file, made / "base.pt"), 0)
    scores = []
    for number, (x, y) in enumerate([(-1, -1), (1, -1), (-1, 1), (1, 1)], start=1):
        drawn = annotate(lesson, (x, y), made / f"field_{number}.geojson")
        model, learnt = adapter(made / f"field_{number}.pt", str(drawn))
        scores.append(row(f"adapter, annotated field {number}", model, learnt))
    model, learnt = adapter(made / "pseudo.pt", "-", fields=8)
    row("adapter, pseudo masks alone", model, learnt)
    drawn = annotate(lesson, (-1, -1), made / "field_1.geojson")
    cohort = [Masked(lesson.tiles, lesson.pseudomasks, str(drawn))]
    fields, _ = choose_fields(cohort, count=1, seed=0)
    plan = Plan(ADAPT_STEPS, ADAPT_BATCH, FULL_RATE, warm_up=0.3)
    compute.device()
    state = torch.load(base_file, weights_only=True)
    whole = fit_whole(state, cohort, fields, plan=plan, name=made / "snapshot")
    torch.save({k: v.detach().clone() for k, v in whole.items()}, made / "whole.pth")
    model = whole_checkpoint(made / "whole.pth", made / "whole.pt")
    row("all weights, annotated field 1", model, count)
    print("| model | weights that learn | F1 at .5 | AP at .5 | AJI | PQ |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    print(
        f"\nOne field, each in turn: F1 mean {np.mean(scores):.3f}, median"
        f" {np.median(scores):.3f}, worst {min(scores):.3f}, best {max(scores):.3f}"
    )


if __name__ == "__main__":
    compute.keep_memory()
    match sys.argv[1:]:
        case ["draw", folder]:
            for look in (HOME, ABROAD):
                slides_of(look, Path(folder))
        case ["base", target, folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            base(Path(target), Path(folder))
        case ["adapt", target, folder]:
            adapt_to(Path(target), Path(folder))
        case ["speed"]:
            sam_speed.speed()
        case ["device", *names]:
            sam_speed.on_device(names or ["vit_b", "vit_h"])
        case _:
            sys.exit(__doc__)
