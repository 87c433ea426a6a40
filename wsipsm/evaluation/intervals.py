"""95 % intervals by bootstrap: over the fields of a slide, and over the slides of a cohort.

Neighbouring nuclei resemble each other, so what is drawn again is not nuclei but *fields*:
squares of a fixed side, with all objects whose centroid lies in them. The metrics of a resample
are ratios of its sums. A percentile interval is widened to its own value where that lies
outside, and a single field gives an interval of no width: it says nothing about other fields.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsipsm.evaluation.metrics import ratios

LOW, HIGH = 2.5, 97.5
AT_ONCE = 50


def fields_of(
    y: NDArray[np.float64], x: NDArray[np.float64], *, side_px: float
) -> NDArray[np.int64]:
    """Number 0, 1, ... of the field of each centroid, counting only fields with objects."""
    cells = np.stack([y // side_px, x // side_px], axis=1).astype(np.int64)
    return np.unique(cells, axis=0, return_inverse=True)[1].ravel()


def over_fields(
    parts: NDArray[np.float64], field: NDArray[np.int64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Interval of each metric of one slide.

    Parameters
    ----------
    parts
        What each object adds, (objects, sums), from `contributions`.
    field
        Field of each object, from `fields_of`.
    resamples, seed
        Number of resamples, and seed of their draw.

    Returns
    -------
    NDArray[np.float64]
        (2, metrics): low and high.
    """
    value = ratios(parts.sum(axis=0))
    count = int(field.max(initial=-1)) + 1
    if count == 0:
        return np.stack([value, value])
    sums = np.stack([np.bincount(field, column, count) for column in parts.T], axis=1)
    generator = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    drawn = [
        generator.multinomial(count, even, size=min(AT_ONCE, resamples - start)) @ sums
        for start in range(0, resamples, AT_ONCE)
    ]
    return _percentiles(ratios(np.concatenate(drawn)), value)


def over_slides(values: NDArray[np.float64], *, resamples: int, seed: int) -> NDArray[np.float64]:
    """Interval (2, metrics) of the mean over slides of values (slides, metrics)."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(values), size=(resamples, len(values)))
    return _percentiles(values[drawn].mean(axis=1), values.mean(axis=0))


def _percentiles(drawn: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.percentile(drawn, [LOW, HIGH], axis=0)
    return np.stack([np.minimum(low, value), np.maximum(high, value)])
