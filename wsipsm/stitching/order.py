"""Order and names of cells: along a Hilbert curve, and by a uuid5 each."""

from __future__ import annotations

import hashlib
import uuid

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "wsipsm")

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_HYPHENS = (8, 13, 18, 23)


def hilbert(x: NDArray[np.int64], y: NDArray[np.int64], *, bits: int) -> NDArray[np.int64]:
    """Place of each square of a grid of side 2**bits along the Hilbert curve, int64 (n,).

    Squares in a row along the curve share a side; the curve passes each quarter of the grid,
    each quarter of that, and so on, once: `hilbert(x >> k, y >> k, bits=bits - k)` is
    `hilbert(x, y, bits=bits) >> 2 * k`.

    Parameters
    ----------
    x, y
        int64 (n,), 0 to 2**bits - 1.
    bits
        At most 31.
    """
    place = np.zeros(len(x), np.int64)
    for bit in reversed(range(bits)):
        right, low = (x >> bit) & 1, (y >> bit) & 1
        place = (place << 2) | ((3 * right) ^ low)
        # turn the quarter so that the curve in it runs like the whole
        flip = np.where((low == 0) & (right == 1), -1, 0)
        x, y = x ^ flip, y ^ flip
        x, y = np.where(low == 0, y, x), np.where(low == 0, x, y)
    return place


def cell_ids(cells: pa.Table, *, slide: str, model: str) -> pa.Array:
    """The uuid5 of each cell: by slide, model, tile and centroid.

    The name under the namespace of slide and model is the hexadecimal text of tile_row, tile_col
    (int32), centroid_y and centroid_x (float64), all little-endian.
    """
    names = np.empty(cells.num_rows, "<i4, <i4, <f8, <f8")
    for field, column in zip(
        names.dtype.names, ("tile_row", "tile_col", "centroid_y", "centroid_x"), strict=True
    ):
        names[field] = cells[column].to_numpy()
    text = names.tobytes().hex().encode()
    size = 2 * names.dtype.itemsize
    start = hashlib.sha1(uuid.uuid5(NAMESPACE, f"{slide}/{model}").bytes)
    digests = bytearray()
    for at in range(0, len(text), size):
        digest = start.copy()
        digest.update(text[at : at + size])
        digests += digest.digest()[:16]
    return _uuid_texts(np.frombuffer(digests, np.uint8).reshape(-1, 16).copy())


def _uuid_texts(values: NDArray[np.uint8]) -> pa.Array:
    """Text of uuids of version 5 from uint8 (n, 16)."""
    values[:, 6] = values[:, 6] & 0x0F | 0x50
    values[:, 8] = values[:, 8] & 0x3F | 0x80
    digits = np.stack([_HEX[values >> 4], _HEX[values & 15]], axis=2).reshape(-1, 32)
    text = np.full((len(values), 36), ord("-"), np.uint8)
    text[:, [at for at in range(36) if at not in _HYPHENS]] = digits
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(
        len(values), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))
    )
