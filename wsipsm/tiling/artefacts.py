"""What spoils tissue: ink, folds and bubbles on the overview of a slide, and blur in its tiles."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from wsipsm.models.stain import optical_density
from wsipsm.tiling.pieces import filled, without_small

Mask = NDArray[np.bool_]
Density = NDArray[np.float32]

LEAST_UM2 = 1000.0
"""Smaller pieces of an artefact are dropped, square microns."""

FOLD_RATIO, FOLD_EDGE_RATIO, FOLD_HUE = 2.05, 1.25, 0.06
"""Density of a fold, in its dense tenth and at its edge, over that of the tissue around; largest
difference in any channel's share of the density."""

FOLD_WIDTH_UM, FOLD_LENGTH = 50.0, 3.0
"""Half of the largest width of a fold; least length in widths."""

LEAST_GLASS = 0.01
"""Share of a slide beside the tissue from which the density of glass is taken."""

BUBBLE_RIM_UM, BUBBLE_RIM_DENSITY, BUBBLE_RIM_GREY, BUBBLE_SOLIDITY = 40.0, 0.15, 0.62, 0.9
"""Largest width of a rim; its least density; its palest channel over its darkest; how convex."""

FOCUS_UM, FOCUS_TEXTURE = 0.5, 0.055
"""Finest pixel at which focus is judged; the ratio of fine to coarse texture that scores 0.5."""

COARSEST_FOCUS_MPP, BLOCK_UM = 1.5, 32.0
BLOCK_TISSUE, BLOCK_TEXTURE, NOISE = 0.3, 1e-4, 2e-5
"""Blocks with a smaller share of tissue, or less coarse texture (energy of optical density), say
nothing about focus; what sensor and compression add to fine texture."""

_DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255).astype(np.float32)
_GLASS = 212


def soft_density(overview: NDArray[np.uint8], *, mpp: float) -> Density:
    """Optical density float32 (3, y, x) of an overview, smoothed by 4 microns.

    Parameters
    ----------
    overview
        uint8 RGB (3, y, x) of the whole slide, 2 to 10 microns per pixel.
    mpp
        Microns per pixel of the overview.
    """
    return _smooth(optical_density(overview), 4 / mpp)


def find_artefacts(density: Density, pen: Mask, *, mpp: float, tissue: Mask) -> dict[str, Mask]:
    """Masks bool (y, x) of what spoils the tissue of a slide: "pen", "fold" and "bubble".

    Parameters
    ----------
    density, pen
        Of the overview: `soft_density`, and the `ink` in it.
    mpp
        Microns per pixel of the overview.
    tissue
        bool (y, x) on the same grid; folds are looked for in it, the others everywhere.
    """
    bubble = _bubbles(density, mpp)
    pen = pen & ~bubble
    return {"pen": pen, "fold": _folds(density, mpp, tissue & ~pen & ~bubble), "bubble": bubble}


def ink(density: Density, *, mpp: float) -> Mask:
    """Strokes of a pen, bool (y, x): solid, and of a colour that no stain of tissue has.

    `density` is that of `soft_density`.
    """
    red, green, blue = density
    darkest, palest = density.max(axis=0), density.min(axis=0)
    blue_ink = (red > 1.15 * green) & (red > 0.3)
    green_ink = (red > 1.5 * green) & (red > 0.25)
    black_ink = (palest > 0.75 * darkest) & (palest > 0.2)
    red_ink = (red < 0.25 * green) & (blue > 0.62 * green) & (green > 0.25)
    solid = blue_ink & (red > 0.45) | green_ink & (red > 0.3)
    solid |= black_ink & (palest > 0.4) | red_ink & (green > 0.5)
    core = _morphed(solid, cv2.MORPH_OPEN, 4 / mpp)
    core = without_small(core, area_px=round(LEAST_UM2 / mpp**2))
    edge = blue_ink | green_ink | black_ink | red_ink
    return np.asarray(core | edge & _morphed(core, cv2.MORPH_DILATE, 8 / mpp), bool)


