"""Every export of the same cells, and geopandas' GeoJSON of them: seconds, size and memory.

    python -m tests.benchmarks.export --cells 100000
    python -m tests.benchmarks.export --cells 1000000 --formats .geojson.zip

Each line is a process of its own. Its imports, and for geopandas the reading of the table, are
not part of the time; its memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import resource
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

PEER = ".geojson"
IMPORTS = {PEER: "geopandas", ".db": "tiatoolbox.annotation", ".spatialdata.zarr": "spatialdata"}
MPP, SCALE, TILE_PX, SHARD_TILES, BLOCK = 0.25, 1.0, 512, 4, 10_000


def main() -> None:
    """Print one line for each format."""
    known = (".geojson.zip", PEER, ".tsv", ".db", ".labels.zarr", ".spatialdata.zarr")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--formats", nargs="+", choices=known, default=known)
    parser.add_argument("--expansion-um", type=float, default=0, help="for .geojson.zip")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        apart(draw, folder, chosen.cells)
        found = {
            suffix: apart(write, folder, suffix, chosen.expansion_um) for suffix in chosen.formats
        }
    print(f"{chosen.cells:,} cells\n")
    print("| format | seconds | CPU seconds | MB | peak memory, MB | time to geopandas' |")
    print("| --- | --- | --- | --- | --- | --- |")
    for suffix, (seconds, cpu, size, memory) in found.items():
        ratio = f"1/{found[PEER][0] / seconds:.1f}" if PEER in found else ""
        label = "geopandas .geojson" if suffix == PEER else suffix
        print(f"| {label} | {seconds:.1f} | {cpu:.1f} | {size:.0f} | {memory:.0f} | {ratio} |")


def apart(work: Callable[..., Any], *values: Any) -> Any:
    """What `work` returns, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, values)


def draw(folder: Path, count: int) -> None:
    """Write `cells.parquet` of drawn nuclei, and `tiles.zarr` without pixels around them."""
    from wsipsm.io.parquet import writing_cells
    from wsipsm.io.product import Provenance

    side = int(np.ceil(np.sqrt(count)) * 60)
    slide = {
        "slide": "a", "stain": "he", "source": "/slides/a.svs", "mpp": MPP, "mpp_source": "file",
        "width_px": side, "height_px": side, "bounds": [0, 0, side, side], "vendor": "generic",
        "objective": None,
    }  # fmt: skip
    record = {
        "provenance": Provenance("stitch", {}, {}).as_dict(), "slide": slide, "scale": SCALE,
        "classes": ["negative", "positive"], "mpp": MPP, "model": "unet",
    }  # fmt: skip
    tables = (rows(first, min(BLOCK, count - first), side) for first in range(0, count, BLOCK))
    one = next(tables)
    with writing_cells(folder / "cells.parquet", one.schema, record) as add:
        add(one)
        for table in tables:
            add(table)
    draw_tiles(folder / "tiles.zarr", slide, side)


def rows(first: int, count: int, side: int) -> pa.Table:
    """Cells `first` ... of a slide of `side` px, in strips, with their `bbox`."""
    from tests.export.shapes import PITCH_PX, nuclei
    from wsipsm.io.parquet import BOX, CELL_SCHEMA
    from wsipsm.types import MEASUREMENTS

    per_row = side // int(PITCH_PX)
    home = nuclei(count, seed=first)
    width = int(np.ceil(np.sqrt(count)))
    index = np.arange(count)
    place = np.stack([(first + index) % per_row, (first + index) // per_row], axis=1)
    move = (place - np.stack([index % width, index // width], axis=1)) * PITCH_PX
    points, owner = shapely.get_coordinates(home, return_index=True)
    outlines = shapely.set_coordinates(home, points + move[owner])
    rng = np.random.default_rng(first)
    centres = shapely.get_coordinates(shapely.centroid(outlines))
    values: dict[str, Any] = {name: rng.uniform(0, 90, count) for name in MEASUREMENTS}
    values |= {
        "id": [str(uuid.UUID(bytes=rng.bytes(16), version=5)) for _ in range(count)],
        "geometry": shapely.to_wkb(outlines),
        "centroid_x": centres[:, 0], "centroid_y": centres[:, 1],
        "class": np.array(["negative", "positive"])[index % 2],
        "score": rng.uniform(0, 1, count),
        "agreement": np.ones(count),
    }  # fmt: skip
    columns = [
        pa.array(values.get(field.name, np.zeros(count, np.int8))).cast(field.type)
        for field in CELL_SCHEMA
    ]
    boxes = [pa.array(np.ascontiguousarray(edge)) for edge in shapely.bounds(outlines).T]
    table = pa.Table.from_arrays(columns, schema=CELL_SCHEMA)
    return table.append_column("bbox", pa.StructArray.from_arrays(boxes, BOX))


def draw_tiles(path: Path, slide: dict[str, Any], side: int) -> None:
    """A product of stage 1 without a pixel."""
    from wsipsm.io import ngff
    from wsipsm.io.product import Provenance, write_record
    from wsipsm.io.tiles import ARTEFACTS

    group = ngff.open_group(path, "w")
    for level in range(4):
        size = -(-side >> level)
        ngff.create_array(
            group, str(level), shape=(3, size, size), chunk_px=min(TILE_PX, 2048 >> level),
            shard_px=2048 >> level, dtype="uint8", fill=255,
        )  # fmt: skip
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [ngff.multiscales("a", axes="cyx", mpp=MPP, levels=4)],
    }
    tiles = np.ones((-(-side // TILE_PX),) * 2, np.float32)
    for name in ("tissue_share", "kept", "excluded", *(f"artefacts/{name}" for name in ARTEFACTS)):
        group.create_array(name, data=tiles)
    write_record(
        path, Provenance("tile", {}, {}), slide=slide, mpp=MPP, scale=SCALE, tile_px=TILE_PX,
        shard_tiles=SHARD_TILES, unreadable_share=0.0,
    )  # fmt: skip


def write(folder: Path, suffix: str, expansion_um: float) -> tuple[float, float, float, float]:
    """Write one format: seconds, CPU seconds, size and peak memory in MB."""
    from wsipsm.config import Export
    from wsipsm.export.export import export

    importlib.import_module(IMPORTS.get(suffix, "pandas"))
    cells, target = folder / "cells.parquet", folder / f"cells{suffix}"
    frame = frame_of(cells) if suffix == PEER else None
    start, cpu = time.perf_counter(), time.process_time()
    if frame is not None:
        frame.to_file(target, driver="GeoJSON")
    else:
        settings = Export(cell_expansion_um=expansion_um)
        export(cells, target, settings=settings, tiles=folder / "tiles.zarr")
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    files = [target] if target.is_file() else [file for file in target.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files if not file.is_symlink())
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return seconds, cpu, size / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def frame_of(cells: Path) -> Any:
    """The cells as geopandas has them: outline, id, class, score and measurements."""
    import geopandas

    from wsipsm.types import MEASUREMENTS

    return geopandas.read_parquet(
        cells, columns=["geometry", "id", "class", "score", *MEASUREMENTS]
    )


if __name__ == "__main__":
    main()
