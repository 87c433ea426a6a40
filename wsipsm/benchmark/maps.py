"""How much an activation map knows of true nuclei: area under the ROC curve, flipped tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from wsipsm.io import ngff
from wsipsm.io.product import read_record


def read_map(product: Path) -> tuple[NDArray[np.float32], int]:
    """Activation map (y, x) of a product, and its stride: pixel j is centred on stride * j."""
    values = ngff.open_group(product)["0"]
    assert isinstance(values, zarr.Array)
    return np.asarray(values, np.float32), int(read_record(product)["stride"])


def auc(values: NDArray[np.floating], nuclei: NDArray[np.bool_]) -> float:
    """Chance that a nuclear pixel is brighter than another one; NaN if there is only one kind."""
    inside = nuclei.mean()
    if inside in (0, 1):
        return float("nan")
    return float(roc_auc_score(nuclei.ravel(), values.ravel()))


def tile_aucs(
    values: NDArray[np.floating], nuclei: NDArray[np.bool_], *, side_px: int
) -> NDArray[np.float64]:
    """`auc` of each square tile (n,) of a map and of true nuclei, both (y, x); NaN as there.

    Below one half, the tile is flipped: its nuclei are darker than what surrounds them.
    """
    rows, cols = (range(0, size, side_px) for size in values.shape)
    parts = [np.s_[y : y + side_px, x : x + side_px] for y in rows for x in cols]
    return np.array([auc(values[part], nuclei[part]) for part in parts])
