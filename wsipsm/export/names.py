"""What every export calls the measurements and the classes, and the colours of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsipsm.config import Stain
from wsipsm.types import COUNTERSTAIN, MEASUREMENTS, palette

Colour = tuple[int, int, int]

MODEL_SAYS = {"score": "Class score", "agreement": "Agreement"}
"""What a model says of its cells: column and name in QuPath."""


def measurement_names(stain: Stain) -> dict[str, str]:
    """Column of a cell table: its name in QuPath, for a stain."""
    counterstain = COUNTERSTAIN[stain]
    names = {name: title.format(counterstain=counterstain) for name, title in MEASUREMENTS.items()}
    return {**names, **MODEL_SAYS}


def measurements(cells: pa.Table, columns: Iterable[str]) -> NDArray[np.float64]:
    """Columns of a cell table as (cells, columns), to four decimals."""
    values = [cells[column].to_numpy().astype(np.float64) for column in columns]
    return np.stack(values, axis=1).round(4)


def measured(cells: pa.Table, names: Mapping[str, str]) -> list[dict[str, float]]:
    """Measurements of each cell, {name: value}; those that are not finite are left out.

    `names` is a name for each column that is wanted.
    """
    values, titles = measurements(cells, names), list(names.values())
    found = [dict(zip(titles, row, strict=False)) for row in values.tolist()]
    for row, column in np.argwhere(~np.isfinite(values)):
        del found[row][titles[column]]
    return found


def class_colours(classes: Sequence[str], chosen: Sequence[str] = ()) -> dict[str, Colour]:
    """Colour of each class, by its place: those chosen (#rrggbb), then those of a palette."""
    colours = palette(chosen)
    return {name: colours[i % len(colours)] for i, name in enumerate(classes)}
