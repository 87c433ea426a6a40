"""Whether a slide loses what its fields have: one model's cells of a mosaic and of its fields.

python -m tests.benchmarks.mosaic MODEL      a checkpoint of stage 5; fields of WSIPSM_TEST_DATA

The mosaic goes through stages 1, 6 and 7 as a slide, each field as a slide of its own, and both
are scored field by field.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from pathlib import Path

from wsipsm import compute

compute.one_thread_each()

import numpy as np  # noqa: E402

from wsipsm.benchmark.fields import Field, read_fields  # noqa: E402
from wsipsm.benchmark.run import Bench, Products  # noqa: E402
from wsipsm.benchmark.score import found_labels, score_field, true_labels  # noqa: E402
from wsipsm.config import Inference, Tiling  # noqa: E402
from wsipsm.evaluation.metrics import METRICS  # noqa: E402
from wsipsm.io.tiles import open_tiles  # noqa: E402
from wsipsm.types import Region  # noqa: E402

SHOWN = ("aji", "pq", "f1", "dice")
MOSAIC = "wsi_mosaic/monuseg_train4"


def compare(data: Path, model: Path, folder: Path) -> None:
    """Print the table."""
    slide = Field("mosaic", "mosaic", data / f"{MOSAIC}.tiff", 0.25, "he")
    with (data / f"{MOSAIC}_tiles.csv").open() as file:
        corners = {Path(row["file"]).stem: (int(row["y"]), int(row["x"]))
                   for row in csv.DictReader(file)}  # fmt: skip
    fields = [field for field in read_fields([data / "monuseg_train"]) if field.name in corners]
    with Bench(folder) as bench:
        alone = bench.tiles(fields)
        whole = bench.tiles([slide], Tiling())
        cells = bench.cells(alone | whole, model, Inference())
    found = found_labels(cells["mosaic"], open_tiles(whole["mosaic"]))
    columns = [METRICS.index(name) for name in SHOWN]
    print(f"| field | {' | '.join(f'{name}, alone | in the mosaic' for name in SHOWN)} |")
    print(f"|{' --- |' * (2 * len(SHOWN) + 1)}")
    rows = []
    for field in fields:
        truth = true_labels(field, open_tiles(alone[field.name]))
        inside = found[Region(*corners[field.name], *truth.shape).slices]
        own = _labels(alone, cells, field.name)
        both = [score_field(truth, labels, mpp=0.25)[columns] for labels in (own, inside)]
        rows.append(np.stack(both, axis=1).ravel())
        _print(field.name, rows[-1])
    _print("mean", np.mean(rows, axis=0))


def _labels(tiles: Products, cells: Products, name: str) -> np.ndarray:
    return found_labels(cells[name], open_tiles(tiles[name]))


def _print(name: str, values: np.ndarray) -> None:
    print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    compute.keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(os.environ["WSIPSM_TEST_DATA"]), Path(sys.argv[1]), Path(folder))
