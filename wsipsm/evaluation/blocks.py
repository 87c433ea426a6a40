"""What one worker does: fit the plain controls to a slide, and count one shard of it."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsipsm import compute
from wsipsm.config import Control
from wsipsm.evaluation import controls
from wsipsm.evaluation.contingency import Counts, count
from wsipsm.evaluation.truth import Truth, open_truth
from wsipsm.io.parquet import polygons_of
from wsipsm.io.product import read_record
from wsipsm.io.raster import fill_polygons
from wsipsm.io.tiles import WHITE, Tiles, open_tiles
from wsipsm.models.encoder import (
    Encoder,
    activation_maps,
    channel_weights,
    map_stride,
    untrained_like,
)
from wsipsm.models.input import to_input
from wsipsm.types import Region, TileGrid

HALO_UM = 16.0
SAMPLE_TILES, SAMPLE_PIXELS = 8, 40_000
MAP_LAYERS, MAP_HALO_PX = ("layer1",), 32
MAP_STRIDE = map_stride(MAP_LAYERS)
CELLS = "cells"

_BUILDING = threading.Lock()
"""Random weights come from torch's one generator, which threads share."""


@dataclass(frozen=True)
class Source:
    """Where a worker finds one slide, and the plain methods to try on it."""

    tiles: Path
    cells: Path
    truth: Path
    encoder: Path
    controls: tuple[Control, ...]
    seed: int


@dataclass(frozen=True)
class Fits:
    """What the controls learned from a sample of a slide's tissue; None where not asked for.

    `weights` are the channel weights of each block of the untrained network, (1, c).
    """

    otsu: float | None = None
    centres: NDArray[np.float32] | None = None
    weights: list[Tensor] | None = None
    maps: controls.MapRange | None = None


@dataclass(frozen=True)
class Block:
    """Counts of one shard by each method, and the classes of its cells."""

    counts: dict[str, Counts]
    classes: list[str]


def fit(source: Source) -> Fits:
    """Fit the controls to a seeded sample of the pixels of tissue tiles."""
    slide = open_tiles(source.tiles)
    generator = np.random.default_rng(source.seed)
    kept = slide.kept_tiles()
    picks = np.sort(generator.permutation(len(kept))[:SAMPLE_TILES])
    regions = [slide.grid.tile(*kept[pick]) for pick in picks]
    wanted = source.controls
    # gradients are dear: every second tile must do for them
    weights = _weights(source, slide, regions[::2]) if "untrained_psm" in wanted else None
    parts = [_sample(source, slide, region, weights, generator) for region in regions]
    pixels, density, maps = (np.concatenate(part) for part in zip(*parts, strict=True))
    centres = None
    if "rgb_kmeans" in wanted:
        centres = controls.rgb_clusters(pixels, density, seed=source.seed)
    return Fits(
        otsu=controls.otsu(density) if "stain_otsu" in wanted else None,
        centres=centres,
        weights=weights,
        maps=controls.fit_maps(maps.T, density) if weights else None,
    )


def _weights(source: Source, slide: Tiles, regions: list[Region]) -> list[Tensor]:
    """Mean channel weights over sample tiles, each tile's turned so that nuclei are bright."""
    network = _network(source)
    side = slide.grid.tile_px
    total: list[Tensor] = []
    for region in regions:
        image = slide.read(Region(region.y, region.x, side, side))
        density = controls.plain_density(image, slide.stain, mpp=slide.mpp)
        inputs = _input(network, image)
        own = channel_weights(network, inputs, layers=MAP_LAYERS)
        maps = activation_maps(network, inputs, layers=MAP_LAYERS, weights=own)[0].cpu().numpy()
        coarse = density[::MAP_STRIDE, ::MAP_STRIDE].ravel()
        signs = controls.signs_of(maps.reshape(len(maps), -1), coarse)
        turned = [weight * float(sign) for weight, sign in zip(own, signs, strict=True)]
        total = [a + b for a, b in zip(total, turned, strict=True)] if total else turned
    return [weight.cpu() / len(regions) for weight in total]


