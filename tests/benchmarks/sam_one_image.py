"""The one-image protocol of CellSeg1: each field of a set in turn is all that a model learns from.

`python -m tests.benchmarks.sam_one_image BASE WORK FIELDS...`, fields as `wsipsm.benchmark.fields`
reads them; every other field with labels is scored, and the mean, the median, the worst and the
best of all choices are printed, never the best alone. Words such as `steps=60` among them are
settings of the section `sam`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsipsm import compute
from wsipsm.benchmark.fields import Field, read_fields
from wsipsm.benchmark.lessons import annotate
from wsipsm.benchmark.run import Bench, Products
from wsipsm.benchmark.score import found_labels, score_field, true_labels
from wsipsm.config import (
    Activation,
    Inference,
    Pretraining,
    Prompting,
    Pseudomasks,
    Sam,
    Stitching,
)
from wsipsm.evaluation.metrics import METRICS
from wsipsm.inference.segment import segment
from wsipsm.io.tiles import open_tiles
from wsipsm.models.segmenter import Asking
from wsipsm.stitching.stitch import stitch
from wsipsm.training.train import train

SHOWN = ("ap", "f1", "aji", "pq")


@dataclass(frozen=True)
class Fields:
    """Fields with labels, their tiles and pseudo masks."""

    fields: list[Field]
    tiles: Products
    pseudomasks: Products
    folder: Path

    @classmethod
    def made(cls, fields: list[Field], folder: Path) -> Fields:
        """Run the stages up to the pseudo masks."""
        with Bench(folder) as bench:
            tiles = bench.tiles(fields)
            encoder = bench.encoder(tiles, Pretraining(steps=1), seed=0)
            maps = bench.activations(tiles, encoder, Activation())
            return cls(fields, tiles, bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0), folder)

    def taught_by(self, field: Field, settings: Sam) -> Path:
        """A model that has learnt from one field."""
        name = field.name
        path = self.folder / f"{name}.{settings.steps}.pt"
        lesson = annotate(field, self.tiles[name], self.folder / f"{name}.geojson")
        slide = (self.tiles[name], self.pseudomasks[name], lesson)
        train([slide], path, model="sam_lora", settings=settings, seed=0)
        return path

    def score(self, model: Path, field: Field) -> NDArray[np.float64]:
        """`METRICS` of a model's cells of a field, asked by its pseudo masks."""
        parts, cells = self.folder / "tile_cells", self.folder / "cells.parquet"
        tiles = self.tiles[field.name]
        asking = Asking(Prompting(), self.pseudomasks[field.name])
        segment(tiles, model, parts, settings=Inference(), asking=asking)
        stitch(parts, cells, settings=Stitching())
        slide = open_tiles(tiles)
        return score_field(true_labels(field, slide), found_labels(cells, slide), mpp=slide.mpp)


def one_image(folder: Path, sources: list[Path], settings: Sam) -> None:
    """Print what each field teaches alone, and a summary of all choices."""
    fields = Fields.made([field for field in read_fields(sources) if field.truth], folder)
    columns = [METRICS.index(name) for name in SHOWN]
    rows = []
    print(f"| learnt from | {' | '.join(SHOWN)} |\n|{' --- |' * (len(SHOWN) + 1)}")
    for field in fields.fields:
        model = fields.taught_by(field, settings)
        others = [other for other in fields.fields if other.name != field.name]
        rows.append(np.mean([fields.score(model, other)[columns] for other in others], axis=0))
        _print(field.name, rows[-1])
    table = np.stack(rows)
    for name, value in {
        "mean": table.mean(axis=0),
        "median": np.median(table, axis=0),
        "worst": table.min(axis=0),
        "best": table.max(axis=0),
    }.items():
        _print(name, value)


def _print(name: str, values: NDArray[np.float64]) -> None:
    print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    compute.keep_memory()
    base, folder, *words = sys.argv[1:]
    sources = [Path(word) for word in words if "=" not in word]
    changes = dict(word.split("=", 1) for word in words if "=" in word)
    one_image(Path(folder), sources, Sam.model_validate({"base": base, "fields": 1, **changes}))