def focus(tile: NDArray[np.uint8], *, mpp: float) -> float:
    """How sharp the tissue of a tile is, 0 to 1; below 0.3 edges are softer than 1 µm.

    The energy of the finest octave of texture is put in relation to that of the three above it,
    in blocks of about 32 microns: neither the strength of the stain nor the share of tissue
    changes that. The median of the blocks counts, so that neither dust nor an empty corner decides.
    The score is 1 where no tissue has texture, and where pixels are too coarse to tell (above 1.5
    microns).

    Parameters
    ----------
    tile
        uint8 RGB (3, y, x).
    mpp
        Microns per pixel.
    """
    green = np.ascontiguousarray(tile[1])
    while mpp < 0.75 * FOCUS_UM and min(green.shape) > 1:
        green, mpp = _halved(green), 2 * mpp
    if mpp > COARSEST_FOCUS_MPP:
        return 1.0
    blocks = [_power_of_two(side * mpp / BLOCK_UM) for side in green.shape[::-1]]
    stained = cv2.threshold(green, _GLASS - 1, 255, cv2.THRESH_BINARY_INV)[1]
    tissue = _means(np.asarray(stained, np.uint8), blocks) >= 255 * BLOCK_TISSUE
    if not tissue.any():
        return 1.0
    fine, *others = _octaves(np.asarray(cv2.LUT(green, _DENSITY), np.float32), blocks)
    coarse = others[0] + others[1] + others[2]
    judged = tissue & (coarse >= BLOCK_TEXTURE)
    if not judged.any():
        return 1.0
    fine = np.maximum(fine - NOISE, 0)
    ratio = float(median((fine[judged] / coarse[judged]).tolist()))
    return ratio / (ratio + FOCUS_TEXTURE)


def left_out(
    scores: Mapping[str, NDArray[np.float32]],
    *,
    exclude: Collection[str],
    max_share: float,
    min_focus: float,
) -> Mask:
    """Tiles, bool (rows, cols), that an artefact spoils.

    Where most of a slide is blurred, it was scanned or stored like that: then blur spoils no tile,
    since little would be left, and the scores still tell.

    Parameters
    ----------
    scores
        float32 (rows, cols) of each artefact, 0 to 1: the share of the tile that is under "pen",
        "fold" or "bubble", and for "blur" 1 minus `focus` (0 beside the tissue).
    exclude
        The artefacts that count.
    max_share, min_focus
        The largest share of a tile, and the least focus, that are let pass.
    """
    blurred = scores["blur"] > 1 - min_focus
    if 2 * blurred.sum() > (scores["blur"] > 0).sum():
        blurred = np.zeros_like(blurred)
    found = {name: score > max_share for name, score in scores.items()} | {"blur": blurred}
    spoilt = [found[name] for name in found if name in exclude]
    return np.asarray(np.logical_or.reduce([np.zeros_like(blurred), *spoilt]), bool)


def _power_of_two(number: float) -> int:
    """The power of two next to a number: blocks of whole pixels are averaged far faster."""
    return 1 << max(0, round(math.log2(number)))


def _octaves(density: Density, blocks: list[int]) -> list[Density]:
    """Mean energy of four octaves of texture, finest first, in each block."""
    bands = []
    for _ in range(4):
        softer = np.asarray(cv2.GaussianBlur(density, (5, 5), 1.0), np.float32)
        band = cv2.subtract(density, softer)
        bands.append(_means(np.asarray(cv2.multiply(band, band, dst=band), np.float32), blocks))
        density = softer[::2, ::2]
    return bands


