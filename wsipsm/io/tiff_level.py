"""One level of a TIFF: the stored blocks that a region touches, decoded one by one."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsipsm.io.source import on_white
from wsipsm.types import Region

LEFTOVER_BYTES = 64 << 20
"""Decoded blocks that a level keeps for the regions beside those that have been read."""

CHROMA_STEPS = slice(46, 48)
"""Where a JPEG 2000 codestream says how many pixels a chroma sample covers, across and down."""


@dataclass(frozen=True)
class Unreadable:
    """A block that could not be decoded: its pixels in the level, and why."""

    region: Region
    why: str


class TiffLevel:
    """Pixels of a tiled or stripped RGB page of 8 bits; reads may come from several threads.

    Parameters
    ----------
    page
        Page or frame of tifffile that holds the offsets.
    keyframe
        The page that describes how it is stored.
    ycbcr
        Whether its tiles of JPEG 2000 hold luma and chroma although they do not say so.
    """

    def __init__(self, page: Any, keyframe: Any, *, ycbcr: bool = False) -> None:
        self._file = os.open(Path(page.parent.filehandle.path), os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._file)
        self._decode = keyframe.decode
        self._offsets, self._counts = page.dataoffsets, page.databytecounts
        self._shared = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        self.height_px, self.width_px = keyframe.imagelength, keyframe.imagewidth
        self.block_px = block_of(keyframe)
        self._planes = keyframe.samplesperpixel if keyframe.planarconfig == 2 else 1
        self._premultiplied = is_premultiplied(keyframe)
        self._ycbcr = ycbcr
        self._leftovers = _Leftovers()
        self._rows, self._cols = (
            -(-size // block)
            for size, block in zip((self.height_px, self.width_px), self.block_px, strict=True)
        )

    def read(self, region: Region) -> tuple[NDArray[np.uint8], list[Unreadable]]:
        """Pixels uint8 (height, width, 3) of a region inside the level, and what they lack.

        A block that the file does not hold, and one that cannot be decoded, is white.
        """
        out: NDArray[np.uint8] | None = None
        unreadable = []
        for row, col, block in self._touched(region):
            shared = _shared(block, region)
            try:
                pixels = self._wanted(row * self._cols + col, block, shared)
            except MemoryError:
                raise
            except Exception as error:  # decoders raise errors of every kind
                unreadable.append(Unreadable(block, str(error) or type(error).__name__))
                pixels = None
            if shared == region and pixels is not None:
                return pixels, unreadable
            if out is None:
                out = np.empty((region.height, region.width, 3), np.uint8)
            out[shared.within(region).slices] = 255 if pixels is None else pixels
        assert out is not None
        return out, unreadable

    def close(self) -> None:
        """Close the file."""
        self._close()
        self._leftovers = _Leftovers()

    def _touched(self, region: Region) -> Iterator[tuple[int, int, Region]]:
        """Row, column and pixels of the blocks that meet a region."""
        height, width = self.block_px
        for row in range(region.y // height, -(-(region.y + region.height) // height)):
            for col in range(region.x // width, -(-(region.x + region.width) // width)):
                y, x = row * height, col * width
                size = min(height, self.height_px - y), min(width, self.width_px - x)
                yield row, col, Region(y, x, *size)

    def _wanted(self, index: int, block: Region, shared: Region) -> NDArray[np.uint8] | None:
        """Pixels of the part of a block that is wanted now."""
        area = shared.height * shared.width
        pixels = self._leftovers.take(index, area)
        if pixels is None:
            pixels = self._block(index)
            left = block.height * block.width - area
            if pixels is not None and left:
                self._leftovers.keep(index, pixels, left)
        return None if pixels is None else pixels[shared.within(block).slices]

    def _block(self, index: int) -> NDArray[np.uint8] | None:
        """Pixels (height, width, 3) of a block, at least as many as lie in the level."""
        planes = [
            self._stored(plane * self._rows * self._cols + index) for plane in range(self._planes)
        ]
        found = [plane for plane in planes if plane is not None]
        if not found:
            return None
        pixels = found[0] if len(found) == 1 else np.concatenate(found, axis=2)
        return on_white(pixels, premultiplied=self._premultiplied)

    def _stored(self, index: int) -> NDArray[np.uint8] | None:
        count, offset = self._counts[index], self._offsets[index]
        if count == 0:
            return None
        data = os.pread(self._file, count, offset)
        if len(data) < count:
            raise ValueError("the file ends too early")
        decoded, _, _ = self._decode(data, index, **self._shared)
        if decoded is None:
            return None
        pixels = np.asarray(decoded[0], np.uint8)
        return _rgb(pixels) if self._ycbcr and not _has_small_chroma(data) else pixels


class _Leftovers:
    """Decoded blocks of which a part has not been read yet: neighbouring regions share them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[NDArray[np.uint8], int]] = {}
        self._bytes = 0

    def take(self, index: int, area: int) -> NDArray[np.uint8] | None:
        """Pixels of a block, if they are here; `area` of them is read now."""
        with self._lock:
            if index not in self._kept:
                return None
            pixels, left = self._kept.pop(index)
            self._bytes -= pixels.nbytes
            if left > area:
                self._keep(index, pixels, left - area)
            return pixels

    def keep(self, index: int, pixels: NDArray[np.uint8], left: int) -> None:
        """Keep a block of which `left` pixels have not been read, for as long as there is room."""
        with self._lock:
            if index not in self._kept:
                self._keep(index, pixels, left)

    def _keep(self, index: int, pixels: NDArray[np.uint8], left: int) -> None:
        self._kept[index] = pixels, left
        self._bytes += pixels.nbytes
        while self._bytes > LEFTOVER_BYTES:
            oldest = next(iter(self._kept))
            self._bytes -= self._kept.pop(oldest)[0].nbytes


def _shared(one: Region, other: Region) -> Region:
    """The pixels that two regions have in common."""
    top, left = max(one.y, other.y), max(one.x, other.x)
    bottom = min(one.y + one.height, other.y + other.height)
    right = min(one.x + one.width, other.x + other.width)
    return Region(top, left, bottom - top, right - left)


def block_of(keyframe: Any) -> tuple[int, int]:
    """Height and width of the tiles or strips of a page."""
    if keyframe.is_tiled:
        return keyframe.tilelength, keyframe.tilewidth
    return min(keyframe.rowsperstrip, keyframe.imagelength), keyframe.imagewidth


def is_premultiplied(keyframe: Any) -> bool:
    """Whether the colours of a page with opacity are multiplied by it."""
    return tuple(map(int, keyframe.extrasamples)) == (1,)


def _has_small_chroma(codestream: bytes) -> bool:
    """Whether chroma is stored at a lower resolution: OpenJPEG then converts to RGB by itself."""
    return codestream[CHROMA_STEPS] != b"\1\1"


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels Y, Cb, Cr (height, width, 3) as red, green, blue."""
    order = np.ascontiguousarray(pixels[..., [0, 2, 1]])
    return np.asarray(cv2.cvtColor(order, cv2.COLOR_YCrCb2RGB), np.uint8)
