"""A small slide with known nuclei, as the stages before this one leave it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
import tifffile
from numpy.typing import NDArray
from skimage.measure import find_contours, regionprops

from wsipsm.config import Tiling
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.parquet import write_cells
from wsipsm.io.product import Provenance
from wsipsm.tiling.tile import tile

HEIGHT, WIDTH, MPP = 500, 620, 0.5


@dataclass(frozen=True)
class Example:
    """Products of one slide: tiles, perfect cells, an encoder; its nuclei at the working mpp."""

    folder: Path
    tiles: Path
    cells: Path
    encoder: Path
    labels: NDArray[np.int64]
    classes: list[str]

    def write_cells(self, name: str, labels: NDArray[np.int64], *, model: str = "unet") -> Path:
        """Cells of a label image at the working mpp, as stage 7 writes them."""
        path = self.folder / name
        write_label_cells(path, labels, self.classes, model=model)
        return path


def draw(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """RGB (y, x, 3) at level 0 and ids: ellipses that lie across every border of tiles."""
    generator = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), 250.0)
    image[20:480, 20:600] = (232, 190, 215)
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for index, (row, col) in enumerate(np.ndindex(14, 18), start=1):
        cy, cx = (35 + 32 * np.array([row, col]) + generator.uniform(-5, 5, 2)).tolist()
        a, b = generator.uniform(6, 11, 2)
        inside = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
        image[inside] = (95, 60, 150)
        labels[inside] = index
    image += generator.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def outline_of(mask: NDArray[np.bool_]) -> shapely.Polygon:
    """Outline (x, y) of a 4-connected mask (y, x), as marching squares trace it."""
    rings = find_contours(np.pad(mask, 1).astype(float), 0.5)
    # index (y, x) of the padded mask, at pixel centres, to position (x, y) of its corner
    rings = [ring[:, ::-1] - 0.5 for ring in rings]
    rings.sort(key=lambda ring: -shapely.Polygon(ring).area)
    return shapely.Polygon(rings[0], rings[1:])


def outlines_of(labels: NDArray[np.int64]) -> tuple[list[int], list[shapely.Polygon]]:
    """Ids and outlines of the objects of a label image."""
    ids, outlines = [], []
    for thing in regionprops(labels):
        top, left = thing.bbox[:2]
        ids.append(int(thing.label))
        outlines.append(shapely.transform(outline_of(thing.image), lambda p, o=(left, top): p + o))
    return ids, outlines


def write_label_cells(
    path: Path, labels: NDArray[np.int64], classes: list[str], *, model: str, scale: float = 1
) -> None:
    """Cells of a label image; the class goes by the id."""
    ids, outlines = outlines_of(labels)
    polygons = shapely.transform(np.array(outlines, object), lambda points: points * scale)
    centres = shapely.get_coordinates(shapely.centroid(polygons)).reshape(-1, 2)
    table = pa.table(
        {
            "geometry": pa.array(list(shapely.to_wkb(polygons)), pa.binary()),
            "centroid_x": centres[:, 0],
            "centroid_y": centres[:, 1],
            "class": pa.array([classes[one % len(classes)] for one in ids], pa.string()),
        }
    )
    provenance = Provenance("stitch", {}, {"ids": str(hash(tuple(ids)))}).as_dict()
    write_cells(path, table, {"provenance": provenance, "model": model})


def write_encoder(path: Path) -> None:
    """What stage 9 needs of an encoder: its architecture."""
    provenance = Provenance("pretrain", {}, {}).as_dict()
    record = {"provenance": provenance, "architecture": {"backbone": "resnet18", "outputs": 1}}
    save_checkpoint(path, {}, record)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The drawn slide, tiled, with its own nuclei as cells of two classes."""
    folder = tmp_path_factory.mktemp("slide")
    image, labels = draw()
    tifffile.imwrite(folder / "drawn.tif", image, tile=(128, 128), photometric="rgb")
    tiling = Tiling(mpp=MPP, tile_px=128, shard_tiles=2)
    tiles = folder / "drawn" / "tiles.zarr"
    tiles.parent.mkdir()
    tile(folder / "drawn.tif", tiles, settings=tiling, slide_mpp=MPP, workers=1)
    write_encoder(folder / "encoder.pt")
    made = Example(
        folder, tiles, folder / "cells.parquet", folder / "encoder.pt", labels, ["one", "two"]
    )
    made.write_cells("cells.parquet", labels)
    return made
