"""A slide at low resolution, read in strips by threads, and the tissue that it shows."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsipsm.config import Tiling
from wsipsm.io.slide import Slide
from wsipsm.io.source import unreadable
from wsipsm.tiling.artefacts import ink, soft_density
from wsipsm.tiling.tissue import tissue_mask
from wsipsm.types import Region

LONGEST_PX, FINEST_MPP = 2048, 2.0
"""Largest side of an overview; its resolution is about the second where that allows it."""

STRIP_PX = 256


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What is seen of the whole slide.

    Attributes
    ----------
    pixels, mpp
        uint8 RGB (3, y, x), and microns per pixel.
    density, pen
        `soft_density` of the pixels, and the `ink` in it.
    tissue
        bool (y, x).
    unreadable_share
        Share of the slide that could not be read here, and is white.
    """

    path: Path
    pixels: NDArray[np.uint8]
    mpp: float
    density: NDArray[np.float32]
    pen: NDArray[np.bool_]
    tissue: NDArray[np.bool_]
    unreadable_share: float


def look(source: Slide, settings: Tiling, *, threads: int) -> Overview:
    """Read the overview of a slide, and find the tissue in it.

    Raises
    ------
    DataError
        More of the slide is unreadable than the settings allow.
    """
    longest_um = max(source.height_px, source.width_px) * source.mpp
    mpp = source.whole_mpp(FINEST_MPP, least=longest_um / LONGEST_PX)
    height, width = source.size_at(mpp)
    strips = [
        Region(top, 0, min(STRIP_PX, height - top), width) for top in range(0, height, STRIP_PX)
    ]
    with ThreadPoolExecutor(threads) as pool:
        read = functools.partial(source.read, mpp=mpp)
        pixels = np.concatenate(list(pool.map(read, strips)), axis=1)
    lost = source.unreadable_share(Region(0, 0, height, width), mpp=mpp)
    if lost > settings.max_unreadable_share:
        raise unreadable(source.path, source.unreadable_reason, share=lost)
    density = soft_density(pixels, mpp=mpp)
    pen = ink(density, mpp=mpp)
    return Overview(
        path=source.path,
        pixels=pixels,
        mpp=mpp,
        density=density,
        pen=pen,
        tissue=tissue_mask(density, pen, mpp=mpp, min_area_um2=settings.min_tissue_um2),
        unreadable_share=lost,
    )
