"""Drawn slides of two looks, worked on up to their pseudo masks, and fields around some of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from wsipsm.activation.activate import activate
from wsipsm.config import Activation, Pretraining, Pseudomasks, Tiling
from wsipsm.phantom.phantom import draw_slides
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.pseudomasks.pseudomask import pseudomask
from wsipsm.tiling.tile import tile

SIDE_PX = 1024
FIELD_PX, GAP_PX = 480, 16
DENSE_PX, DENSE = 256, 15


@dataclass(frozen=True)
class Look:
    """How slides of one kind are drawn and worked on."""

    name: str
    stain: str
    mpp: float
    seed: int
    slides: int


HOME = Look("home", "he", 0.25, 11, 3)
ABROAD = Look("abroad", "ihc", 0.4, 12, 2)


@dataclass(frozen=True)
class Slide:
    """Products of one drawn slide."""

    tiles: Path
    pseudomasks: Path
    truth: Path


def slides_of(look: Look, folder: Path) -> list[Slide]:
    """Draw slides and run the stages up to the pseudo masks, once."""
    home = folder / look.name
    draw_slides(
        home / "drawn", count=look.slides, size_px=SIDE_PX, mpp=0.25, stain=look.stain,
        seed=look.seed,
    )  # fmt: skip
    paths = sorted((home / "drawn").glob("*.tiff"))
    found = []
    for path in paths:
        where = home / path.stem
        if not (where / "tiles.zarr").exists():
            tiling = Tiling(mpp=look.mpp, tile_px=256, shard_tiles=2, exclude=())
            tile(path, where / "tiles.zarr", stain=look.stain, settings=tiling)
        found.append(Slide(where / "tiles.zarr", where / "pseudomasks.zarr",
                           path.with_name(f"{path.stem}.cells.geojson")))  # fmt: skip
    encoder = home / "encoder.pt"
    if not encoder.exists():
        pretrain([each.tiles for each in found], encoder, settings=Pretraining(steps=1), seed=0)
    for each in found:
        if not each.pseudomasks.exists():
            activation = each.tiles.with_name("activation.zarr")
            activate(each.tiles, encoder, activation, settings=Activation())
            pseudomask(
                each.tiles, activation, each.pseudomasks, settings=Pseudomasks(psm_weight=0), seed=0
            )
    return found


def annotate(slide: Slide, boxes: Sequence[shapely.Polygon], target: Path) -> Path:
    """Truth of a slide with fields around some of it."""
    features = json.loads(slide.truth.read_text())["features"]
    for feature in features:
        feature["properties"].pop("classification", None)
    fields = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(box),
            "properties": {"classification": {"name": "Region*"}},
        }
        for box in boxes
    ]
    target.write_text(json.dumps({"type": "FeatureCollection", "features": [*fields, *features]}))
    return target


def corner(x: int, y: int) -> shapely.Polygon:
    """A field in one of the four quarters, near the middle of a slide."""
    left, top = (SIDE_PX // 2 + (GAP_PX if at > 0 else -GAP_PX - FIELD_PX) for at in (x, y))
    return shapely.box(left, top, left + FIELD_PX, top + FIELD_PX)


def dense(slide: Slide) -> list[shapely.Polygon]:
    """Fields that hold many cells."""
    cells = [
        shapely.geometry.shape(each["geometry"])
        for each in json.loads(slide.truth.read_text())["features"]
    ]
    starts = np.arange(0, SIDE_PX, DENSE_PX)
    left, top = (side.ravel() for side in np.meshgrid(starts, starts))
    boxes = shapely.box(left, top, left + DENSE_PX, top + DENSE_PX)
    where, _ = shapely.STRtree(shapely.centroid(cells)).query(boxes, "contains")
    return list(boxes[np.bincount(where, minlength=len(boxes)) >= DENSE])
