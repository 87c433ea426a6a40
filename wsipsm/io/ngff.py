"""OME-NGFF 0.5 images in sharded Zarr v3: creation, whole-shard writes, pyramids."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from wsipsm.config import Codec
from wsipsm.io import pipeline as pipeline  # for its effect: how chunks are coded
from wsipsm.io.jpeg_codec import JpegCodec
from wsipsm.io.runs import to_disk
from wsipsm.types import Region

ZSTD_LEVEL = 1


def create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    chunk_px: int,
    shard_px: int,
    dtype: str,
    fill: float = 0,
    codec: Codec = "zstd",
) -> zarr.Array[Any]:
    """Create an empty array (..., y, x); chunks and shards are square in the last two axes.

    An array of that name is opened instead when it exists, as after a kill. Codec "jpeg" is lossy,
    for images uint8 (3, y, x).
    """
    if name in group:
        found = group[name]
        assert isinstance(found, zarr.Array)
        return found
    lead = shape[:-2]
    axes = ("c", "y", "x")[-len(shape) :]
    return group.create_array(
        name,
        shape=shape,
        chunks=(*lead, chunk_px, chunk_px),
        shards=(*lead, shard_px, shard_px),
        dtype=dtype,
        fill_value=fill,
        dimension_names=axes,
        serializer=JpegCodec() if codec == "jpeg" else "auto",
        compressors=Crc32cCodec()
        if codec == "jpeg"
        else ZstdCodec(level=ZSTD_LEVEL, checksum=True),
    )


def write_shard(array: zarr.Array[Any], region: Region, data: NDArray[Any]) -> None:
    """Write whole shards of an array (..., y, x) at once.

    Raises
    ------
    ValueError
        `region` does not begin and end at shard borders (or at the end of the array): two
        processes that write to one shard would lose data without a word.
    OSError
        The disk is full.
    """
    assert array.shards is not None
    side = array.shards[-1]
    for start, length, size in zip(
        (region.y, region.x), (region.height, region.width), array.shape[-2:], strict=True
    ):
        stop = start + length
        if start % side or (stop % side and stop != size):
            raise ValueError(f"{array.name}: {start}:{stop} is not made of whole shards of {side}")
    try:
        array[(..., *region.slices)] = data
    except RuntimeError as error:  # of the Rust code that writes
        if f"(os error {errno.ENOSPC})" in str(error):
            raise OSError(
                errno.ENOSPC, "No space left on device", str(file_of(array, 0, 0))
            ) from None
        raise
    for row, col in _shards(array, region):
        if file_of(array, row, col).exists():  # one that holds nothing but `fill` has no file
            to_disk(file_of(array, row, col))


def intact(array: zarr.Array[Any], region: Region) -> bool:
    """Whether the shards of a region are as they were written, by their checksums.

    A power cut leaves files that end early, or hold zeros in parts.
    """
    files = [file_of(array, row, col) for row, col in _shards(array, region)]
    if any(file.exists() and not file.stat().st_size for file in files):
        return False
    try:
        array[(..., *region.slices)]
    except (RuntimeError, ValueError, OSError):
        return False
    return True


def _shards(array: zarr.Array[Any], region: Region) -> Iterator[tuple[int, int]]:
    """Row and column of every shard of a region."""
    side = (array.shards or array.chunks)[-1]
    for y in range(region.y, region.y + region.height, side):
        for x in range(region.x, region.x + region.width, side):
            yield y // side, x // side


def file_of(array: zarr.Array[Any], row: int, col: int) -> Path:
    """File of one shard."""
    store = array.store_path
    key = array.metadata.encode_chunk_key((0,) * (array.ndim - 2) + (row, col))
    assert isinstance(store.store, LocalStore)
    return store.store.root / store.path / key


def read_padded(array: zarr.Array[Any], region: Region, *, fill: float) -> NDArray[Any]:
    """Read a region of an array (..., y, x) that may leave it; what lies outside is `fill`."""
    height, width = array.shape[-2:]
    top, left = max(region.y, 0), max(region.x, 0)
    bottom = max(min(region.y + region.height, height), top)
    right = max(min(region.x + region.width, width), left)
    inside: NDArray[Any] = np.asarray(array[..., top:bottom, left:right])
    y, x = top - region.y, left - region.x
    if inside.shape[-2:] == (region.height, region.width):
        return inside
    out = np.full((*array.shape[:-2], region.height, region.width), fill, dtype=inside.dtype)
    out[..., y : y + inside.shape[-2], x : x + inside.shape[-1]] = inside
    return out


def read_mirrored(array: zarr.Array[Any], region: Region) -> NDArray[Any]:
    """Read a region of an array (..., y, x) that may leave it; beyond a border lies its mirror."""
    rows, cols = (
        np.minimum(at % (2 * size), (-1 - at) % (2 * size))
        for at, size in zip(
            (region.y + np.arange(region.height), region.x + np.arange(region.width)),
            array.shape[-2:],
            strict=True,
        )
    )
    top, left = rows.min(), cols.min()
    found: NDArray[Any] = np.asarray(array[..., top : rows.max() + 1, left : cols.max() + 1])
    return found[..., (rows - top)[:, None], cols - left]


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 2 x 2 pixels of a uint8 image (c, y, x); an odd border row or column is repeated."""
    height, width = image.shape[-2:]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    below = image.reshape(-1, image.shape[-1])  # planes of even height: no mean spans two
    half = cv2.resize(below, (below.shape[1] // 2, len(below) // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half.reshape(len(image), -1, half.shape[1]), np.uint8)


def quarter(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 4 x 4 pixels of a uint8 image (c, y, x), as `halve` gives it twice."""
    return halve(halve(image))


def decimate(labels: NDArray[Any], factor: int = 2) -> NDArray[Any]:
    """Every second pixel, or another, of a label image (y, x): labels must not be averaged."""
    return labels[..., ::factor, ::factor]


def multiscales(
    name: str, *, axes: str, mpp: float, levels: int, factor: int = 2, translation_px: float = 0
) -> dict[str, Any]:
    """OME-NGFF 0.5 metadata of a pyramid `0` ... that shrinks by `factor` at each level.

    `axes` is "cyx" or "yx"; `mpp` that of level 0; `translation_px` shifts pixel centres.
    """
    units = [
        {"name": axis, "type": "space", "unit": "micrometer"}
        if axis in "yx"
        else {"name": "c", "type": "channel"}
        for axis in axes
    ]
    datasets = []
    for level in range(levels):
        step = mpp * factor**level
        shift = mpp * (factor**level - 1) / 2 + translation_px * mpp
        scale = [step if axis in "yx" else 1.0 for axis in axes]
        shifts = [shift if axis in "yx" else 0.0 for axis in axes]
        transforms = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shifts},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    return {"name": name, "axes": units, "datasets": datasets}


def shown_channels(
    names: Sequence[str], colours: Sequence[tuple[int, int, int]], *, hidden: Sequence[str] = ()
) -> dict[str, Any]:
    """OME-NGFF metadata `omero` of uint8 channels: names, colours, and which are not shown."""
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    channels = [
        {
            "label": name,
            "color": bytes(colour).hex().upper(),
            "active": name not in hidden,
            "window": window,
        }
        for name, colour in zip(names, colours, strict=True)
    ]
    return {"channels": channels, "rdefs": {"model": "color"}}


def open_group(path: Path, mode: Literal["r", "a", "w"] = "r") -> zarr.Group:
    """Open a group: for reading, "a" to add to it, "w" to make it anew."""
    return zarr.open_group(str(path), mode=mode, zarr_format=3)
