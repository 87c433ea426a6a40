"""Intervals by bootstrap."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsipsm.evaluation.contingency import of_labels
from wsipsm.evaluation.intervals import fields_of, over_fields, over_slides
from wsipsm.evaluation.metrics import METRICS, contributions, ratios


def example(seed):
    generator = np.random.default_rng(seed)
    truth = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((6, 6), int))
    found = np.where(generator.random(truth.shape) < 0.7, truth, 0)
    found[np.isin(found, generator.choice(101, 30))] = 0
    table = of_labels(truth, found)
    parts = contributions(table, iou=0.5, radius_px=3)
    y, x = (
        np.concatenate([getattr(table.true, axis), getattr(table.found, axis)]) for axis in "yx"
    )
    return parts, fields_of(y, x, side_px=20)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_an_interval_holds_its_value_and_is_not_wide(seed):
    parts, field = example(seed)
    low, high = over_fields(parts, field, resamples=200, seed=seed)
    value = ratios(parts.sum(axis=0))
    assert (low <= value).all()
    assert (value <= high).all()
    assert (high - low < 0.5).all()
    assert (high - low)[METRICS.index("aji")] > 0.01


def test_the_same_seed_gives_the_same_interval():
    parts, field = example(3)
    first, again, other = (
        over_fields(parts, field, resamples=130, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_field_has_no_width():
    parts, _ = example(0)
    low, high = over_fields(parts, np.zeros(len(parts), int), resamples=100, seed=0)
    assert np.allclose(low, high)


def test_nothing_has_the_interval_of_an_empty_slide():
    low, high = over_fields(np.zeros((0, 13)), np.zeros(0, int), resamples=100, seed=0)
    assert (low == 1).all()
    assert (high == 1).all()


def test_slides_are_drawn_whole():
    values = np.array([[0.2, 0.5], [0.4, 0.5], [0.6, 0.5]])
    low, high = over_slides(values, resamples=500, seed=0)
    assert 0.2 <= low[0] < 0.4 < high[0] <= 0.6
    assert low[1] == high[1] == 0.5
