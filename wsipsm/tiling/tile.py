"""Stage 1: cut the tissue of one slide into a sharded OME-NGFF image on one tile grid."""

from __future__ import annotations

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
from wsipsm.io.slide import Slide, open_slide
from wsipsm.io.tiles import WHITE
from wsipsm.tiling.tissue import tissue_mask, tissue_share
from wsipsm.types import Region, TileGrid

OVERVIEW_PX, OVERVIEW_MPP = 2048, 2.0
SMALLEST_SHARD_PX = 64


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
            group = zarr.open_group(str(partial.path), mode="a", zarr_format=3)
            written = _write_index(group, source, grid, settings)
            levels = _create_levels(group, grid)
            write = _WriteShard(slide, slide_mpp, settings.mpp, grid, written, levels, partial)
            compute.run_each(write, write.todo(), workers=workers, label="tile")
            image = ngff.multiscales(name, axes="cyx", mpp=settings.mpp, levels=len(levels))
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
            write_record(
                partial.path,
                provenance,
                slide=facts,
                mpp=settings.mpp,
                scale=settings.mpp / source.mpp,
                tile_px=settings.tile_px,
                shard_tiles=settings.shard_tiles,
            )


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
    group: zarr.Group, source: Slide, grid: TileGrid, settings: Tiling
) -> NDArray[np.bool_]:
    """Write overview, tissue mask and tile index; returns the tiles to write, (rows, cols)."""
    longest_um = max(source.height_px, source.width_px) * source.mpp
    mpp = max(OVERVIEW_MPP, longest_um / OVERVIEW_PX)
    height, width = source.size_at(mpp)
    overview = source.read(Region(0, 0, height, width), mpp=mpp)
    mask = tissue_mask(overview, mpp=mpp, min_area_um2=settings.min_tissue_um2)
    share = tissue_share(mask, grid)
    kept = share >= max(settings.min_tissue_share, 1e-6)
    if not kept.any():
        raise DataError(
            f"{source.path}: no tissue found; check the slide, or lower tiling.min_tissue_share"
        )
    _put(group, "overview", overview)
    _put(group, "tissue_share", share)
    _put(group, "kept", kept.astype(np.uint8))
    labels = group.require_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["tissue"]}
    tissue = labels.require_group("tissue")
    _put(tissue, "0", mask.astype(np.uint8))
    scales = ngff.multiscales("tissue", axes="yx", mpp=mpp, levels=1)
    tissue.attrs["ome"] = {"version": "0.5", "multiscales": [scales], "image-label": {}}
    # tiles beside tissue are written too, so that a halo shows what is there
    return np.asarray(ndimage.binary_dilation(kept, np.ones((3, 3), bool)))


def _put(group: zarr.Group, name: str, data: NDArray[Any]) -> None:
    axes = ("c", "y", "x")[-data.ndim :]
    group.create_array(name, data=data, dimension_names=axes, overwrite=True)


def _pyramid_levels(grid: TileGrid) -> int:
    """Levels whose shards are halves of halves of the image's, down to a screenful."""
    levels = 1
    while (
        max(grid.height_px, grid.width_px) >> (levels - 1) > grid.tile_px
        and grid.shard_px >> levels >= SMALLEST_SHARD_PX
    ):
        levels += 1
    return levels


def _create_levels(group: zarr.Group, grid: TileGrid) -> list[zarr.Array[Any]]:
    levels = []
    for level in range(_pyramid_levels(grid)):
        shape = (3, -(-grid.height_px // 2**level), -(-grid.width_px // 2**level))
        shard_px = grid.shard_px >> level
        levels.append(
            ngff.create_array(
                group,
                str(level),
                shape=shape,
                chunk_px=min(grid.tile_px, shard_px),
                shard_px=shard_px,
                dtype="uint8",
                fill=WHITE,
            )
        )
    return levels


@dataclass(frozen=True)
class _WriteShard:
    """Writes one shard of every level; runs on a worker."""

    slide: Path
    slide_mpp: float | None
    mpp: float
    grid: TileGrid
    written: NDArray[np.bool_]
    levels: list[zarr.Array[Any]]
    partial: Partial

    def todo(self) -> list[tuple[int, int]]:
        """Shards that hold a tile to write and are not on disk yet."""
        return [
            shard
            for shard in self.grid.shards()
            if any(self.written[tile] for tile in self.grid.tiles_of_shard(*shard))
            and not self.partial.done(*shard)
        ]

    def __call__(self, shard: tuple[int, int]) -> None:
        region = self.grid.shard(*shard)
        with open_slide(self.slide, mpp=self.slide_mpp) as source:
            pixels = source.read(region, mpp=self.mpp)
        for tile in self.grid.tiles_of_shard(*shard):
            if not self.written[tile]:
                where = self.grid.tile(*tile).within(region)
                pixels[(slice(None), *where.slices)] = WHITE
        for level, array in enumerate(self.levels):
            ngff.write_shard(array, region.scaled_down(2**level), pixels)
            pixels = ngff.halve(pixels)
        self.partial.finish(*shard)
