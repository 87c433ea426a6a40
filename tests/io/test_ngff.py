"""Sharded arrays: the same bytes each time, and a pyramid that halves."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsipsm.io import ngff
from wsipsm.types import Region

NOISE = np.random.default_rng(0).integers(0, 200, (3, 256, 256), dtype=np.uint8)
SIZES = {"shape": (3, 512, 512), "chunk_px": 64, "shard_px": 256, "dtype": "uint8", "fill": 255}


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_a_shard_has_the_same_bytes_each_time(tmp_path: Path, codec: str) -> None:
    pixels = NOISE.copy()
    pixels[:, :64, 64:128] = 255  # a chunk that is not stored
    array = ngff.create_array(ngff.open_group(tmp_path / "a", "w"), "0", **SIZES, codec=codec)
    found = set()
    for turn in range(40):
        there = pickle.loads(pickle.dumps(array)) if turn % 2 else array
        ngff.write_shard(there, Region(0, 256, 256, 256), pixels)
        found.add((tmp_path / "a/0/c/0/0/1").read_bytes())
    assert len(found) == 1
    again = np.asarray(ngff.open_group(tmp_path / "a")["0"])[:, :256, 256:]
    if codec == "zstd":
        np.testing.assert_array_equal(again, pixels)
    assert (again[:, :64, 64:128] == 255).all()


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (8, 5), (1, 3)])
def test_halves_are_rounded_means(size: tuple[int, int]) -> None:
    image: NDArray[np.uint8] = NOISE[:, : size[0], : size[1]]
    even = np.pad(image, [(0, 0), *[(0, side % 2) for side in size]], mode="edge").astype(float)
    rows, cols = (side // 2 for side in even.shape[1:])
    means = even.reshape(3, rows, 2, cols, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(ngff.halve(image), np.floor(means + 0.5))
