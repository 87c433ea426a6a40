"""Augmentation keeps what a tile means."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.learning.augment import REACH, restain, roughen, turn


@given(st.integers(0, 10_000))
def test_image_and_labels_turn_together(seed: int) -> None:
    side = 32
    y, x = np.indices((REACH * side, REACH * side)).astype(np.float32)
    blob = ((y - 30) ** 2 + (x - 36) ** 2 < 100).astype(np.float32)
    image = torch.from_numpy(np.stack([blob] * 3))
    labels = torch.from_numpy(np.stack([blob * 7, blob * 300]))
    turned, moved = turn(np.random.default_rng(seed), image, labels, side_px=side)
    assert turned.shape == (3, side, side)
    assert set(moved[0].unique().tolist()) <= {0.0, 7.0}
    assert set(moved[1].unique().tolist()) <= {0.0, 300.0}
    disagree = (turned[0] > 0.5) != (moved[0] > 0)
    assert disagree.float().mean() < 0.05


def test_tiles_come_from_everywhere_in_a_region_and_show_no_more_than_it() -> None:
    places = torch.arange(256.0).view(1, 1, 256).expand(1, 256, 256).contiguous()
    image = places.expand(3, 256, 256)
    seen = [turn(np.random.default_rng(seed), image, places, side_px=64)[1] for seed in range(40)]
    middles = torch.stack([tile[0, 32, 32] for tile in seen])
    assert middles.min() < 60
    assert middles.max() > 196
    assert middles.std() > 30


@given(st.integers(0, 10_000))
def test_restaining_keeps_white_light_and_dark_dark(seed: int) -> None:
    image = np.full((3, 4, 8), 250, np.uint8)
    image[:, :, 4:] = np.array([90, 60, 140], np.uint8)[:, None, None]
    out = restain(np.random.default_rng(seed), image)
    assert out.dtype == np.uint8
    assert out[:, :, :4].min() > 180
    assert out[:, :, 4:].mean() < out[:, :, :4].mean()


def test_chance_comes_from_the_generator_alone() -> None:
    image = torch.zeros(3, 16, 16)
    first, second = (roughen(np.random.default_rng(3), image) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, roughen(np.random.default_rng(4), image))
