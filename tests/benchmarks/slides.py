"""Large JPEG slides in seconds: one drawn slide repeated, each tile encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsipsm.phantom.phantom import draw_slides

DRAWN_PX, TILE_PX, FACTOR, QUALITY, MPP = 4096, 512, 4, 30, 0.25


def large_slide(folder: Path, *, size_px: int) -> Path:
    """Tiled pyramidal JPEG TIFF of `size_px` on a side: a drawn slide of 4,096 px, repeated."""
    path = folder / f"slide_{size_px}.tiff"
    if path.exists():
        return path
    drawn = draw_slides(folder, count=1, size_px=DRAWN_PX, mpp=MPP, stain="he", seed=0)[0]
    with tifffile.TiffFile(drawn) as file:
        levels = [page.asarray() for page in file.pages]
    private = path.with_suffix(".partial")
    with tifffile.TiffWriter(private, bigtiff=True) as out:
        for level, pixels in enumerate(levels):
            side = size_px // FACTOR**level
            out.write(
                _tiles(pixels, side),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=0 if level == 0 else 1,
                resolution=(1e4 / MPP / FACTOR**level,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return private.replace(path)


def _tiles(pixels: NDArray[np.uint8], side: int) -> Iterator[bytes]:
    """Encoded tiles, row by row, of an image repeated over a square of `side` pixels."""
    period = len(pixels)
    encoded: dict[tuple[int, int], bytes] = {}
    for top in range(0, side, TILE_PX):
        for left in range(0, side, TILE_PX):
            at = (top % period, left % period)
            if at not in encoded:
                rows, cols = ((np.arange(TILE_PX) + start) % period for start in at)
                tile = np.ascontiguousarray(pixels[np.ix_(rows, cols)])
                encoded[at] = imagecodecs.jpeg8_encode(
                    tile, level=QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
                )
            yield encoded[at]
