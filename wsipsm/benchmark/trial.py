"""One method on one field: label image, map and points against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.activation.seams import measure_seams
from wsipsm.benchmark import maps, points
from wsipsm.benchmark.fields import Field
from wsipsm.benchmark.plain import PLAIN, of_map
from wsipsm.benchmark.score import RADIUS_UM, found_labels, score_field, true_labels
from wsipsm.errors import QuarantinedError
from wsipsm.evaluation import controls
from wsipsm.evaluation.metrics import METRICS
from wsipsm.io.product import read_record
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.types import Region

CENTRE_UM, NEAR_UM = 128.0, 1.25
"""Side of the centre tile that the paper scores (512 px); the smaller radius of a detection."""

NAMES = (*METRICS, "detection_f1_near", "aji_paper", "dice_paper", "auc", "seams")
"""What a field with outlines is scored by."""

RADII = {f"{radius:g} µm": radius for radius in (RADIUS_UM, NEAR_UM)}
COUNT_ERROR = "count error"


@dataclass(frozen=True)
class Trial:
    """One field, and what a method made of it with a seed.

    Without `labels` they are those of the `plain` method, or of the map alone by threshold.
    """

    field: Field
    tiles: Path
    seed: int
    labels: Path | None
    map: Path | None
    plain: str | None


@dataclass(frozen=True)
class Outcome:
    """Scores of one trial.

    Attributes
    ----------
    outlines
        `NAMES` (n,), NaN where the method has no map; empty if no outlines are known.
    tile_aucs
        AUC of the map in each tile; empty without a map.
    points
        Scores by "radius class score", and the error of the number of positive ones; empty if no
        points are known.
    followed
        The labeller that stage 4 followed; empty for other methods.
    """

    outlines: NDArray[np.float64]
    tile_aucs: NDArray[np.float64]
    points: dict[str, float]
    followed: str = ""


def score(trial: Trial) -> Outcome:
    """Score one trial."""
    slide = open_tiles(trial.tiles)
    labels = _labels(trial, slide)
    empty = np.zeros(0)
    found = _points(trial, labels, slide) if trial.field.points else {}
    followed = _followed(trial.labels)
    if not trial.field.truth:
        return Outcome(empty, empty, found, followed)
    truth = true_labels(trial.field, slide)
    near = score_field(truth, labels, mpp=slide.mpp, radius_um=NEAR_UM)
    paper = score_paper(truth, labels, mpp=slide.mpp)
    whole, tiles = _aucs(trial, truth > 0, slide)
    values = [
        *score_field(truth, labels, mpp=slide.mpp),
        near[METRICS.index("detection_f1")],
        *(paper[METRICS.index(name)] for name in ("aji", "dice")),
        whole,
        _seams(trial, slide),
    ]
    return Outcome(np.array(values), tiles, found, followed)


def score_paper(
    truth: NDArray[np.integer], found: NDArray[np.integer], *, mpp: float
) -> NDArray[np.float64]:
    """`METRICS` as the paper's code has them, of label images (y, x).

    Only the centre tile counts, and true nuclei that touch are one.
    """
    side = round(CENTRE_UM / mpp)
    top, left = (max(0, (size - side) // 2) for size in truth.shape)
    centre = Region(top, left, side, side).slices
    merged = ndimage.label(truth[centre] > 0)[0]
    return score_field(merged, found[centre], mpp=mpp)


def _labels(trial: Trial, slide: Tiles) -> NDArray[np.integer]:
    size = slide.grid.height_px, slide.grid.width_px
    if trial.labels:
        return found_labels(trial.labels, slide)
    if trial.plain:
        image = slide.read(Region(0, 0, *size))
        return PLAIN[trial.plain](image, slide.stain, slide.mpp, trial.seed)
    assert trial.map
    try:
        values, stride = maps.read_map(trial.map)
    except QuarantinedError:
        return np.zeros(size, np.int32)
    return of_map(values, stride, slide.mpp)[: size[0], : size[1]]


def _aucs(
    trial: Trial, nuclei: NDArray[np.bool_], slide: Tiles
) -> tuple[float, NDArray[np.float64]]:
    """AUC of the field's map, and of each tile of it; of plain stain, its density is the map."""
    stride = 1
    if trial.map:
        try:
            values, stride = maps.read_map(trial.map)
        except QuarantinedError:
            return 0.5, np.zeros(0)
    elif trial.plain and trial.plain.startswith("stain"):
        image = slide.read(Region(0, 0, *nuclei.shape))
        values = controls.plain_density(image, slide.stain, mpp=slide.mpp)
    else:
        return float("nan"), np.zeros(0)
    step = max(1, 4 // stride)  # nuclei are many pixels wide
    values, coarse = values[::step, ::step], nuclei[:: stride * step, :: stride * step]
    side = slide.grid.tile_px // (stride * step)
    return maps.auc(values, coarse), maps.tile_aucs(values, coarse, side_px=side)


def _seams(trial: Trial, slide: Tiles) -> float:
    """Jumps of stage 3's map across tile borders over those inside; NaN where there is none."""
    try:
        values, stride = maps.read_map(trial.map) if trial.map else (None, 1)
    except QuarantinedError:
        return float("nan")
    if values is None or stride == 1:  # the paper's tiles overlap
        return float("nan")
    return measure_seams(values, tile_px=slide.grid.tile_px // stride).ratio


def _followed(labels: Path | None) -> str:
    try:
        record = read_record(labels) if labels else {}
    except QuarantinedError:
        return "none"
    return str(record.get("codebook", {}).get("choice", {}).get("method", ""))


def _points(trial: Trial, labels: NDArray[np.integer], slide: Tiles) -> dict[str, float]:
    true = {name: places / slide.scale for name, places in trial.field.true_points().items()}
    if trial.labels:
        found = points.found_points(trial.labels)
    else:
        places, _ = points.centres(labels, labels)
        found = {points.CLASSES[0]: places, points.CLASSES[1]: np.zeros((0, 2))}
    scores = {
        f"{radius} {kind} {name}": value
        for radius, radius_um in RADII.items()
        for kind, of in points.score_points(true, found, radius_px=radius_um / slide.mpp).items()
        for name, value in of.items()
    }
    return {**scores, COUNT_ERROR: float(points.count_error(true, found))}