def _means(plane: Density | NDArray[np.uint8], size: Sequence[int]) -> Density:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _halved(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (plane.shape[1] // 2, plane.shape[0] // 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)


def _folds(density: Density, mpp: float, tissue: Mask) -> Mask:
    """Bands that are denser than the tissue around them, by layers of the same hue."""
    here = _smooth(density, 4 / mpp)
    here -= _glass(density, tissue)
    np.maximum(here, 0, out=here)
    around = _mean_around(here, tissue, 100 / mpp)
    total, usual = here.sum(axis=0), np.maximum(around.sum(axis=0), 0.05)
    here /= np.maximum(total, 1e-3)
    around /= usual
    here -= around
    hue = np.abs(here, out=here).max(axis=0)
    del here, around
    ratio = np.where(tissue & (hue < FOLD_HUE), total / usual, 0)
    dense = _morphed(ratio > FOLD_EDGE_RATIO, cv2.MORPH_OPEN, 4 / mpp)
    dense = without_small(dense, area_px=round(LEAST_UM2 / mpp**2))
    thick = cv2.distanceTransform(dense.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    bands = np.zeros_like(tissue)
    for piece in regionprops(label(dense)):
        half = float(thick[piece.slice][piece.image].max())
        slim = half * mpp < FOLD_WIDTH_UM and piece.area > FOLD_LENGTH * (2 * half) ** 2
        if slim and np.quantile(ratio[piece.slice][piece.image], 0.9) > FOLD_RATIO:
            bands[piece.slice] |= piece.image
    return np.asarray(bands, bool)


def _glass(density: Density, tissue: Mask) -> Density:
    """Density of the empty slide, float32 (3, 1, 1); 0 where tissue is all over."""
    empty = ~tissue
    if empty.mean() < LEAST_GLASS:
        return np.zeros((3, 1, 1), np.float32)
    return np.array([np.median(plane[empty]) for plane in density], np.float32)[:, None, None]


def _bubbles(density: Density, mpp: float) -> Mask:
    """What a thin grey rim encloses; a bubble that the border of the slide cuts is not found."""
    darkest, palest = density.max(axis=0), density.min(axis=0)
    side = 2 * max(1, round(BUBBLE_RIM_UM / 2 / mpp)) + 1
    rise = cv2.morphologyEx(palest, cv2.MORPH_TOPHAT, np.ones((side, side), np.uint8))
    rim = (rise > BUBBLE_RIM_DENSITY) & (palest > BUBBLE_RIM_GREY * darkest)
    rim = _morphed(rim, cv2.MORPH_CLOSE, 2)
    bubbles = np.zeros_like(rim)
    large = without_small(filled(rim), area_px=LEAST_UM2 / mpp**2, connectivity=8)
    for piece in regionprops(label(large)):
        thin = rim[piece.slice][piece.image].mean() < 0.5
        if thin and piece.solidity > BUBBLE_SOLIDITY:
            bubbles[piece.slice] |= piece.image
    return np.asarray(bubbles, bool)


def _smooth(planes: Density, sigma_px: float) -> Density:
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma_px) for plane in planes])


def _mean_around(planes: Density, where: Mask, sigma_px: float) -> Density:
    """Mean of planes (c, y, x) around each pixel, of the pixels that count: on a coarser grid."""
    height, width = where.shape
    coarse = max(1, int(sigma_px / 4))
    size = (max(1, width // coarse), max(1, height // coarse))
    weight = _shrunk(where.astype(np.float32), size, sigma_px / coarse)
    totals = [_shrunk(plane * where, size, sigma_px / coarse) for plane in planes]
    out = np.empty_like(planes)
    for total, mean in zip(totals, out, strict=True):
        cv2.resize(total / np.maximum(weight, 1e-6), (width, height), dst=mean)
    return out


def _shrunk(plane: Density, size: tuple[int, int], sigma_px: float) -> Density:
    return np.asarray(_smooth(_means(plane, size)[None], sigma_px)[0], np.float32)


def _morphed(mask: Mask, how: int, radius_px: float) -> Mask:
    """A mask opened, closed or dilated by a disc; what lies outside the image does not count."""
    side = 2 * max(1, round(radius_px)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), how, disc), bool)
