"""Sign and range of activation maps."""

import numpy as np
import torch

from wsipsm.activation.orientation import align, orient


def scene(signs=(1.0, -1.0)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    density = rng.random((6, 20, 20)).astype(np.float32)
    blocks = [sign * 3 * density + rng.normal(0, 0.3, density.shape) for sign in signs]
    return np.stack(blocks, axis=1).astype(np.float32), density


def test_bright_means_stained_in_every_block_whatever_the_sign() -> None:
    maps, density = scene()
    found = orient(maps, density)
    assert found.signs == (1.0, -1.0)
    out = found.apply(maps)
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.corrcoef(out.ravel(), density.ravel())[0, 1] > 0.9


def test_tiles_against_the_grain_are_counted() -> None:
    maps, density = scene((1.0,))
    maps[:2] *= -1
    assert orient(maps, density).flipped_share == 2 / 6


def test_weights_of_flipped_tiles_are_turned_before_the_mean() -> None:
    maps, density = scene((1.0,))
    weights = torch.ones(6, 8)
    maps[:3] *= -1
    weights[:3] *= -1
    (shared,) = align([weights], maps, density)
    assert torch.equal(shared, torch.ones(1, 8))


def test_a_constant_map_is_zero_and_breaks_nothing() -> None:
    maps = np.full((2, 1, 5, 5), 3.0, np.float32)
    found = orient(maps, np.zeros((2, 5, 5), np.float32))
    assert found.apply(maps).max() == 0
