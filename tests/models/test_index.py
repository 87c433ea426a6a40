"""The labelling index, its interval, and where it is highest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.models.index import HOT_SPOT_UM, _wilson_low, hot_spots, share_of

SIZE = (8000, 12_000)
MPP = 0.5


def scattered(positive_share: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.random(n) * SIZE[1], rng.random(n) * SIZE[0]
    return x, y, rng.random(n) < positive_share


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share_and_is_that_of_wilson(count: int, more: int) -> None:
    share = share_of(count, count + more)
    assert 0 <= share.low <= share.value <= share.high <= 1
    low = _wilson_low(np.array([count]), np.array([count + more]))
    assert low[0] == pytest.approx(share.low, abs=1e-9)


def test_a_slide_without_cells_has_an_index_that_is_not_known() -> None:
    assert share_of(0, 0).high == 1
    assert np.isnan(share_of(0, 0).value)
    assert hot_spots([], size_px=SIZE, mpp=MPP) == []


def test_the_hot_spot_is_where_positive_cells_are_frequent() -> None:
    x, y, positive = scattered(0.05)
    near = np.hypot(x - 9000, y - 3000) < HOT_SPOT_UM / MPP
    positive |= near
    first, *others = hot_spots([(x, y, positive)], size_px=SIZE, mpp=MPP)
    assert np.hypot(first.x - 9000, first.y - 3000) < 0.5 * HOT_SPOT_UM / MPP
    assert first.share.value > 0.8 > max(spot.share.value for spot in others)
    apart = [np.hypot(first.x - spot.x, first.y - spot.y) for spot in others]
    assert min(apart) > 2 * HOT_SPOT_UM / MPP * 0.9
    inside = np.hypot(x - first.x, y - first.y) < HOT_SPOT_UM / MPP
    assert first.share.total == pytest.approx(inside.sum(), rel=0.2)


def test_batches_do_not_matter_and_few_cells_make_no_hot_spot() -> None:
    x, y, positive = scattered(0.3)
    whole = hot_spots([(x, y, positive)], size_px=SIZE, mpp=MPP)
    parts = [(x[i::7], y[i::7], positive[i::7]) for i in range(7)]
    assert hot_spots(parts, size_px=SIZE, mpp=MPP) == whole
    assert hot_spots([(x[:5], y[:5], positive[:5] | True)], size_px=SIZE, mpp=MPP) == []