def _sample(
    source: Source,
    slide: Tiles,
    region: Region,
    weights: list[Tensor] | None,
    generator: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """RGB (n, 3), density (n,) and raw maps (n, blocks) of tissue pixels of one tile."""
    image = slide.read(region)
    density = controls.plain_density(image, slide.stain, mpp=slide.mpp)
    # only pixels that are the centre of one of the coarser maps' pixels
    rows, cols = np.nonzero(_tissue(slide, region)[::MAP_STRIDE, ::MAP_STRIDE])
    pick = generator.permutation(len(rows))[: SAMPLE_PIXELS // SAMPLE_TILES]
    rows, cols = rows[pick], cols[pick]
    maps = np.zeros((len(rows), 0), np.float32)
    if weights:
        maps = _raw_maps(_network(source), weights, slide, region)[:, rows, cols].T
    fine = rows * MAP_STRIDE, cols * MAP_STRIDE
    return image[:, *fine].T, density[fine], maps


def _tissue(slide: Tiles, region: Region) -> NDArray[np.bool_]:
    """Tissue mask of a region, at the working resolution; all of it where there is none."""
    mask = slide.tissue()
    rows = np.arange(region.y, region.y + region.height) * mask.shape[0] // slide.grid.height_px
    cols = np.arange(region.x, region.x + region.width) * mask.shape[1] // slide.grid.width_px
    part = mask[np.ix_(rows, cols)]
    return part if part[::MAP_STRIDE, ::MAP_STRIDE].any() else np.ones_like(part)


def count_shard(shard: tuple[int, int], *, source: Source, fits: Fits) -> Block:
    """Count the cells and every control of one shard against its truth."""
    slide, truth = open_source(source)
    core = slide.grid.shard(*shard)
    cells, classes = _count_cells(source, slide, truth, core)
    counts = {CELLS: cells}
    halo_px = 16 * math.ceil(HALO_UM / (16 * slide.mpp))
    region = _clipped(core.grown(halo_px), slide.grid)
    if slide.kept_tiles_of(shard):
        true = truth.read(region)
        for control, mask in _masks(source, fits, slide, region):
            found = controls.split(mask, mpp=slide.mpp)
            counts[control] = count(true, found, region=region, core=core)
    else:
        nothing = np.zeros((core.height, core.width), np.int32)
        empty = count(truth.read(core), nothing, region=core, core=core)
        counts |= dict.fromkeys(source.controls, empty)
    return Block(counts, classes)


@functools.lru_cache(maxsize=1)
def open_source(source: Source) -> tuple[Tiles, Truth]:
    """Tiles and truth of the slide that is being scored, kept from block to block."""
    slide = open_tiles(source.tiles)
    return slide, open_truth(source.truth, slide)


def _count_cells(
    source: Source, slide: Tiles, truth: Truth, core: Region
) -> tuple[Counts, list[str]]:
    """Counts and classes of the cells whose centroid lies in the core."""
    halo_px = round(HALO_UM / slide.mpp)
    table = _cells_near(source.cells, core.grown(halo_px), slide.scale)
    polygons = polygons_of(table)
    x, y = (table[f"centroid_{axis}"].to_numpy() / slide.scale for axis in "xy")
    rows = (y >= core.y) & (y < _end(core.y, core.height, slide.grid.height_px))
    owned = rows & (x >= core.x) & (x < _end(core.x, core.width, slide.grid.width_px))
    region = _clipped(_covering(polygons[owned], core, slide.scale), slide.grid)
    ids = np.arange(1, len(polygons) + 1)
    found = fill_polygons(polygons, ids, region, scale=slide.scale)
    counts = count(truth.read(region), found, region=region, core=core, owned=owned)
    # a cell that others hide still counts as found, at its own centroid
    hidden = counts.found_area == 0
    counts = replace(
        counts,
        found_y=np.where(hidden, y[owned] - 0.5, counts.found_y),
        found_x=np.where(hidden, x[owned] - 0.5, counts.found_x),
    )
    classes = table["class"].filter(pa.array(owned)).to_pylist()
    return counts, [name or "" for name in classes]


def _cells_near(cells: Path, region: Region, scale: float) -> pa.Table:
    """Cells whose centroid lies in a region, in the order of the file."""
    x, y = pc.field("centroid_x"), pc.field("centroid_y")
    near = (x >= region.x * scale) & (x < (region.x + region.width) * scale)
    near &= (y >= region.y * scale) & (y < (region.y + region.height) * scale)
    columns = ["geometry", "centroid_x", "centroid_y", "class"]
    return pq.read_table(cells, columns=columns, filters=near)


def _end(start: int, length: int, size: int) -> float:
    """End of a core; at the border of the grid it takes what lies beyond by a fraction."""
    return start + length if start + length < size else math.inf


def _covering(polygons: NDArray[np.object_], core: Region, scale: float) -> Region:
    """The core, enlarged until it holds every polygon."""
    if not len(polygons):
        return core
    left, top, right, bottom = shapely.total_bounds(polygons) / scale
    y, x = min(core.y, math.floor(top)), min(core.x, math.floor(left))
    end_y, end_x = core.y + core.height, core.x + core.width
    return Region(y, x, max(end_y, math.ceil(bottom)) - y, max(end_x, math.ceil(right)) - x)


def _clipped(region: Region, grid: TileGrid) -> Region:
    y, x = max(region.y, 0), max(region.x, 0)
    bottom = min(region.y + region.height, grid.height_px)
    right = min(region.x + region.width, grid.width_px)
    return Region(y, x, bottom - y, right - x)


def _masks(
    source: Source, fits: Fits, slide: Tiles, region: Region
) -> Iterator[tuple[Control, NDArray[np.bool_]]]:
    """Foreground of a region by each control."""
    image = slide.read(region)
    if fits.otsu is not None:
        density = controls.plain_density(image, slide.stain, mpp=slide.mpp)
        yield "stain_otsu", density > fits.otsu
    if fits.centres is not None:
        yield "rgb_kmeans", controls.nearest_first(image, fits.centres)
    if fits.maps is not None and fits.weights is not None:
        raw = _raw_maps(_network(source), fits.weights, slide, region)
        fine = controls.enlarge(fits.maps.apply(raw), MAP_STRIDE)
        yield "untrained_psm", fine[: region.height, : region.width] > fits.maps.threshold


def _network(source: Source) -> Encoder:
    with _BUILDING:
        return _build(source.encoder, source.seed)


@functools.lru_cache(maxsize=1)
def _build(encoder: Path, seed: int) -> Encoder:
    """The untrained network, kept from block to block."""
    return untrained_like(read_record(encoder), seed=seed).to(compute.device())


def _input(network: Encoder, image: NDArray[np.uint8]) -> Tensor:
    device = next(network.parameters()).device
    return to_input(image[None]).to(device, memory_format=torch.channels_last)


def _raw_maps(
    network: Encoder, weights: list[Tensor], slide: Tiles, region: Region
) -> NDArray[np.float32]:
    """Raw maps (blocks, y / 4, x / 4) of a region, piece by piece; NaN where all is white."""
    shape = (-(-region.height // MAP_STRIDE), -(-region.width // MAP_STRIDE))
    out = np.full((len(weights), *shape), np.nan, np.float32)
    halo = MAP_HALO_PX // MAP_STRIDE
    for piece in _pieces(region, slide.grid.tile_px):
        image = slide.read(piece.grown(MAP_HALO_PX))
        if image.min() == WHITE:
            continue
        inputs = _input(network, image)
        own = [weight.to(inputs.device) for weight in weights]
        maps = activation_maps(network, inputs, layers=MAP_LAYERS, weights=own)[0].cpu().numpy()
        y, x = (piece.y - region.y) // MAP_STRIDE, (piece.x - region.x) // MAP_STRIDE
        room = out[:, y : y + piece.height // MAP_STRIDE, x : x + piece.width // MAP_STRIDE]
        room[:] = maps[:, halo : halo + room.shape[1], halo : halo + room.shape[2]]
    return out


def _pieces(region: Region, side: int) -> Iterator[Region]:
    """Pieces of about `side` that cover a region, in steps that the network can take."""
    height, width = (
        32 * math.ceil(size / max(1, round(size / side)) / 32)
        for size in (region.height, region.width)
    )
    for y in range(region.y, region.y + region.height, height):
        for x in range(region.x, region.x + region.width, width):
            yield Region(y, x, height, width)
