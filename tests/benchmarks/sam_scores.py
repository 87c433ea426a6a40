"""Scores of a model of Segment Anything, and of pseudo masks, on a drawn slide, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

from tests.benchmarks.sam_slides import Slide
from wsipsm.benchmark.score import found_labels
from wsipsm.config import Inference, Prompting, Stitching
from wsipsm.evaluation.metrics import score_labels
from wsipsm.inference.segment import segment
from wsipsm.io.annotations import open_annotations
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.models.segmenter import Asking
from wsipsm.stitching.stitch import stitch
from wsipsm.training.cohort import Masked
from wsipsm.types import Region


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
