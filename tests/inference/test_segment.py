"""Stages 6 and 7 on a drawn slide: cells of tiles, cells of the slide."""

from pathlib import Path

import numpy as np
import shapely

from wsipsm.config import Inference, Stitching
from wsipsm.inference.segment import segment
from wsipsm.io.checkpoint import load_checkpoint, save_checkpoint
from wsipsm.io.parquet import CELL_SCHEMA, polygons_of, read_cells
from wsipsm.io.product import read_record
from wsipsm.io.tiles import open_tiles
from wsipsm.stitching.stitch import stitch

from ..tiling.test_tile import digest


def test_there_is_one_part_a_shard_and_cells_reach_into_their_tile(products) -> None:
    tiles = open_tiles(products.tiles)
    parts = sorted(products.tile_cells.glob("*.parquet"))
    assert len(parts) == len(tiles.kept_shards())
    cells = read_cells(products.tile_cells)
    assert cells.num_rows > 50
    polygons = polygons_of(cells)
    side = tiles.grid.tile_px * tiles.scale
    rows, cols = (cells[name].to_numpy() * side for name in ("tile_row", "tile_col"))
    boxes = shapely.box(cols, rows, cols + side, rows + side)
    assert shapely.intersects(polygons, boxes).all()
    owned = cells["owned"].to_numpy()
    x, y = (cells[name].to_numpy() for name in ("centroid_x", "centroid_y"))
    inside = shapely.intersects(shapely.points(x, y), boxes)
    assert (inside == owned).mean() > 0.999
    assert shapely.is_valid(polygons).all()


def test_a_single_network_agrees_with_itself(products) -> None:
    assert (read_cells(products.cells)["agreement"].to_numpy() == 1).all()


def test_each_cell_says_how_far_a_committee_agrees_on_it(products, tmp_path: Path) -> None:
    alone, record = load_checkpoint(products.unet)
    state = {
        name.replace("members.0", f"members.{member}"): value.clone()
        for name, value in alone.items()
        for member in (0, 1)
    }
    state["members.1.head.bias"][:4] += 0.5  # the second is less sure of all cells
    record["architecture"]["members"] = 2
    save_checkpoint(tmp_path / "unet.pt", state, record)
    segment(products.tiles, tmp_path / "unet.pt", tmp_path / "tile_cells", settings=Inference())
    agreement = read_cells(tmp_path / "tile_cells")["agreement"].to_numpy()
    assert len(agreement) > 20
    assert (agreement > 0.5).all()
    assert (agreement < 1).all()


def test_every_cell_of_the_slide_stands_once(products) -> None:
    cells = read_cells(products.cells)
    assert cells.schema.names == CELL_SCHEMA.names
    counts = read_record(products.cells)["counts"]
    assert counts["cells"] == cells.num_rows == counts["owned"] + counts["rescued"]
    assert len(set(cells["id"].to_pylist())) == cells.num_rows
    polygons = polygons_of(cells)
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    pairs = first < second
    shared = shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]]))
    smaller = np.minimum(*(shapely.area(polygons[side[pairs]]) for side in (first, second)))
    assert (shared < 0.4 * smaller).all()


def test_workers_do_not_change_a_byte(products, tmp_path: Path) -> None:
    for workers in (1, 3):
        target = tmp_path / str(workers)
        segment(products.tiles, products.unet, target, settings=Inference(), workers=workers)
        stitch(target, tmp_path / f"{workers}.parquet", settings=Stitching())
    assert digest(tmp_path / "1") == digest(tmp_path / "3")
    assert (tmp_path / "1.parquet").read_bytes() == products.cells.read_bytes()
    assert (tmp_path / "3.parquet").read_bytes() == products.cells.read_bytes()
