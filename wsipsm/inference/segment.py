"""Stage 6: segment every tissue tile of one slide into parts of a cell table."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm import compute
from wsipsm.batches import Batches, Spent
from wsipsm.config import Inference
from wsipsm.inference.looks import Looks, OnOwnScale, look_at
from wsipsm.inference.maps import create_maps
from wsipsm.inference.measure import measure
from wsipsm.inference.outlines import outlines
from wsipsm.io.parquet import TILE_CELL_SCHEMA, intact, part_of, write_cells
from wsipsm.io.product import Partial, Provenance, identity, making, read_record, write_record
from wsipsm.io.pyramid import PyramidShard, levels_intact
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.models.segmenter import Asking, Segmented, Segmenter, load_segmenter
from wsipsm.models.stain import stain_density
from wsipsm.types import Region

HALO_MULTIPLE = 16

_Read = tuple[NDArray[np.uint8], list[Region]]


def segment(
    tiles: Path,
    model: Path,
    target: Path,
    *,
    settings: Inference,
    asking: Asking | None = None,
    workers: int | None = None,
) -> None:
    """Write the cells that reach into each tissue tile, one part for each shard of tiles.

    A tile is read with its halo, and tells of every cell that has a pixel in the tile:
    `owned` says whether the cell's centroid lies in it, `cut` whether the halo was too small
    to see all of the cell. Stage 7 gives each cell one owner.
    The network's maps of the tiles, without their halo, become `maps.zarr` where they are asked
    for.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    SettingsError
        The weights are absent or damaged, or the model has no maps that are asked for.
    """
    slide = open_tiles(tiles)
    load = _Load(model, settings, slide.mpp, asking)
    segmenter, trained = load()
    provenance = _provenance(slide, trained, settings, asking)
    with making(target, provenance) as partial:
        partial.path.mkdir(exist_ok=True)
        levels = create_maps(partial.path, slide, trained["classes"]) if settings.maps else ()
        looks = look_at(slide, segmenter, partial.path.parent)
        write = _WriteShard(slide, load, settings, partial, levels, looks)
        shards = [
            shard
            for shard in slide.kept_shards()
            if not partial.done(*shard, intact=functools.partial(write.intact, shard))
        ]
        spent = compute.run_each(write, shards, workers=workers, label="segment")
        compute.say_busy("segment", spent)
        record = read_record(tiles)
        write_record(
            partial.path,
            provenance,
            model=trained["model"],
            classes=trained["classes"],
            tile_px=slide.grid.tile_px,
            shard_tiles=slide.grid.shard_tiles,
            halo_px=_halo_px(settings, slide.mpp),
            **{name: record[name] for name in ("slide", "mpp", "scale")},
        )


def _provenance(
    slide: Tiles, trained: dict[str, Any], settings: Inference, asking: Asking | None
) -> Provenance:
    inputs = {"tiles": slide.id, "model": trained["provenance"]["id"]}
    known = settings.model_dump()
    if asking and trained["model"] == "sam_lora":
        known |= {f"prompting_{name}": value for name, value in asking.settings}
        if asking.source:
            inputs["prompts"] = identity(asking.source)
    return Provenance("segment", known, inputs)


@dataclass(frozen=True)
class _Load:
    """Loads the model; each worker does it for itself."""

    model: Path
    settings: Inference
    mpp: float
    asking: Asking | None

    def __call__(self) -> tuple[Segmenter, dict[str, Any]]:
        return load_segmenter(
            self.model,
            settings=self.settings,
            mpp=self.mpp,
            device=compute.device(),
            asking=self.asking,
        )


@dataclass(frozen=True)
class _WriteShard:
    """Segments one shard; runs on a worker, which loads the model for itself."""

    slide: Tiles
    load: _Load
    settings: Inference
    partial: Partial
    maps: tuple[zarr.Array[Any], ...]
    looks: Looks

    def intact(self, shard: tuple[int, int]) -> bool:
        """Whether what a killed run wrote of a shard can be read."""
        return intact(part_of(self.partial.path, shard)) and levels_intact(
            self.maps, self.slide.grid.shard(*shard)
        )

    def __call__(self, shard: tuple[int, int]) -> Spent:
        segmenter, record = self.load()
        halo_px = _halo_px(self.settings, self.slide.mpp)
        seeing = OnOwnScale(segmenter, self.looks, halo_px=halo_px)
        worker = _Worker(self.slide, seeing, self.settings, record["classes"])
        maps = PyramidShard(self.maps, self.slide.grid, shard) if self.maps else None
        cells, spent = worker.shard(shard, maps)
        if maps:
            maps.write()
        write_cells(part_of(self.partial.path, shard), cells, {"shard": shard})
        self.partial.finish(*shard)
        return spent


class _Worker:
    """Cells of one slide's tiles."""

    def __init__(
        self, slide: Tiles, segmenter: OnOwnScale, settings: Inference, classes: list[str]
    ) -> None:
        self.slide, self.segmenter, self.classes = slide, segmenter, classes
        self.batch = settings.batch
        self.ring_um = settings.ring_um
        self.halo_px = _halo_px(settings, slide.mpp)

    def shard(self, shard: tuple[int, int], maps: PyramidShard | None) -> tuple[pa.Table, Spent]:
        """Cells of the tissue tiles of one shard, in the order of the tiles; and their time.

        The maps of each tile go to `maps`, if there are any.
        """
        kept = self.slide.kept_tiles_of(shard)
        tables = [TILE_CELL_SCHEMA.empty_table()]
        batches = Batches(self._read, self._segment, self.batch, compute.device())
        for batch, (images, _), found in batches.over(kept):
            for tile, image, cells in zip(batch, images, found, strict=True):
                tables.append(self._table(tile, image, cells))
                if maps and cells.maps is not None:
                    maps.put(*self._inner(tile, cells.maps))
        return pa.concat_tables(tables), batches.spent

    def _read(self, tiles: Sequence[tuple[int, int]]) -> _Read:
        regions = [self._region(tile) for tile in tiles]
        return np.stack([self.slide.read(region) for region in regions]), regions

    def _segment(self, read: _Read) -> list[Segmented]:
        return self.segmenter(*read)

    def _region(self, tile: tuple[int, int]) -> Region:
        side = self.slide.grid.tile_px
        return Region(tile[0] * side, tile[1] * side, side, side).grown(self.halo_px)

    def _table(self, tile: tuple[int, int], image: NDArray[np.uint8], found: Segmented) -> pa.Table:
        region = self._region(tile)
        cells, rows = _reaching_in(found, self._core())
        if not len(cells.scores):
            return TILE_CELL_SCHEMA.empty_table()
        scale = self.slide.scale
        polygons = outlines(cells.labels, origin=(region.y, region.x), scale=scale)
        centres = _centroids(cells.labels, region)
        inside = self.slide.grid.tile(*tile)
        owned = (
            (centres >= (inside.y, inside.x))
            & (centres < (inside.y + inside.height, inside.x + inside.width))
        ).all(axis=1)
        columns = {
            "geometry": shapely.to_wkb(polygons),
            "centroid_x": centres[:, 1] * scale,
            "centroid_y": centres[:, 0] * scale,
            "class": [self.classes[number - 1] for number in cells.classes],
            "score": cells.scores,
            "agreement": cells.agreement,
            "tile_row": np.full(len(rows), tile[0]),
            "tile_col": np.full(len(rows), tile[1]),
            "owned": owned,
            "cut": self._cut(cells.labels, region),
            **measure(
                cells.labels,
                polygons,
                stain_density(image, self.slide.stain),
                mpp=self.slide.mpp,
                slide_mpp=self.slide.mpp / scale,
                ring_um=self.ring_um,
            ),
        }
        return pa.table(columns, schema=TILE_CELL_SCHEMA)

    def _inner(
        self, tile: tuple[int, int], maps: NDArray[np.uint8]
    ) -> tuple[Region, NDArray[np.uint8]]:
        """A tile, which the slide's border may cut, and its maps (c, y, x) without the halo."""
        inside = self.slide.grid.tile(*tile)
        core = maps[(slice(None), *self._core())]
        return inside, core[:, : inside.height, : inside.width]

    def _core(self) -> tuple[slice, slice]:
        side = slice(self.halo_px, self.halo_px + self.slide.grid.tile_px)
        return side, side

    def _cut(self, labels: NDArray[np.int32], region: Region) -> NDArray[np.bool_]:
        """Cells at a border of what was read, unless the image ends there too."""
        grid = self.slide.grid
        cut = np.zeros(int(labels.max()) + 1, bool)
        if region.y > 0:
            cut[labels[0]] = True
        if region.x > 0:
            cut[labels[:, 0]] = True
        if region.y + region.height < grid.height_px:
            cut[labels[-1]] = True
        if region.x + region.width < grid.width_px:
            cut[labels[:, -1]] = True
        return cut[1:]


