"""Tissue, glass and ink."""

import numpy as np
import pytest

from wsipsm.tiling.artefacts import ink, soft_density
from wsipsm.tiling.tissue import mask_share, tissue_mask
from wsipsm.types import TileGrid

EOSIN = np.array([230, 160, 200], np.uint8)
HAEMATOXYLIN = np.array([110, 80, 150], np.uint8)
BLUE_INK = np.array([40, 60, 160], np.uint8)
GREEN_INK = np.array([30, 130, 70], np.uint8)


def glass(level: int = 243) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (level + rng.normal(0, 2, (3, 200, 300))).astype(np.uint8)


def paint(image: np.ndarray, colour: np.ndarray, rows: slice, cols: slice) -> None:
    noise = np.random.default_rng(1).normal(0, 6, image[:, rows, cols].shape)
    image[:, rows, cols] = np.clip(colour[:, None, None] + noise, 0, 255)


def mask_of(image: np.ndarray) -> np.ndarray:
    density = soft_density(image, mpp=4)
    return tissue_mask(density, ink(density, mpp=4), mpp=4, min_area_um2=4000)


@pytest.mark.parametrize("level", [200, 230, 250])
def test_a_blank_slide_stays_blank(level: int) -> None:
    assert not mask_of(glass(level)).any()


def test_tissue_is_found_and_ink_is_not() -> None:
    image = glass()
    paint(image, EOSIN, slice(50, 150), slice(40, 140))
    paint(image, HAEMATOXYLIN, slice(80, 120), slice(80, 110))
    truth = np.zeros(image.shape[1:], bool)
    truth[50:150, 40:140] = True
    paint(image, BLUE_INK, slice(20, 60), slice(200, 220))
    paint(image, GREEN_INK, slice(120, 160), slice(200, 220))
    mask = mask_of(image)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.93
    assert not mask[:, 195:225].any()


def test_a_field_without_glass_is_tissue_all_over() -> None:
    image = glass()
    paint(image, EOSIN, slice(None), slice(None))
    paint(image, HAEMATOXYLIN, slice(0, 100), slice(0, 300))
    assert mask_of(image).mean() > 0.98


def test_specks_are_dropped_and_holes_filled() -> None:
    image = glass()
    paint(image, EOSIN, slice(50, 150), slice(40, 140))
    paint(image, np.array([245] * 3, np.uint8), slice(95, 105), slice(85, 95))
    paint(image, EOSIN, slice(10, 18), slice(250, 258))
    mask = mask_of(image)
    assert mask[100, 90]
    assert not mask[:, 240:].any()


def test_shares_are_those_of_the_tiles() -> None:
    grid = TileGrid(1000, 1500, tile_px=256, shard_tiles=2)
    mask = np.zeros((200, 300), bool)
    mask[:, :150] = True
    share = mask_share(mask, grid)
    assert share.shape == (4, 6)
    assert (share[:, :2] == 1).all()
    assert (share[:, 3:] == 0).all()
    assert share[:, 2] == pytest.approx(0.93, abs=0.02)
