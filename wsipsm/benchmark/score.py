"""One evaluator for everything: label images of fields against truth, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from wsipsm.benchmark.fields import Field
from wsipsm.errors import QuarantinedError
from wsipsm.evaluation import intervals
from wsipsm.evaluation.metrics import METRICS, score_labels
from wsipsm.evaluation.truth import LabelTruth
from wsipsm.io import ngff
from wsipsm.io.parquet import polygons_of, read_cells
from wsipsm.io.product import read_record
from wsipsm.io.raster import fill_polygons
from wsipsm.io.tiles import Tiles
from wsipsm.types import Region

IOU, RADIUS_UM = 0.5, 2.5
"""What makes a match, and a detection: 10 px at 0.25 microns per pixel, as BCData has it."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean over fields and seeds.

    `low` and `high` bound the mean in 95 % of bootstrap resamples of the fields; `seed_sd` is the
    standard deviation, over seeds, of the mean over fields (0 for one seed).
    """

    mean: float
    low: float
    high: float
    seed_sd: float
    fields: int
    seeds: int

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


def true_labels(field: Field, tiles: Tiles) -> NDArray[np.int64]:
    """Ids of a field's nuclei on the working grid of its tiles, (y, x)."""
    truth = LabelTruth(field.image, field.true_labels(), tiles.scale)
    return truth.read(_whole(tiles))


def found_labels(product: Path, tiles: Tiles) -> NDArray[np.int64]:
    """Instances (y, x) of pseudo masks, or cells as a label image; of a field set aside none."""
    whole = _whole(tiles)
    try:
        read_record(product)
    except QuarantinedError:
        return np.zeros((whole.height, whole.width), np.int64)
    if product.suffix == ".zarr":
        instances = ngff.open_group(product)["labels/instances/0"]
        assert isinstance(instances, zarr.Array)
        return np.asarray(instances)
    polygons = polygons_of(read_cells(product))
    ids = np.arange(1, len(polygons) + 1)
    return fill_polygons(polygons, ids, whole, scale=tiles.scale)


def score_field(
    truth: NDArray[np.integer],
    found: NDArray[np.integer],
    *,
    mpp: float,
    radius_um: float = RADIUS_UM,
) -> NDArray[np.float64]:
    """`METRICS` of one label image (y, x) against another, both with 0 as background."""
    return np.array(list(score_labels(truth, found, iou=IOU, radius_px=radius_um / mpp).values()))


def estimate(
    values: NDArray[np.float64], names: Sequence[str] = METRICS, *, seed: int = 0
) -> dict[str, Estimate]:
    """Means, by name, of values (seeds, fields, names)."""
    seeds, fields = values.shape[:2]
    over_seeds = values.mean(axis=0)
    low, high = intervals.over_slides(over_seeds, resamples=RESAMPLES, seed=seed)
    spread = values.mean(axis=1).std(axis=0, ddof=1) if seeds > 1 else np.zeros(len(names))
    columns = np.stack([over_seeds.mean(axis=0), low, high, spread])
    return {
        name: Estimate(mean, bottom, top, sd, fields, seeds)
        for name, (mean, bottom, top, sd) in zip(names, columns.T.tolist(), strict=True)
    }


def _whole(tiles: Tiles) -> Region:
    return Region(0, 0, tiles.grid.height_px, tiles.grid.width_px)