def _halo_px(settings: Inference, mpp: float) -> int:
    return HALO_MULTIPLE * math.ceil(settings.halo_um / (HALO_MULTIPLE * mpp))


def _reaching_in(
    found: Segmented, core: tuple[slice, slice]
) -> tuple[Segmented, NDArray[np.int64]]:
    """The cells with a pixel in the core, renumbered 1 ... n; and their former positions."""
    inside = np.unique(found.labels[core])
    inside = inside[inside > 0]
    table = np.zeros(int(found.labels.max(initial=0)) + 1, np.int32)
    table[inside] = np.arange(1, len(inside) + 1)
    rows = inside.astype(np.int64) - 1
    values = found.classes[rows], found.scores[rows], found.agreement[rows]
    return Segmented(table[found.labels], *values), rows


def _centroids(labels: NDArray[np.int32], region: Region) -> NDArray[np.float64]:
    """Row and column of each centroid in the slide's working pixels, (n, 2).

    Pixel r covers [r, r + 1), so that its centre is at r + 0.5.
    Sums of whole numbers are exact, so that two tiles that see the same cell agree to the bit.
    """
    ids = np.arange(1, int(labels.max()) + 1)
    rows, cols = np.indices(labels.shape)
    area = ndimage.sum_labels(np.ones(labels.shape, np.int64), labels, ids)
    y = ndimage.sum_labels(rows + region.y, labels, ids) / area
    x = ndimage.sum_labels(cols + region.x, labels, ids) / area
    return np.stack([y, x], axis=1) + 0.5
