"""Stage 1: cut the tissue of one slide into a sharded OME-NGFF image on one tile grid."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm import compute
from wsipsm.config import Stain, Tiling
from wsipsm.errors import DataError
from wsipsm.io import ngff
from wsipsm.io.product import Partial, Provenance, fingerprint, making, write_record
from wsipsm.io.pyramid import FACTOR, PyramidShard, create_levels, levels_intact
from wsipsm.io.slide import Slide, open_slide
from wsipsm.io.source import unreadable
from wsipsm.io.tiles import ARTEFACTS, WHITE
from wsipsm.tiling.artefacts import find_artefacts, focus, left_out
from wsipsm.tiling.overview import Overview, look
from wsipsm.tiling.tissue import mask_share
from wsipsm.types import Region, TileGrid

BLUR, UNREADABLE = SEEN_IN_TILES = ("artefacts/blur", "unreadable")


def tile(
    slide: Path,
    target: Path,
    *,
    settings: Tiling,
    name: str | None = None,
    slide_mpp: float | None = None,
    stain: Stain = "he",
    workers: int | None = None,
) -> None:
    """Write the tiles of a slide: image pyramid, tissue mask, tile index, overview.

    Parameters
    ----------
    slide, target
        The slide file; the product, a folder `tiles.zarr`.
    settings
        Working mpp, tile and shard size, what counts as tissue.
    name, slide_mpp, stain
        As in the slide sheet; `slide_mpp` wins over the file's own.

    Raises
    ------
    DataError
        The slide cannot be read, has no usable mpp, or shows no tissue.
    """
    name = name or slide.stem
    with open_slide(slide, mpp=slide_mpp) as source:
        facts = _facts(source, slide, name=name, stain=stain)
        inputs = {"slide": fingerprint(slide)}
        known = {**settings.model_dump(), "slide": facts}
        provenance = Provenance("tile", known, inputs)
        with making(target, provenance) as partial:
            grid = TileGrid(*source.size_at(settings.mpp), settings.tile_px, settings.shard_tiles)
            group = ngff.open_group(partial.path, "a")
            threads = workers or compute.fitting_workers()
            overview = look(source, settings, threads=threads)
            tissue = _write_index(group, overview, grid, settings)
            scores = {name: _scores(group, name, grid) for name in SEEN_IN_TILES}
            levels = create_levels(group, grid, fill=WHITE, codec=settings.codec)
            write = _WriteShard(
                slide=slide,
                slide_mpp=slide_mpp,
                fingerprint=inputs["slide"],
                mpp=settings.mpp,
                grid=grid,
                tissue=tissue,
                levels=levels,
                scores=scores,
                partial=partial,
            )
            with ThreadPoolExecutor(1) as beside:
                artefacts = beside.submit(_write_artefacts, group, overview, grid)
                _write_shards(write, threads)
                artefacts.result()
            lost = max(overview.unreadable_share, _judge(group, tissue, slide, settings))
            image = ngff.multiscales(
                name, axes="cyx", mpp=settings.mpp, levels=len(levels), factor=FACTOR
            )
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
            write_record(
                partial.path,
                provenance,
                slide=facts,
                mpp=settings.mpp,
                scale=settings.mpp / source.mpp,
                tile_px=settings.tile_px,
                shard_tiles=settings.shard_tiles,
                unreadable_share=lost,
            )
    _opened.cache_clear()


def _facts(source: Slide, path: Path, *, name: str, stain: Stain) -> dict[str, Any]:
    return {
        "slide": name,
        "stain": stain,
        "source": str(path),
        "mpp": source.mpp,
        "mpp_source": source.mpp_source,
        "width_px": source.width_px,
        "height_px": source.height_px,
        "bounds": list(source.bounds),
        "vendor": source.vendor,
        "objective": source.objective,
    }


def _write_index(
    group: zarr.Group, overview: Overview, grid: TileGrid, settings: Tiling
) -> NDArray[np.bool_]:
    """Write the overview and the share of tissue in each tile; returns the tiles with tissue."""
    share = mask_share(overview.tissue, grid)
    tissue = share >= max(settings.min_tissue_share, 1e-6)
    if not tissue.any():
        raise DataError(
            f"{overview.path}: no tissue found; check the slide, or lower tiling.min_tissue_share"
        )
    _put(group, "overview", overview.pixels)
    _put(group, "tissue_share", share)
    return tissue


def _write_artefacts(group: zarr.Group, overview: Overview, grid: TileGrid) -> None:
    """Write the masks of the overview, and the share of each artefact in each tile."""
    mpp, tissue = overview.mpp, overview.tissue
    found = find_artefacts(overview.density, overview.pen, mpp=mpp, tissue=tissue)
    _put_masks(group, {"tissue": tissue, **found}, mpp)
    for name, mask in found.items():
        _put(group, f"artefacts/{name}", mask_share(mask, grid))


def _write_shards(write: _WriteShard, threads: int) -> None:
    """Write all shards; one thread more than asked for, since one waits for the disk."""
    compute.run_each(
        write,
        write.todo(),
        workers=threads + 1,
        label="tile",
        cost=write.megapixels,
        unit="MP",
    )


def _put_masks(group: zarr.Group, masks: dict[str, NDArray[np.bool_]], mpp: float) -> None:
    labels = group.require_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": list(masks)}
    for name, mask in masks.items():
        label = labels.require_group(name)
        _put(label, "0", mask.astype(np.uint8))
        scales = ngff.multiscales(name, axes="yx", mpp=mpp, levels=1)
        label.attrs["ome"] = {"version": "0.5", "multiscales": [scales], "image-label": {}}


def _scores(group: zarr.Group, name: str, grid: TileGrid) -> zarr.Array[Any]:
    """Array float32 (rows, cols) whose chunks belong to the writers of shards."""
    side = grid.shard_tiles
    return group.require_array(
        name,
        shape=(grid.rows, grid.cols),
        chunks=(side, side),
        dtype="float32",
        dimension_names=("y", "x"),
    )


def _judge(group: zarr.Group, tissue: NDArray[np.bool_], slide: Path, settings: Tiling) -> float:
    """Write which tiles are kept and which are left out; returns the share that was unreadable."""
    lost = float(np.asarray(group["unreadable"])[tissue].mean())
    if lost > settings.max_unreadable_share:
        raise unreadable(slide, "damaged or missing pixels", share=lost)
    scores = {name: np.asarray(group[f"artefacts/{name}"]) for name in ARTEFACTS}
    spoilt = left_out(
        scores,
        exclude=settings.exclude,
        max_share=settings.max_artefact_share,
        min_focus=settings.min_focus,
    )
    if spoilt[tissue].all():
        worst = max(settings.exclude, key=lambda name: float(scores[name][tissue].mean()))
        raise DataError(
            f"{slide}: no tile without artefacts, most of all {worst}; look at the slide, "
            f"or take {worst} out of tiling.exclude"
        )
    _put(group, "kept", (tissue & ~spoilt).astype(np.uint8))
    _put(group, "excluded", (tissue & spoilt).astype(np.uint8))
    return lost


def _put(group: zarr.Group, name: str, data: NDArray[Any]) -> None:
    axes = ("c", "y", "x")[-data.ndim :]
    group.create_array(name, data=data, dimension_names=axes, overwrite=True)


@functools.lru_cache(maxsize=1)
def _opened(slide: Path, mpp: float | None, _fingerprint: str) -> Slide:
    """Keep a slide open, until its content changes, between the shards that one process writes."""
    return open_slide(slide, mpp=mpp)


@dataclass(frozen=True, kw_only=True)
class _WriteShard:
    """Writes one shard of every level; runs on a worker."""

    slide: Path
    slide_mpp: float | None
    fingerprint: str
    mpp: float
    grid: TileGrid
    tissue: NDArray[np.bool_]
    levels: list[zarr.Array[Any]]
    scores: dict[str, zarr.Array[Any]]
    partial: Partial

    @functools.cached_property
    def written(self) -> NDArray[np.bool_]:
        """Tiles with tissue and those beside them, so that a halo shows what is there."""
        return np.asarray(ndimage.binary_dilation(self.tissue, np.ones((3, 3), bool)))

    def todo(self) -> list[tuple[int, int]]:
        """Shards that hold a tile to write and are not on disk yet."""
        return [
            shard
            for shard in self.grid.shards()
            if any(self.written[tile] for tile in self.grid.tiles_of_shard(*shard))
            and not self.partial.done(*shard, intact=functools.partial(self._intact, shard))
        ]

    def _intact(self, shard: tuple[int, int]) -> bool:
        """Whether what a killed run wrote of a shard can be read."""
        region, side = self.grid.shard(*shard), self.grid.shard_tiles
        block = Region(shard[0] * side, shard[1] * side, side, side)
        return levels_intact(self.levels, region) and all(
            ngff.intact(array, block) for array in self.scores.values()
        )

    def megapixels(self, shard: tuple[int, int]) -> float:
        """Size of a shard, millions of pixels."""
        region = self.grid.shard(*shard)
        return region.height * region.width / 1e6

    def __call__(self, shard: tuple[int, int]) -> None:
        source = _opened(self.slide, self.slide_mpp, self.fingerprint)
        pyramid = PyramidShard(self.levels, self.grid, shard)
        side = self.grid.shard_tiles
        block = tuple(slice(at * side, (at + 1) * side) for at in shard)
        blur, lost = (np.zeros_like(self.tissue[block], np.float32) for _ in range(2))
        for row, col in self.grid.tiles_of_shard(*shard):
            if not self.written[row, col]:
                continue
            tile = self.grid.tile(row, col)
            pixels = source.read(tile, mpp=self.mpp)
            pyramid.put(tile, pixels)
            if self.tissue[row, col]:
                blur[row % side, col % side] = 1 - focus(pixels, mpp=self.mpp)
                lost[row % side, col % side] = source.unreadable_share(tile, mpp=self.mpp)
        pyramid.write()
        self.scores[BLUR][block] = blur
        self.scores[UNREADABLE][block] = lost
        self.partial.finish(*shard)
