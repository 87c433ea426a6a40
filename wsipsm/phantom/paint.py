"""A region of a scene in colour: densities of stain, light through them, lens and sensor."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.phantom.artefacts import BLUR_UM, air, blur, ink, layers
from wsipsm.phantom.noise import grain
from wsipsm.phantom.nuclei import nuclei_near, painted_um
from wsipsm.phantom.scene import INKS, Scene, look
from wsipsm.phantom.shape import depth, reach
from wsipsm.phantom.structures import (
    blocks_near,
    fat_cells,
    fat_depth,
    glands,
    red_cells,
)
from wsipsm.types import Region

Image = NDArray[np.float32]

_BLUR_UM = 0.28
_GRAIN = 5.0
_STEPS = 2048
_FIBRE_STEP_UM = 0.2


def paint(scene: Scene, region: Region) -> NDArray[np.uint8]:
    """Pixels uint8 (height, width, 3) of a region; the same whatever is painted around it."""
    out_of_focus = blur(scene, region)
    halo = int(3 * (_BLUR_UM if out_of_focus is None else BLUR_UM) / scene.mpp + 0.5)
    light = _light(scene, region.grown(halo))
    inner = (slice(None), slice(halo, halo + region.height), slice(halo, halo + region.width))
    soft = _softened(light, _BLUR_UM / scene.mpp)[inner]
    out = light[inner] + (soft - light[inner]) * (0.7 + 0.3 * scene.field("focus", region))
    if out_of_focus is not None:
        out += (_softened(light, BLUR_UM / scene.mpp)[inner] - out) * out_of_focus
    out += np.float32(_GRAIN) * grain(scene.seed + 9, region)
    np.clip(out + np.float32(0.5), 0, 255, out=out)
    return np.ascontiguousarray(out.astype(np.uint8).transpose(1, 2, 0))


def _softened(light: Image, sigma_px: float) -> Image:
    return np.asarray(ndimage.gaussian_filter(light, (0, sigma_px, sigma_px), truncate=3))


def _light(scene: Scene, region: Region) -> Image:
    """Intensity float32 (3, y, x) behind the slide (Beer-Lambert law)."""
    here = look(scene)
    density = _densities(scene, region)
    marks = ink(scene, region)
    bubble = air(scene, region)
    out = np.empty((3, region.height, region.width), np.float32)
    for channel in range(3):
        strength = here.vectors[:, channel] * here.strength
        total = density[0] * np.float32(strength[0])
        total += density[1] * np.float32(strength[1])
        if marks is not None:
            total += marks * np.float32(INKS[here.ink][channel])
        if bubble is not None:
            total += bubble
        total *= np.float32(_STEPS)
        np.clip(total, 0, 3 * _STEPS - 1, out=total)
        table = (here.white[channel] * _transmission()).astype(np.float32)
        out[channel] = table[total.astype(np.int32)]
    return out


@functools.cache
def _transmission() -> NDArray[np.float64]:
    return np.asarray(10.0 ** (-np.arange(3 * _STEPS) / _STEPS))


def _densities(scene: Scene, region: Region) -> Image:
    """Density of haematoxylin and of eosin or DAB, float32 (2, y, x)."""
    inside = scene.tissue(region)
    if inside.max() <= 0:
        return np.zeros((2, region.height, region.width), np.float32)
    chromatic, protein = _ground(scene, region)
    _paint_red_cells(scene, region, chromatic, protein)
    _paint_fat(scene, region, chromatic, protein)
    _paint_glands(scene, region, chromatic, protein)
    inside *= np.float32(scene.size_px * 0.15 / scene.px(1.0))
    np.clip(inside, 0, 1, out=inside)
    inside *= 1 - _clefts(scene, region)
    chromatic *= inside
    protein *= inside
    density = _stained(scene, chromatic, protein)
    _paint_nuclei(scene, region, density)
    density *= 1 + np.float32(0.22) * scene.field("thickness", region)
    folded = layers(scene, region)
    return density if folded is None else density * folded


def _stained(scene: Scene, chromatic: Image, protein: Image) -> Image:
    """Take up of the two stains by what is basophilic and by protein."""
    if scene.stain == "he":
        return np.stack([chromatic, protein])
    return np.stack([0.5 * chromatic + 0.12 * protein, 0.05 * chromatic + 0.2 * protein])


def _ground(scene: Scene, region: Region) -> tuple[Image, Image]:
    """Stroma with its fibres, and sheets of cells: what is basophilic, and protein."""
    sheet = np.clip(scene.field("sheet", region) * np.float32(12) + np.float32(0.5), 0, 1)
    mottle = scene.field("mottle", region)
    fibre = _fibres(scene, region)
    fibre *= 1 + np.float32(0.7) * mottle
    protein = np.float32(0.11) + np.float32(0.21) * fibre
    chromatic = np.float32(0.07) + np.float32(0.21) * fibre
    protein += sheet * (np.float32(0.15) + np.float32(0.09) * mottle - protein)
    chromatic += sheet * (np.float32(0.21) + np.float32(0.26) * mottle - chromatic)
    return chromatic, protein


def _fibres(scene: Scene, region: Region) -> Image:
    """Wavy bundles, float32 (y, x) in [0, 1]: a profile across the fibres, bent by noise."""
    angle = look(scene).fibre_angle
    y = (np.arange(region.y, region.y + region.height) + 0.5) * (scene.mpp * np.sin(angle))
    x = (np.arange(region.x, region.x + region.width) + 0.5) * (scene.mpp * np.cos(angle))
    phase = scene.field("weave", region)
    phase *= np.float32(60)
    phase += (y[:, None] + x[None, :]).astype(np.float32)
    phase *= np.float32(1 / _FIBRE_STEP_UM)
    profile = _profile(scene.seed)
    return np.asarray(profile[phase.astype(np.int32) & (len(profile) - 1)])


@functools.lru_cache(maxsize=16)
def _profile(seed: int) -> Image:
    rng = np.random.default_rng([seed, 6])
    coarse, fine = (
        ndimage.gaussian_filter1d(rng.normal(0, 1, 8192), width, mode="wrap")
        for width in (12.0, 2.2)
    )
    total = coarse / coarse.std() + fine / fine.std()
    return np.asarray(np.clip(0.45 + 0.27 * total, 0, 1), np.float32)


def _clefts(scene: Scene, region: Region) -> Image:
    thin = (np.float32(0.04) - np.abs(scene.field("cleft", region))) * np.float32(40)
    np.minimum(thin, scene.field("torn", region) * np.float32(10), out=thin)
    return np.asarray(np.clip(thin, 0, 0.95))


def _paint_red_cells(scene: Scene, region: Region, chromatic: Image, protein: Image) -> None:
    for block in blocks_near(scene, region, margin_um=60):
        for y, x, radius in red_cells(scene, *block):
            found = _tile(scene, region, (y, x), radius + 1)
            if found is None:
                continue
            where, rows, cols = found
            out = np.sqrt(((rows - y) ** 2 + (cols - x) ** 2).astype(np.float32))
            solid = np.clip((np.float32(radius) - out) * 2, 0, 1)
            hollow = np.float32(0.42) - np.float32(0.12) * np.clip(1.4 - out, 0, 1)
            protein[where] += solid * (hollow - protein[where])
            chromatic[where] += solid * (np.float32(0.05) - chromatic[where])


def _paint_fat(scene: Scene, region: Region, chromatic: Image, protein: Image) -> None:
    for centre, neighbours in fat_cells(scene, region):
        found = _tile(scene, region, (centre[0], centre[1]), 22)
        if found is None:
            continue
        where, rows, cols = found
        empty = 1 - np.clip(fat_depth(centre, neighbours, rows, cols) + np.float32(0.3), 0, 1)
        chromatic[where] *= empty
        protein[where] *= empty


def _paint_glands(scene: Scene, region: Region, chromatic: Image, protein: Image) -> None:
    for block in blocks_near(scene, region, margin_um=90):
        for gland in glands(scene, *block):
            found = _tile(scene, region, (gland["y"], gland["x"]), float(reach(gland)) + 4)
            if found is None:
                continue
            where, rows, cols = found
            here = Region(
                region.y + where[0].start, region.x + where[1].start, len(rows), cols.shape[1]
            )
            mottle = scene.field("mottle", here)
            out = depth(gland, rows, cols)[0] + np.float32(0.03) * mottle
            grainy = 1 + np.float32(0.5) * mottle * (out < 1)
            _paint_gland(gland, out, chromatic[where], protein[where])
            chromatic[where] *= grainy
            protein[where] *= grainy


def _paint_gland(gland: np.void, out: Image, chromatic: Image, protein: Image) -> None:
    """Membrane, epithelium and lumen of one gland, over what was there."""
    size = np.float32(gland["short"])
    cover = np.clip((np.float32(1.03) - out) * size, 0, 1)
    apical = np.clip((1 - out) / np.float32(1 - gland["lumen"]), 0, 1)
    membrane = np.clip(1 - np.abs(out - np.float32(1.03)) * size, 0, 1)
    chromatic += cover * (np.float32(0.2) - np.float32(0.07) * apical - chromatic)
    protein += cover * (np.float32(0.15) + np.float32(0.03) * apical - protein)
    protein += np.float32(0.12) * membrane
    lumen = np.clip((np.float32(gland["lumen"]) - out) * size / 2, 0, 1)
    content = np.clip((np.float32(gland["lumen"] * 0.8) - out) * size / 2, 0, 1)
    chromatic *= 1 - lumen
    protein *= 1 - lumen
    protein += content * np.float32(0.13 * gland["secretion"])


def _paint_nuclei(scene: Scene, region: Region, density: Image) -> None:
    found = nuclei_near(scene, region)
    if not len(found):
        return
    chromatin = scene.field("chromatin", region)
    for nucleus, radius_um in zip(found, painted_um(found), strict=True):
        tile = _tile(scene, region, (nucleus["y"], nucleus["x"]), radius_um)
        if tile is not None:
            where, rows, cols = tile
            _paint_nucleus(nucleus, depth(nucleus, rows, cols), chromatin[where], density, where)


def _paint_nucleus(
    nucleus: np.void,
    place: tuple[Image, Image, Image],
    chromatin: Image,
    density: Image,
    where: tuple[slice, slice],
) -> None:
    """Add one nucleus to the densities, and its halo in the cytoplasm around it."""
    out, along, aside = place
    cover = (1 - out) * np.float32(nucleus["short"] / nucleus["soft_um"]) + np.float32(0.5)
    np.clip(cover, 0, 1, out=cover)
    square = out * out
    inner = 1 + nucleus["texture"] * chromatin * np.float32(1.6)
    inner += nucleus["rim"] * (square * square - np.float32(0.33))
    strength, at_along, at_aside = nucleus["spot"]
    if strength:
        near = (along - at_along) ** 2 + (aside - at_aside) ** 2
        inner += strength * np.clip(np.float32(2.2) - near * np.float32(30), 0, 1.5)
    np.maximum(inner, np.float32(0.15), out=inner)
    inner *= cover
    ring = np.clip(np.float32(2.4) - np.float32(1.4) * out, 0, 1) * (1 - cover)
    density[(slice(None), *where)] *= 1 + nucleus["halo"] * ring
    density[(0, *where)] += nucleus["density"] * inner
    if nucleus["dab"]:
        density[(1, *where)] += nucleus["dab"] * inner


def _tile(
    scene: Scene, region: Region, centre_um: tuple[float, float], radius_um: float
) -> tuple[tuple[slice, slice], NDArray[Any], NDArray[Any]] | None:
    """Where a circle meets a region: index, and pixel centres (n, 1) and (1, m) in microns."""
    low = [int(np.floor((at - radius_um) / scene.mpp)) for at in centre_um]
    high = [int(np.ceil((at + radius_um) / scene.mpp)) for at in centre_um]
    top, left = max(low[0], region.y), max(low[1], region.x)
    bottom = min(high[0], region.y + region.height)
    right = min(high[1], region.x + region.width)
    if top >= bottom or left >= right:
        return None
    where = (
        slice(top - region.y, bottom - region.y),
        slice(left - region.x, right - region.x),
    )
    rows = (np.arange(top, bottom) + 0.5) * scene.mpp
    cols = (np.arange(left, right) + 0.5) * scene.mpp
    return where, rows[:, None], cols[None, :]
