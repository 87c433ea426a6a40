"""Heads: their maps turn with the image, and their height parts cells that touch."""

import numpy as np
import pytest
import torch

from wsipsm.config import Inference
from wsipsm.models.heads import HEADS
from wsipsm.models.segmenter import UNetSegmenter
from wsipsm.models.unet import Committee
from wsipsm.training.targets import distance_of, offsets_of

TRUE = {"distance": lambda labels: distance_of(labels)[None], "hv": offsets_of}
"""What each head says of a label image, if it is right."""

SIDE = 96


def touching(*circles: tuple[int, int, float]) -> np.ndarray:
    """Labels 1 ... n of disks (y, x, radius); what lies in several belongs to the nearest."""
    y, x = np.indices((SIDE, SIDE))
    away = np.stack([np.hypot(y - cy, x - cx) / radius for cy, cx, radius in circles])
    return np.where(away.min(axis=0) <= 1, 1 + away.argmin(axis=0), 0)


SCENES = {
    "apart": touching((30, 25, 12), (60, 65, 15)),
    "side by side": touching((50, 40, 12), (50, 54, 12)),
    "one above the other": touching((40, 50, 12), (54, 50, 12)),
    "slanting": touching((40, 40, 12), (50, 50, 12)),
    "large and small": touching((50, 40, 16), (50, 60, 7)),
    "a crowd": touching(*((20 + 18 * row, 20 + 18 * col, 12) for row, col in np.ndindex(4, 4))),
    "one large": touching((48, 48, 25)),
    "one small": touching((48, 48, 6)),
}


@pytest.mark.parametrize("turns", range(-1, 5))
@pytest.mark.parametrize("head", HEADS)
def test_maps_of_a_turned_image_are_the_turned_maps(head: str, turns: int) -> None:
    labels = SCENES["large and small"]
    wanted = TRUE[head](np.rot90(labels, turns))
    maps = HEADS[head].turned(torch.from_numpy(TRUE[head](labels)), turns)
    assert maps.shape == (HEADS[head].channels, SIDE, SIDE)
    np.testing.assert_allclose(maps.numpy(), wanted, atol=1e-6)
    many = torch.from_numpy(TRUE[head](labels)).expand(2, 3, -1, -1, -1)  # members, images
    assert torch.equal(HEADS[head].turned(many, turns)[1, 2], maps)


def height_of(head: str, labels: np.ndarray, mpp: float = 0.25) -> np.ndarray:
    inside = (labels > 0).astype(np.float32)
    return HEADS[head].height(TRUE[head](labels), inside, mpp=mpp)


def count_cells(labels: np.ndarray, height: np.ndarray, **settings: float) -> int:
    """How many cells the segmenter makes of a true foreground and a height."""
    network = Committee.of("small", classes=1, members=1)
    given = Inference(foreground=0.5, min_area_um2=1, **settings)
    segmenter = UNetSegmenter(network, settings=given, mpp=0.25)
    chances = np.stack([labels == 0, labels > 0]).astype(np.float32)
    return len(segmenter.cells(chances, height, np.zeros_like(height)).scores)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("head", HEADS)
def test_true_maps_part_what_touches_and_nothing_else(head: str, scene: str) -> None:
    labels = SCENES[scene]
    assert count_cells(labels, height_of(head, labels)) == labels.max()


def test_a_mask_alone_does_not_part_a_crowd() -> None:
    labels = SCENES["a crowd"]
    assert count_cells(labels, height_of("hv", labels), depth_weight=1) < labels.max() / 2


@pytest.mark.parametrize("mpp", [0.25, 0.5])
@pytest.mark.parametrize("head", HEADS)
def test_height_is_high_in_cells_low_between_them_and_0_outside(head: str, mpp: float) -> None:
    labels = SCENES["side by side"]
    height = height_of(head, labels, mpp)
    assert height.dtype == np.float32
    assert height.min() >= 0
    assert height.max() <= 1
    assert height[labels == 0].max() == 0
    middle = min(height[50, 40], height[50, 54])
    assert middle > 0.75
    assert height[50, 46:48].min() < 0.4 * middle
