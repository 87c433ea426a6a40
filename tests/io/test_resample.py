"""Resampling: exact weights, the mean kept, the same pixels whole or in pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsipsm.io import resample as module
from wsipsm.io.resample import axis_weights, resample
from wsipsm.types import Region

HEIGHT, WIDTH = 203, 317
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)

steps = st.one_of(
    st.sampled_from([1.0, 2.0, 3.0, 4.0, 0.5, 1.508, 4.011]), st.floats(0.3, 33, allow_nan=False)
)


def grid_size(step: float) -> tuple[int, int]:
    return max(1, round(HEIGHT / step)), max(1, round(WIDTH / step))


def read_image(region: Region) -> NDArray[np.uint8]:
    inside = region.y + region.height <= HEIGHT and region.x + region.width <= WIDTH
    assert inside
    assert min(region.y, region.x) >= 0
    return IMAGE[region.slices]


def at(region: Region, step: float) -> NDArray[np.uint8]:
    return resample(read_image, region, source_px=(HEIGHT, WIDTH), step=(step, step))


@given(steps, st.data())
@settings(deadline=None, max_examples=60)
def test_a_region_is_the_part_of_the_whole(step: float, data: st.DataObject) -> None:
    height, width = grid_size(step)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    region = Region(y, x, h, w)
    whole = at(Region(0, 0, height, width), step)
    np.testing.assert_array_equal(at(region, step), whole[:, *region.slices])


@given(steps, st.integers(1, 5000), st.data())
@settings(deadline=None)
def test_weights_of_a_working_pixel_sum_to_one(step: float, size: int, data: st.DataObject) -> None:
    count = max(1, round(size / step))
    start = data.draw(st.integers(0, count - 1))
    number = data.draw(st.integers(1, min(64, count - start)))
    first, weights = axis_weights(start, number, step=step, size=size)
    assert len(weights.lowest) == len(weights.units) == number
    assert first >= 0
    assert first + weights.needed <= size
    assert weights.units.min() >= 0
    np.testing.assert_array_equal(weights.units, np.rint(weights.units))
    np.testing.assert_array_equal(weights.units.sum(axis=1), np.full(number, module.WEIGHT_UNIT))


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = grid_size(2.7)
    whole = at(Region(0, 0, height, width), 2.7)
    monkeypatch.setattr(module, "BLOCK_PIXELS", 2000)
    np.testing.assert_array_equal(at(Region(0, 0, height, width), 2.7), whole)


def test_ratio_one_copies_pixels() -> None:
    region = Region(7, 11, 50, 60)
    np.testing.assert_array_equal(at(region, 1.0), IMAGE[region.slices].transpose(2, 0, 1))


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_whole_factors_are_means_of_blocks(factor: int) -> None:
    rows, cols = HEIGHT // factor, WIDTH // factor
    part = IMAGE[: rows * factor, : cols * factor].astype(float)
    means = part.reshape(rows, factor, cols, factor, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    difference = np.abs(at(Region(0, 0, rows, cols), float(factor)) - means)
    assert difference.max() <= 0.6


@pytest.mark.parametrize("step", [1.508, 2.0, 3.3, 7.25])
def test_the_mean_is_kept(step: float) -> None:
    height, width = int(HEIGHT / step), int(WIDTH / step)
    mean = at(Region(0, 0, height, width), step).mean()
    covered = IMAGE[: round(height * step), : round(width * step)].mean()
    assert mean == pytest.approx(covered, abs=0.3)


@pytest.mark.parametrize("step", [0.3, 0.5, 0.9, 1.1, 1.508, 3.3])
def test_a_ramp_stays_in_place(step: float) -> None:
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[None, :, None], (8, 240, 3))
    count = int(200 / step)
    out = resample(
        lambda part: ramp[part.slices],
        Region(0, 0, 1, count),
        source_px=(8, 240),
        step=(1.0, step),
    )
    centres = (np.arange(count) + 0.5) * step - 0.5
    assert np.abs(out[0, 0] - np.maximum(centres, 0))[1:].max() <= 0.6


def test_enlarging_repeats_the_border() -> None:
    out = resample(
        lambda part: np.asarray([[[10] * 3, [20] * 3]], np.uint8)[part.slices],
        Region(0, 0, 4, 8),
        source_px=(1, 2),
        step=(0.25, 0.25),
    )
    np.testing.assert_array_equal(out[0, 0], [10, 10, 11, 14, 16, 19, 20, 20])
    assert (out == out[:, :1]).all()


def test_what_lies_beyond_a_short_level_repeats_its_last_pixel() -> None:
    first, weights = axis_weights(4, 1, step=4.0, size=16)
    assert first == 15
    np.testing.assert_array_equal(weights.units, [[module.WEIGHT_UNIT]])
    assert (weights.lowest, weights.needed) == (0, 1)
