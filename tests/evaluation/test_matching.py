"""One-to-one matching against the dense solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from wsipsm.evaluation.matching import PAIRS_AT_ONCE, best_pairs


def dense_best(rows, cols, profit):
    table = np.zeros((rows.max() + 1, cols.max() + 1))
    table[rows, cols] = profit
    return table[linear_sum_assignment(table, maximize=True)].sum()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 1))
def test_the_sum_of_profits_is_the_largest(seed, height, width, density):
    generator = np.random.default_rng(seed)
    rows, cols = np.nonzero(generator.random((height, width)) < density)
    if not len(rows):
        return
    profit = generator.uniform(0.01, 1, len(rows))
    chosen = best_pairs(rows, cols, profit)
    assert len(set(rows[chosen])) == len(set(cols[chosen])) == len(chosen)
    assert profit[chosen].sum() == pytest.approx(dense_best(rows, cols, profit))


def test_groups_of_many_pairs_are_solved_like_one():
    generator = np.random.default_rng(0)
    blocks = PAIRS_AT_ONCE // 4
    rows, cols = np.meshgrid(np.arange(3), np.arange(3), indexing="ij")
    offset = 3 * np.repeat(np.arange(blocks), 9)
    rows, cols = np.tile(rows.ravel(), blocks) + offset, np.tile(cols.ravel(), blocks) + offset
    profit = generator.uniform(0.01, 1, len(rows))
    chosen = best_pairs(rows, cols, profit)
    assert len(rows) > 2 * PAIRS_AT_ONCE
    each = profit.reshape(blocks, 3, 3)
    best = sum(one[linear_sum_assignment(one, maximize=True)].sum() for one in each)
    assert profit[chosen].sum() == pytest.approx(best)


def test_nothing_to_match_matches_nothing():
    nothing = np.zeros(0, np.int64)
    assert len(best_pairs(nothing, nothing, np.zeros(0))) == 0
