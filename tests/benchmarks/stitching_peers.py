"""One way of stitching, timed in a process of its own: `WAY TILE_CELLS RESULT`.

Needs numpy, shapely and pyarrow beside the way itself, so that a peer may live in an interpreter
of its own. Imports and reading are not timed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

Polygons = NDArray[np.object_]
Way = tuple[Callable[[], Any], Callable[[Any], Polygons]]
"""What is timed, and how to get polygons from its result."""


def floor(views: pa.Table, _record: dict[str, Any]) -> Way:
    """Build an index of all views and ask it once which intersect: no less can be done."""
    polygons = polygons_of(views)

    def run() -> object:
        return shapely.STRtree(polygons).query(polygons, predicate="intersects")

    return run, lambda _: polygons


def wsipsm(views: pa.Table, record: dict[str, Any]) -> Way:
    """Resolve rows of shards, from polygons in memory."""
    from wsipsm.stitching.rows import Reads, Row, resolve_rows

    polygons = polygons_of(views)
    column = {name: views[name].to_numpy() for name in views.column_names if name != "geometry"}
    shard_rows = column["tile_row"] // record["shard_tiles"]
    order = np.argsort(shard_rows, kind="stable")

    def row(number: int, here: NDArray[np.int64]) -> Row:
        seen = polygons[here]
        return Row(
            boxes=shapely.bounds(seen),
            tile_rows=column["tile_row"][here].astype(np.int64),
            tile_cols=column["tile_col"][here].astype(np.int64),
            owned=column["owned"][here],
            cut=column["cut"][here],
            scores=column["score"][here],
            outlines=lambda mask: seen[mask],
            stop=(number + 1) * record["shard_tiles"],
        )

    def run() -> NDArray[np.bool_]:
        numbers, starts = np.unique(shard_rows[order], return_index=True)
        rows = map(row, numbers.tolist(), np.split(order, starts[1:]))
        kept, _ = resolve_rows(rows, reads=Reads.of_record(record), overlap=0.4)
        return kept

    return run, lambda kept: polygons[order][kept]


def sopa(views: pa.Table, _record: dict[str, Any]) -> Way:
    """`solve_conflicts` as sopa's own command calls it."""
    from sopa.segmentation.resolve import solve_conflicts

    polygons = polygons_of(views)
    return lambda: solve_conflicts(polygons), lambda found: found.geometry.to_numpy()


def tiatoolbox(views: pa.Table, record: dict[str, Any]) -> Way:
    """`_compute_info_dict_for_merge` on tiatoolbox's own four sets of tiles, as its engine does.

    Its engine segments each set anew from one probability map; here the cells of a set's tile
    are the views of owners, cut at the tile's border.
    """
    from tiatoolbox.models.engine import multi_task_segmentor as engine
    from tiatoolbox.models.engine.io_config import IOSegmentorConfig

    side, margin = record["tile_px"], record["halo_px"]
    owned = views.filter(views["owned"])
    polygons = polygons_of(owned)
    shape = (np.ceil(shapely.bounds(polygons)[:, 2:].max(axis=0) / side) * side).astype(int)
    config = IOSegmentorConfig(
        input_resolutions=[{"units": "baseline", "resolution": 1.0}],
        output_resolutions=[{"units": "baseline", "resolution": 1.0}],
        patch_input_shape=(side, side),
        patch_output_shape=(side, side),
        stride_shape=(side, side),
        tile_shape=(side, side),
        margin=margin,
        save_resolution={"units": "baseline", "resolution": 1.0},
    )
    mask = SimpleNamespace(dataset=SimpleNamespace(mask_reader=None))
    this = SimpleNamespace(_ioconfig=config, mask_padding=np.zeros(4, int), dataloader=mask)
    sets = engine.MultiTaskSegmentor._get_tile_info(this, shape, shape)
    tiles = engine._build_tile_tasks(sets, verbose=False)
    tree = shapely.STRtree(polygons)
    told = [_instances(polygons[tree.query(shapely.box(*b))], b) for b, _, _ in tiles]

    def run() -> list[dict[str, Any]]:
        merged: dict[str, Any] = {}
        for (bounds, flag, mode), instances in zip(tiles, told, strict=True):
            new, gone = engine._compute_info_dict_for_merge(
                inst_dict=instances,
                tile_mode=mode,
                ref_inst_info_dict=merged,
                ioconfig=config,
                tile_shape=bounds[2:] - bounds[:2],
                tile_tl=bounds[:2],
                tile_flag=flag,
            )
            merged.update(new)
            for name in gone:
                merged.pop(name, None)
        return list(merged.values())

    return run, lambda cells: np.array([shapely.Polygon(cell["contours"]) for cell in cells])


def _instances(polygons: Polygons, bounds: NDArray[np.int64]) -> dict[int, dict[str, Any]]:
    """Cells of one tile in tiatoolbox's form: whole pixels, counted from the tile's corner."""
    inside = shapely.make_valid(shapely.clip_by_rect(polygons, *bounds.astype(float)))
    inside = inside[(shapely.get_type_id(inside) == 3) & (shapely.area(inside) > 4)]
    found = {}
    for number, polygon in enumerate(inside, start=1):
        contours = np.rint(shapely.get_coordinates(polygon)[:-1] - bounds[:2]).astype(np.int32)
        box = np.concatenate([contours.min(axis=0), contours.max(axis=0)])
        found[number] = {"box": box, "centroid": contours.mean(axis=0), "contours": contours}
    return found


def polygons_of(views: pa.Table) -> Polygons:
    """Outlines of a cell table."""
    return np.asarray(shapely.from_wkb(views["geometry"].to_numpy()))


WAYS = {"floor": floor, "wsipsm": wsipsm, "sopa": sopa, "tiatoolbox": tiatoolbox}


def main(way: str, tile_cells: Path, result: Path) -> None:
    """Time one way; write its outlines to `result` and print the seconds."""
    warnings.simplefilter("ignore")
    record = json.loads((tile_cells / "product.json").read_text())
    paths = sorted(tile_cells.glob("*.parquet"))
    run, outlines = WAYS[way](pa.concat_tables([pq.read_table(path) for path in paths]), record)
    start, begun = time.perf_counter(), time.process_time()
    found = run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - begun
    pq.write_table(pa.table({"geometry": shapely.to_wkb(outlines(found))}), result)
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
