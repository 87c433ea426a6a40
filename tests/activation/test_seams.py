"""Borders of tiles in maps and masks, where they were put and where they were not."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from wsipsm.activation.activate import activate
from wsipsm.activation.seams import measure_seams
from wsipsm.config import Activation, Pretraining, Tiling
from wsipsm.io.tiles import open_tiles
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.tiling.tile import tile

from .test_activate import map_of


def texture(side: int = 256) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(side, side))
    return ndimage.gaussian_filter(noise, 2)


def test_a_map_without_borders_has_none() -> None:
    found = measure_seams(texture(), tile_px=32)
    assert abs(found.ratio - 1) < 4 * found.spread
    assert found.spread < 0.1


def test_a_step_between_tiles_shows_in_maps_and_masks() -> None:
    values = texture()
    rows, cols = np.indices(values.shape) // 32
    stepped = values + 0.1 * ((rows + cols) % 2)
    found = measure_seams(stepped, tile_px=32)
    assert found.ratio > 1 + 10 * found.spread
    assert measure_seams(stepped > 0.05, tile_px=32).ratio > 1.5
    assert measure_seams(stepped, tile_px=48).ratio < found.ratio


def test_what_is_not_used_is_left_out() -> None:
    values = texture(128)
    used = np.ones(values.shape, bool)
    used[:, 64:] = False
    hidden = np.where(used, values, 100)
    assert measure_seams(hidden, tile_px=32, used=used).ratio < 1.3
    assert measure_seams(hidden, tile_px=32).ratio > 5


def test_one_tile_has_no_border() -> None:
    assert math.isnan(measure_seams(texture(32), tile_px=32).ratio)
    assert math.isnan(measure_seams(np.zeros((64, 64)), tile_px=32).ratio)


def used_of(tiles: Path, stride: int = 4) -> np.ndarray:
    slide = open_tiles(tiles)
    side = slide.grid.tile_px // stride
    shape = [-(-size // stride) for size in slide.image.shape[1:]]
    return np.kron(slide.kept, np.ones((side, side), bool))[: shape[0], : shape[1]]


def test_neither_borders_nor_the_side_of_tiles_show(products, tmp_path: Path) -> None:
    """The drawn slide, cut into tiles of 128 px and of 256."""
    plain = map_of(products.activation)
    found = measure_seams(plain, tile_px=32, used=used_of(products.tiles))
    assert found.ratio < 1 + 3 * found.spread
    tiling = Tiling(mpp=0.5, tile_px=256, shard_tiles=1)
    tile(products.slide, tmp_path / "tiles.zarr", settings=tiling)
    settings = Activation()
    activate(tmp_path / "tiles.zarr", products.encoder, tmp_path / "a.zarr", settings=settings)
    both = used_of(tmp_path / "tiles.zarr") & used_of(products.tiles)
    change = np.abs(map_of(tmp_path / "a.zarr") - plain)[both]
    assert change.max() < 2e-3  # float16 of sums in another order


@pytest.mark.real_data
@pytest.mark.slow
def test_borders_do_not_show_on_real_tissue(test_data: Path, tmp_path: Path) -> None:
    slide = test_data / "wsi_mosaic" / "monuseg_train4.tiff"
    tile(slide, tmp_path / "tiles.zarr", settings=Tiling(mpp=0.5, tile_px=128))
    settings = Pretraining(steps=4, batch=8)
    pretrain([tmp_path / "tiles.zarr"], tmp_path / "e.pt", settings=settings, seed=0)
    activate(tmp_path / "tiles.zarr", tmp_path / "e.pt", tmp_path / "a.zarr", settings=Activation())
    used = used_of(tmp_path / "tiles.zarr")
    found = measure_seams(map_of(tmp_path / "a.zarr"), tile_px=32, used=used)
    assert found.ratio < 1 + 3 * found.spread
