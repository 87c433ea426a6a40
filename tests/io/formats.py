"""TIFF slides of many kinds, written for the tests; `vendors` writes those of other formats."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from wsipsm.types import Region

Picture = NDArray[np.uint8]

LABEL = 200
"""Grey of labels beside a slide."""

APERIO = "Aperio Image Library v1\r\n{} Q=90|AppMag = 40|MPP = 0.2524"

SAMPLES = [
    (b"\x03R\x11\0G\x11\0B\x11\0", b"\x03\0\x11\0\1\x11\0\2\x11\0"),
    (b"\x03R\0G\0B\0", b"\x03\0\0\1\0\2\0"),
]
"""How a JPEG calls red, green and blue, and how those of Aperio do: 0, 1, 2."""


def draw(height: int, width: int) -> Picture:
    """Draw waves of colour with a little noise, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 7 + k) + np.cos(x / 11 - k) + np.sin((x + y) / 23) for k in range(3)]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 1))
    return np.clip(np.stack(waves, axis=2) * 38 + 128 + noise, 0, 255).astype(np.uint8)


def shrunk(image: Picture, height: int, width: int) -> Picture:
    """Resample an image to another size."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def lost(image: Picture, part: Region) -> Picture:
    """Make a part of an image white."""
    out = image.copy()
    out[part.slices] = 255
    return out


def placed(image: Picture, height: int, width: int, y: int, x: int) -> Picture:
    """Lay an image on a white canvas."""
    out = np.full((height, width, 3), 255, np.uint8)
    out[y : y + image.shape[0], x : x + image.shape[1]] = image
    return out


# TIFF


def jpeg(pixels: Picture, *, ycbcr: bool = True, small_chroma: bool = False) -> bytes:
    """Encode a tile as JPEG, stored as luma and chroma or as red, green and blue."""
    space = "ycbcr" if ycbcr else "rgb"
    chroma = "420" if small_chroma else "444"
    return bytes(
        imagecodecs.jpeg8_encode(
            pixels, level=90, colorspace="rgb", outcolorspace=space, subsampling=chroma
        )
    )


def split_tables(stream: bytes) -> tuple[bytes, bytes]:
    """Split a JPEG into a stream of tables alone, and an abbreviated stream without them."""
    tables, rest, at = b"", b"", 2
    while True:
        marker, size = stream[at + 1], struct.unpack(">H", stream[at + 2 : at + 4])[0]
        segment = stream[at : at + 2 + size]
        if marker == 0xDA:
            rest += stream[at:]
            for named, numbered in SAMPLES:
                rest = rest.replace(named, numbered)
            return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest
        if marker in (0xDB, 0xC4):
            tables += segment
        elif marker != 0xE0 and marker != 0xEE:
            rest += segment
        at += 2 + size


def jpeg_2000(pixels: Picture) -> bytes:
    """Encode samples as they are, without a loss, as a codestream of JPEG 2000."""
    options = {"codecformat": "j2k", "level": 0, "reversible": True, "mct": False}
    return bytes(imagecodecs.jpeg2k_encode(np.ascontiguousarray(pixels), resolutions=1, **options))


def luma_first(pixels: Picture) -> Picture:
    """Turn red, green, blue into luma, blue and red difference."""
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def luma_2000(tile: Picture) -> bytes:
    """Encode a tile as JPEG 2000 of luma and chroma, which does not say so."""
    return jpeg_2000(luma_first(tile))


def small_chroma_2000(tile: Picture) -> bytes:
    """Encode a tile as JPEG 2000 with one sample of chroma for two pixels, as Aperio does."""
    ycbcr = luma_first(tile)
    planes = [ycbcr[..., 0], ycbcr[:, ::2, 1], ycbcr[:, ::2, 2]]
    streams = [jpeg_2000(plane) for plane in planes]
    heads, bodies = zip(*(_segments(stream) for stream in streams), strict=True)
    size = heads[0][b"\xff\x51"][:34] + struct.pack(">H9B", 3, 7, 1, 1, 7, 2, 1, 7, 2, 1)
    body = b"".join(bodies)
    out = b"\xff\x4f"
    for marker, content in {**heads[0], b"\xff\x51": size}.items():
        if marker in (b"\xff\x51", b"\xff\x52", b"\xff\x5c"):
            out += marker + struct.pack(">H", len(content) + 2) + content
    part = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, len(body) + 14, 0, 1)
    return out + part + b"\xff\x93" + body + b"\xff\xd9"


def _segments(stream: bytes) -> tuple[dict[bytes, bytes], bytes]:
    found, at = {}, 2
    while stream[at : at + 2] != b"\xff\x93":
        size = struct.unpack(">H", stream[at + 2 : at + 4])[0]
        found[stream[at : at + 2]] = stream[at + 4 : at + 2 + size]
        at += 2 + size
    return found, stream[at + 2 : -2]


def tiles_of(image: Picture, side: int) -> Iterator[Picture]:
    """Cut an image into tiles row by row, filled up with its last rows and columns."""
    height, width = image.shape[:2]
    full = np.pad(image, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield np.ascontiguousarray(full[y : y + side, x : x + side])


Encode = Callable[[Picture], bytes]


def write_pages(
    file: tifffile.TiffWriter,
    *levels: Picture,
    encode: Encode,
    side: int = 240,
    missing: Sequence[int] = (),
    **options: Any,
) -> None:
    """Write levels as pages of tiles, some of which have no length."""
    for level in levels:
        tiles = [encode(tile) for tile in tiles_of(level, side)]
        kept = (b"" if number in missing else tile for number, tile in enumerate(tiles))
        shape: dict[str, Any] = {"shape": level.shape, "dtype": "uint8", "tile": (side, side)}
        file.write(kept, **shape, metadata=None, **options)


def aperio(path: Path, levels: Sequence[Picture], **stored: Any) -> Path:
    """Write an SVS: level 0, a thumbnail in strips, the other levels, a label.

    `stored` says how tiles are encoded: `encode`, `compression`, `missing` of level 0, and what
    else tifffile is to be told.
    """
    tables = None
    if stored["compression"] == "jpeg":
        whole = stored["encode"]
        tables, _ = split_tables(whole(levels[0][:240, :240]))
        stored |= {"encode": lambda tile: split_tables(whole(tile))[1]}
        stored["compressionargs"] = {"outcolorspace": stored["photometric"]}
    missing = stored.pop("missing", ())
    strips: dict[str, Any] = {"photometric": "rgb", "rowsperstrip": 16, "metadata": None}
    with tifffile.TiffWriter(path) as file:
        size = "{1}x{0}".format(*levels[0].shape)
        stored |= {"jpegtables": tables, "software": False}
        write_pages(file, levels[0], missing=missing, description=APERIO.format(size), **stored)
        file.write(levels[-1][:60, :80], compression="lzw", **strips)
        write_pages(file, *levels[1:], description=APERIO.format(size + " -> less"), **stored)
        label = np.full((40, 30, 3), LABEL, np.uint8)
        text = "Aperio Image Library v1 \nlabel 30x40"
        file.write(label, description=text, subfiletype=1, **strips)
    return path


def generic(path: Path, levels: Sequence[Picture], **options: Any) -> Path:
    """Write a tiled TIFF of no vendor, JPEG unless it is told otherwise, 0.25 µm per pixel."""
    given = {"photometric": "ycbcr", "compression": "jpeg", "encode": jpeg, "side": 256}
    given |= {"resolution": (40000, 40000), "resolutionunit": 3, **options}
    into = {name: given.pop(name) for name in ("bigtiff", "byteorder") if name in given}
    with tifffile.TiffWriter(path, **into) as file:
        for number, level in enumerate(levels):
            write_pages(file, level, subfiletype=min(number, 1), **given)
    return path


def ome(path: Path, levels: Sequence[Picture], **options: Any) -> Path:
    """Write an OME-TIFF with its pyramid in sub-IFDs, 0.25 µm per pixel, and a label beside it."""
    given: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128), **options}
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter(path, ome=True) as file:
        slide = {"axes": "YXS", "Name": "slide", **size}
        file.write(levels[0], subifds=len(levels) - 1, metadata=slide, **given)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **given)
        label = np.full((40, 30, 3), LABEL, np.uint8)
        file.write(label, photometric="rgb", metadata={"axes": "YXS", "Name": "label"})
    return path
