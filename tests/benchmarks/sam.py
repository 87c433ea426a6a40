"""What adapters bring on drawn slides, and what prompts save: `base`, `adapt`, `speed`.

`python -m tests.benchmarks.sam base FILE FOLDER` trains a small model in full on H&E phantoms,
which it draws into a folder, and writes it under the published names; `adapt FILE FOLDER` adapts
it to another look, IHC at a lower resolution, and prints a table; `speed` times prompts against
the grid, and suppression against the matrix of all pairs; `device` times models of the published
sizes, random, on a GPU or whatever there is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential
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
from wsipsm.io.tiles import Tiles, open_tiles
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
VIEW_UM = 28.0
FIELD_PX, GAP_PX = 480, 16
DENSE_PX, DENSE = 256, 15
CELLS = 10
BASE = Plan(500, 8, 1.2e-3, weight_decay=1e-3, warm_up=0.15)
ADAPT_STEPS, ADAPT_BATCH, ADAPT_RATE = 200, 4, 1e-2
FULL_RATE = 1e-3
CORNERS = ((-1, -1), (1, 1))


@dataclass(frozen=True)
class Look:
    """How slides of one kind are drawn and worked on."""

    name: str
    stain: str
    mpp: float
    seed: int
    slides: int


HOME = Look("home", "he", 0.25, 11, 3)
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


def annotate(slide: Slide, boxes: Sequence[shapely.Polygon], target: Path) -> Path:
    """Truth of a slide with fields around some of it."""
    features = json.loads(slide.truth.read_text())["features"]
    for feature in features:
        feature["properties"].pop("classification", None)
    fields = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(box),
            "properties": {"classification": {"name": "Region*"}},
        }
        for box in boxes
    ]
    target.write_text(json.dumps({"type": "FeatureCollection", "features": [*fields, *features]}))
    return target


def corner(x: int, y: int) -> shapely.Polygon:
    """A field in one of the four quarters, near the middle of a slide."""
    left, top = (SIDE_PX // 2 + (GAP_PX if at > 0 else -GAP_PX - FIELD_PX) for at in (x, y))
    return shapely.box(left, top, left + FIELD_PX, top + FIELD_PX)


def dense(slide: Slide) -> list[shapely.Polygon]:
    """Fields that hold many cells."""
    cells = [
        shapely.geometry.shape(each["geometry"])
        for each in json.loads(slide.truth.read_text())["features"]
    ]
    starts = np.arange(0, SIDE_PX, DENSE_PX)
    left, top = (side.ravel() for side in np.meshgrid(starts, starts))
    boxes = shapely.box(left, top, left + DENSE_PX, top + DENSE_PX)
    where, _ = shapely.STRtree(shapely.centroid(cells)).query(boxes, "contains")
    return list(boxes[np.bincount(where, minlength=len(boxes)) >= DENSE])


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
    return against_truth(slide, found_labels(cells, open_tiles(slide.tiles)))


def score_pseudomasks(slide: Slide) -> dict[str, float]:
    """Metrics of the pseudo masks of one slide."""
    masked = Masked(slide.tiles, slide.pseudomasks)
    _, instances = masked.labels(all_of(masked.tiles))
    return against_truth(slide, relabel_sequential(instances)[0])


def against_truth(slide: Slide, found: NDArray[Any]) -> dict[str, float]:
    """Metrics of the cells (y, x) found on all of a slide."""
    tiles = open_tiles(slide.tiles)
    truth = open_annotations(slide.truth, tiles).ids(all_of(tiles))
    return score_labels(truth, found)


def all_of(tiles: Tiles) -> Region:
    """A whole slide."""
    return Region(0, 0, tiles.grid.height_px, tiles.grid.width_px)


class Table:
    """Rows of what was learnt, how much of a model learnt it, and how well it does."""

    def __init__(self, base: Path, folder: Path) -> None:
        state = torch.load(base, weights_only=True)
        self.count = sum(value.numel() for value in state.values())
        self.folder = folder
        print("| cells of | weights that learn | F1 at .5 | AP at .5 | AJI | PQ |")
        print("| --- | --- | --- | --- | --- | --- |")

    def add(self, name: str, model: Path, slide: Slide, learnt: int) -> float:
        """A row of a model on a slide; returns its F1."""
        return self.write(name, score(model, slide, self.folder), learnt)

    def write(self, name: str, found: dict[str, float], learnt: int) -> float:
        """A row of metrics; returns F1."""
        figures = " | ".join(f"{found[key]:.3f}" for key in ("f1", "ap", "aji", "pq"))
        print(f"| {name} | {learnt:,} ({learnt / self.count:.1%}) | {figures} |", flush=True)
        return found["f1"]


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
