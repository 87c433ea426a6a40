"""One shard of an array, coded chunk by chunk as its pixels come, while they are in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsipsm.io.jpeg_codec import JpegCodec
from wsipsm.io.ngff import file_of

_MISSING = 2**64 - 1
"""Offset and length, in the index of a shard, of a chunk that holds nothing but `fill`."""


class Shard:
    """What will be one file of a sharded array (..., y, x); its bytes depend on its pixels alone.

    Parameters
    ----------
    array
        Made by `ngff.create_array`.
    row, col
        Which shard of the array.
    """

    def __init__(self, array: zarr.Array[Any], row: int, col: int) -> None:
        assert array.shards is not None
        self.path: Path = file_of(array, row, col)
        self._chunk = array.chunks
        self._fill = np.asarray(array.fill_value, array.dtype)
        side = array.shards[-1] // array.chunks[-1]
        self._coded: list[list[bytes]] = [[b""] * side for _ in range(side)]
        self._codec = _Coder(array)

    def put(self, row: int, col: int, pixels: NDArray[Any]) -> None:
        """Code a chunk, counted from the first of the shard; the border of the array may cut it."""
        if pixels.shape != self._chunk:
            whole = np.full(self._chunk, self._fill)
            whole[..., : pixels.shape[-2], : pixels.shape[-1]] = pixels
            pixels = whole
        empty = pixels.flat[0] == self._fill and bool((pixels == self._fill).all())
        self._coded[row][col] = b"" if empty else self._codec(np.ascontiguousarray(pixels))

    def write(self) -> Path | None:
        """Write the file, or none where every chunk is empty; returns it.

        Raises
        ------
        OSError
            The disk is full.
        """
        chunks = [chunk for row in self._coded for chunk in row]
        if not any(chunks):
            self.path.unlink(missing_ok=True)
            return None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("wb") as file:
                file.writelines([*chunks, _index(chunks)])
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        return self.path


class _Coder:
    """Bytes of a chunk, as the codecs of an array (zstd, or JPEG and a checksum) make them."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._jpeg = array.serializer if isinstance(array.serializer, JpegCodec) else None
        for codec in array.compressors:
            if isinstance(codec, ZstdCodec):
                self._zstd = Zstd(level=codec.level, checksum=codec.checksum)

    def __call__(self, pixels: NDArray[Any]) -> bytes:
        if self._jpeg is None:
            return bytes(self._zstd.encode(pixels))
        coded = self._jpeg.encode_pixels(pixels)
        return coded + _checksum(coded)


def _checksum(coded: bytes) -> bytes:
    return int(google_crc32c.value(coded)).to_bytes(4, "little")


def _index(chunks: list[bytes]) -> bytes:
    """Offset and length of each chunk and a checksum: the end of a shard's file."""
    lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
    offsets = np.cumsum(lengths) - lengths
    index = np.stack([offsets, lengths], axis=1).astype("<u8")
    index[lengths == 0] = _MISSING
    coded = index.tobytes()
    return coded + _checksum(coded)
