"""Tiling invariance: one field of a slide cut into few and many tiles, and the cells compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.config import Inference, Stitching, Tiling
from wsipsm.errors import SettingsError
from wsipsm.evaluation.agreement import compare_cells, count_on_seams
from wsipsm.inference.segment import segment
from wsipsm.io.parquet import polygons_of, read_cells
from wsipsm.io.product import Partial, Provenance, identity, making, read_record
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.stitching.stitch import stitch
from wsipsm.tiling.tile import tile
from wsipsm.types import Region

LEAST_TILE_PX, STEP_PX = 64, 32
"""Sides of tiles that stage 1 takes: at least this, and multiples of that."""


@dataclass(frozen=True)
class Field:
    """A square of a slide: where it lies, and its pixels as a slide file of their own."""

    tiles: Tiles
    region: Region
    file: Path


def evaluate_tiling(
    tiles: Path,
    model: Path,
    target: Path,
    *,
    settings: Inference,
    field_px: int = 2048,
    cuts: Sequence[int] = (1, 4, 16),
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """Segment and stitch one field by the real stages, cut into tiles in several ways.

    The field is the square of the slide with the most tissue. Each cut is compared with the
    first; only cells in tiles with tissue by every cut count.

    Parameters
    ----------
    tiles, model
        Products of stages 1 and 5.
    target
        JSON: `provenance`, `field` (row, column, side, working pixels), `rows`.
    field_px
        Largest side of the field in working pixels.
    cuts
        Tiles along a side of the field.

    Returns
    -------
    list
        One row a cut: `cut`, `tile_px`, what `evaluation.agreement.Agreement` holds,
        `equal_share`, `seam_cells`, and the counts of stage 7.

    Raises
    ------
    SettingsError
        The slide is too small for so many tiles, or the weights are absent or damaged.
    QuarantinedError
        The slide was set aside.
    """
    slide = open_tiles(tiles)
    region = _field(slide, _side(slide, field_px, cuts))
    known = {**settings.model_dump(), "cuts": list(cuts), "field_px": region.width}
    provenance = Provenance("evaluate-tiling", known, {"tiles": slide.id, "model": identity(model)})
    with making(target, provenance) as partial:
        field = Field(slide, region, partial.path.with_name("field.tif"))
        pixels = np.ascontiguousarray(slide.read(region).transpose(1, 2, 0))
        tifffile.imwrite(field.file, pixels, tile=(256, 256), photometric="rgb")
        folders = [_cells_of(field, model, cut, settings, workers, partial) for cut in cuts]
        rows = _rows(folders, cuts)
        place = {"row": region.y, "column": region.x, "side_px": region.width}
        result = {"provenance": provenance.as_dict(), "field": place, "rows": rows}
        partial.path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return rows


def _side(slide: Tiles, field_px: int, cuts: Sequence[int]) -> int:
    """The largest side up to `field_px` that every cut takes."""
    step = int(np.lcm.reduce([STEP_PX * cut for cut in cuts]))
    side = min(field_px, slide.grid.height_px, slide.grid.width_px) // step * step
    if side < LEAST_TILE_PX * max(cuts):
        raise SettingsError(
            f"evaluate-tiling: no field of {max(cuts)} x {max(cuts)} tiles of {LEAST_TILE_PX} px in"
            f" {field_px} px of {slide.slide}; give a larger --field-px, or fewer --cuts"
        )
    return side


def _field(slide: Tiles, side: int) -> Region:
    """The square with the most tissue; of equals the first."""
    grid = slide.grid
    reach = max(1, side // grid.tile_px)
    around = ndimage.uniform_filter(slide.tissue_share.astype(np.float64), reach, mode="constant")
    row, col = np.unravel_index(int(around.argmax()), around.shape)
    y, x = (int(at) * grid.tile_px + grid.tile_px // 2 - side // 2 for at in (row, col))
    return Region(
        min(max(y, 0), grid.height_px - side), min(max(x, 0), grid.width_px - side), side, side
    )


def _cells_of(
    field: Field,
    model: Path,
    cut: int,
    settings: Inference,
    workers: int | None,
    partial: Partial,
) -> Path:
    """Run stages 1, 6 and 7 on a field; returns the folder of their products."""
    folder = partial.path.with_name(f"cut_{cut}")
    folder.mkdir(exist_ok=True)
    slide = field.tiles
    tiling = Tiling(
        mpp=slide.mpp,
        tile_px=field.region.width // cut,
        shard_tiles=min(cut, 4),
        min_tissue_share=0,
        min_tissue_um2=0,
        exclude=(),
    )
    if not partial.done("cut", cut):
        tiles, tile_cells = folder / "tiles.zarr", folder / "tile_cells"
        facts: dict[str, Any] = {"name": slide.slide, "stain": slide.stain, "slide_mpp": slide.mpp}
        tile(field.file, tiles, settings=tiling, workers=workers, **facts)
        segment(tiles, model, tile_cells, settings=settings, workers=workers)
        stitch(tile_cells, folder / "cells.parquet", settings=Stitching())
        partial.finish("cut", cut)
    return folder


def _rows(folders: Sequence[Path], cuts: Sequence[int]) -> list[dict[str, Any]]:
    """One row a cut, each compared with the first."""
    slides = [open_tiles(folder / "tiles.zarr") for folder in folders]
    tables = [polygons_of(read_cells(folder / "cells.parquet")) for folder in folders]
    tables = [table[_in_tissue(table, slides)] for table in tables]
    rows = []
    for folder, slide, cut, table in zip(folders, slides, cuts, tables, strict=True):
        found = compare_cells(tables[0], table)
        rows.append(
            {
                "cut": cut,
                "tile_px": slide.grid.tile_px,
                **asdict(found),
                "equal_share": found.equal_share,
                "seam_cells": count_on_seams(table, side_px=slide.grid.tile_px, cut=cut),
                "stitching": read_record(folder / "cells.parquet")["counts"],
            }
        )
    return rows


def _in_tissue(polygons: NDArray[np.object_], slides: list[Tiles]) -> NDArray[np.bool_]:
    """Cells whose centroid lies in a tile with tissue on every grid."""
    centres = shapely.get_coordinates(shapely.centroid(polygons)).reshape(-1, 2)
    inside = np.ones(len(polygons), bool)
    for slide in slides:  # a field is a slide at its working resolution
        at = (centres / slide.grid.tile_px).astype(np.int64)
        col, row = np.clip(at, 0, (slide.grid.cols - 1, slide.grid.rows - 1)).T
        inside &= slide.kept[row, col]
    return inside


def table_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as lines of text, under a heading."""
    names = ("cells", "equal", "changed", "gone", "new", "seam_cells", "lowest_iou")
    lines = [" ".join(f"{name:>10}" for name in ("tiles", "tile_px", *names, "equal %"))]
    for row in rows:
        words = [f"{row['cut']} x {row['cut']}", str(row["tile_px"])]
        words += [str(row[name]) for name in names[:-1]]
        words += [f"{row['lowest_iou']:.3f}", f"{100 * row['equal_share']:.2f}"]
        lines.append(" ".join(f"{word:>10}" for word in words))
    return lines
