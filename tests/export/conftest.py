"""Cells with real outlines, slides to export, and a reader as strict as QuPath's own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
import zarr
from skimage.io import imread
from skimage.measure import find_contours, regionprops

from wsipsm.io import ngff
from wsipsm.io.parquet import CELL_SCHEMA, write_cells
from wsipsm.io.product import Provenance, write_record
from wsipsm.io.pyramid import FACTOR
from wsipsm.io.tiles import ARTEFACTS
from wsipsm.types import MEASUREMENTS

from .strict import read

DATA = Path(os.environ.get("WSIPSM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

WriteCells = Callable[..., Path]


def outlines_of(labels: np.ndarray) -> np.ndarray:
    """Outline (x, y) of each object of a label image (y, x), unrepaired, as contours come."""
    rings = []
    for part in regionprops(labels):
        contour = find_contours(np.pad(part.image, 1).astype(float), 0.5)[0]
        if len(contour) >= 4:
            rings.append(contour[:, ::-1] - 1 + (part.bbox[1], part.bbox[0]))
    return np.array([shapely.Polygon(ring) for ring in rings], dtype=object)


def nasty_outlines() -> np.ndarray:
    """Outlines that QuPath rejects or loses as they are."""
    square = np.array([(0, 0), (20, 0), (20, 20), (0, 20)], float)
    hole = [(5, 5), (5, 15), (15, 15), (15, 5)]
    outside = [(30, 30), (30, 35), (35, 35), (35, 30)]
    spike = [(0, 0), (20, 0), (20, 20), (20, 50), (20, 20), (0, 20)]
    neck = [(0, 0), (10, 0), (10, 4.999), (20, 5), (20, 0), (30, 0), (30, 12), (20, 12),
            (20, 5.001), (10, 5.001), (10, 12), (0, 12)]  # fmt: skip
    return np.array(
        [
            shapely.Polygon(square, [hole]),
            shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)]),
            shapely.Polygon(square, [outside]),
            shapely.Polygon(square, [[(5, 5), (5, 25), (15, 25), (15, 5)]]),
            shapely.Polygon(np.repeat(square, 3, axis=0)),
            shapely.Polygon(spike),
            shapely.Polygon(neck),
            shapely.Polygon(square * 0.0004),
            shapely.Polygon(square * (1, 0)),
            shapely.Polygon(),
            shapely.Polygon(square / 3 + 100_000.123456789),
        ],
        dtype=object,
    )


def cell_table(outlines: np.ndarray, *, classes: tuple[str, ...] = ("nucleus",)) -> pa.Table:
    """Rows of `CELL_SCHEMA`; every seventh measurement is missing or infinite."""
    count = len(outlines)
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {name: rng.uniform(0, 90, count) for name in MEASUREMENTS}
    values["solidity"][::7] = np.nan
    values["circularity"][3::7] = np.inf
    boxes = np.nan_to_num(shapely.bounds(outlines).reshape(-1, 4))
    centroids = (boxes[:, :2] + boxes[:, 2:]) / 2
    values |= {
        "id": [str(uuid.uuid5(uuid.NAMESPACE_OID, f"cell {i}")) for i in range(count)],
        "geometry": shapely.to_wkb(outlines),
        "centroid_x": centroids[:, 0],
        "centroid_y": centroids[:, 1],
        "class": [classes[i % len(classes)] for i in range(count)],
        "score": np.full(count, 0.9),
        "agreement": np.full(count, 0.8),
        "tile_row": np.zeros(count),
        "tile_col": np.zeros(count),
        "owned": np.ones(count, bool),
        "cut": np.zeros(count, bool),
    }
    columns = [pa.array(values[field.name]).cast(field.type) for field in CELL_SCHEMA]
    return pa.Table.from_arrays(columns, schema=CELL_SCHEMA)


def facts(slide: str, source: str, **changes: Any) -> dict[str, Any]:
    """What `tiles.zarr` says of a slide."""
    return {
        "slide": slide,
        "stain": "he",
        "source": source,
        "mpp": 0.5,
        "mpp_source": "file",
        "width_px": 3000,
        "height_px": 2000,
        "bounds": [0, 0, 3000, 2000],
        "vendor": "generic",
        "objective": None,
        **changes,
    }


@pytest.fixture(scope="session")
def save_cells(tmp_path_factory: pytest.TempPathFactory) -> WriteCells:
    """Write outlines as the product of stage 7: `save_cells(outlines, classes=..., **facts)`."""

    def save(
        outlines: np.ndarray,
        *,
        path: Path | None = None,
        classes: tuple[str, ...] = ("nucleus",),
        slide: str = "a",
        source: str = "/slides/a.svs",
        **changes: Any,
    ) -> Path:
        path = path or tmp_path_factory.mktemp("cells") / "cells.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "provenance": Provenance("stitch", {"slide": slide}, {}).as_dict(),
            "slide": facts(slide, source, **changes),
            "classes": list(classes),
        }
        write_cells(path, cell_table(outlines, classes=classes), record)
        return path

    return save


@pytest.fixture
def save_tiles(tmp_path: Path) -> Callable[..., Path]:
    """Write a small product of stage 1, with two pieces of tissue: `save_tiles(slide, source)`."""

    def save(slide: str, source: str, **changes: Any) -> Path:
        path = tmp_path / slide / "tiles.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        mask = np.zeros((20, 30), np.uint8)
        mask[2:9, 3:12] = 1
        mask[4:6, 5:8] = 0
        mask[12:18, 20:28] = 1
        for level in range(2):
            factor = FACTOR**level
            side = 64 // factor
            image = ngff.create_array(
                group,
                str(level),
                shape=(3, 200 // factor, 300 // factor),
                chunk_px=side // 2,
                shard_px=side,
                dtype="uint8",
                fill=255,
            )
            image[:, 10:20, 10:20] = level
        scales = ngff.multiscales(slide, axes="cyx", mpp=5.0, levels=2, factor=FACTOR)
        group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
        group.create_array("labels/tissue/0", data=mask)
        share = np.ones((7, 10), np.float32)
        for name in ("tissue_share", *(f"artefacts/{kind}" for kind in ARTEFACTS)):
            group.create_array(name, data=share)
        for name in ("kept", "excluded"):
            group.create_array(name, data=np.ones((7, 10), np.uint8))
        write_record(
            path,
            Provenance("tile", {"slide": slide}, {}),
            slide=facts(slide, source, **changes),
            mpp=5.0,
            scale=10.0,
            tile_px=32,
            shard_tiles=2,
            unreadable_share=0.0,
        )
        return path

    return save


@pytest.fixture
def square_cells() -> np.ndarray:
    """Seven squares of 10 px, 100 px apart, from (50, 60)."""
    left = 50 + 100 * np.arange(7)
    return np.asarray(shapely.box(left, 60, left + 10, 70))


@pytest.fixture(scope="session")
def nasty() -> np.ndarray:
    """Outlines that QuPath rejects or loses as they are."""
    return nasty_outlines()


@pytest.fixture(scope="session")
def real_outlines() -> np.ndarray:
    """Unrepaired outlines of every nucleus of the annotated MoNuSeg fields."""
    paths = sorted((DATA / "monuseg_train" / "labels").glob("*.png"))
    if not paths:
        pytest.skip(f"no label images in {DATA}; set WSIPSM_TEST_DATA")
    return np.concatenate([outlines_of(imread(path)) for path in paths])


@pytest.fixture(scope="session")
def read_strictly() -> Callable[[bytes], list[dict[str, Any]]]:
    """The features of a GeoJSON text, or `ValueError` where QuPath would reject or lose some."""
    return read
