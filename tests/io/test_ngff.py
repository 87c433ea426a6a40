"""Sharded arrays: the same bytes each time, torn shards found, and a pyramid that halves."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsipsm.io import ngff
from wsipsm.types import Region

from .full_disk import last_words

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


def torn(whole: bytes, how: str) -> bytes:
    """What a power cut may leave of a file."""
    middle = len(whole) // 2
    return {
        "empty": b"",
        "short": whole[:middle],
        "zeros at the end": whole[:middle] + bytes(len(whole) - middle),
        "zeros": bytes(len(whole)),
        "zeros inside": whole[:middle] + bytes(512) + whole[middle + 512 :],
        "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    }[how]


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_a_torn_shard_is_found_by_its_checksums(tmp_path: Path, codec: str) -> None:
    array = ngff.create_array(ngff.open_group(tmp_path / "a", "w"), "0", **SIZES, codec=codec)
    region, beside = Region(0, 256, 256, 256), Region(0, 0, 256, 256)
    ngff.write_shard(array, region, NOISE)
    file = tmp_path / "a/0/c/0/0/1"
    whole = file.read_bytes()
    for how in ("empty", "short", "zeros at the end", "zeros", "zeros inside", "one bit"):
        file.write_bytes(torn(whole, how))
        assert not ngff.intact(array, region), how
        assert ngff.intact(array, beside)
    file.write_bytes(whole)
    assert ngff.intact(array, region)


FULL_DISK = """
import sys, numpy as np
from pathlib import Path
from wsipsm.io import ngff
from wsipsm.io.product import Provenance, making
from wsipsm.types import Region
noise = np.random.default_rng(0).integers(0, 200, (3, 1024, 1024), dtype=np.uint8)
with making(Path(sys.argv[1]) / "a.zarr", Provenance("s", {}, {})) as partial:
    group = ngff.open_group(partial.path, "a")
    array = ngff.create_array(
        group, "0", shape=(3, 1024, 1024), chunk_px=256, shard_px=1024, dtype="uint8"
    )
    ngff.write_shard(array, Region(0, 0, 1024, 1024), noise)
"""


def test_a_disk_that_is_really_full_is_one_sentence(tmp_path: Path) -> None:
    last = last_words(FULL_DISK, tmp_path)
    assert last.startswith("wsipsm.errors.WsipsmError: ")
    assert "a.zarr.partial/content/0/c/0/0/0: the disk is full; free some space" in last


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (8, 5), (1, 3)])
def test_halves_are_rounded_means(size: tuple[int, int]) -> None:
    image: NDArray[np.uint8] = NOISE[:, : size[0], : size[1]]
    even = np.pad(image, [(0, 0), *[(0, side % 2) for side in size]], mode="edge").astype(float)
    rows, cols = (side // 2 for side in even.shape[1:])
    means = even.reshape(3, rows, 2, cols, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(ngff.halve(image), np.floor(means + 0.5))


@given(
    y=st.integers(-40, 40), x=st.integers(-40, 40), height=st.integers(1, 60),
    width=st.integers(1, 60),
)  # fmt: skip
def test_a_mirrored_region_is_that_of_the_mirrored_image(
    y: int, x: int, height: int, width: int
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 16, 24), dtype=np.uint8)
    array = zarr.array(values)
    mirrored = np.pad(values, ((0, 0), (40, 100), (40, 100)), mode="symmetric")
    wanted = mirrored[:, y + 40 : y + 40 + height, x + 40 : x + 40 + width]
    np.testing.assert_array_equal(ngff.read_mirrored(array, Region(y, x, height, width)), wanted)
