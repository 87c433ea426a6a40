"""The picture of the README: a detail of a finished run, from the image to its cells.

`python -m tests.benchmarks.picture results docs/result.jpg` draws it again after the demonstration.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from wsipsm.io import ngff
from wsipsm.report import pictures, views
from wsipsm.report.cells import read_columns, read_outlines
from wsipsm.report.products import open_cohort
from wsipsm.report.zooms import zooms

SIDE_UM, GAP_PX, HEIGHT_PX = 90, 8, 300
MODEL = "unet"


def main(results: Path, target: Path) -> None:
    """Image, activation map, pseudo mask and cells of the typical detail of the last slide."""
    names = tuple(sorted(path.name for path in (results / "slides").iterdir()))
    slide = open_cohort(results, slides=names, models=(MODEL,)).slides[-1]
    record, path = slide.cells(MODEL), slide.folder / MODEL / "cells.parquet"
    assert record is not None
    columns = read_columns(path, classes=record["classes"])
    box = zooms(slide.tiles, columns, side_um=SIDE_UM)[1].box

    image = pictures.enlarged(np.moveaxis(views.detail_image(slide.tiles, box), 0, -1))
    group, stride = (
        ngff.open_group(slide.folder / "activation.zarr"),
        slide.records["activation.zarr"],
    )
    values = views.detail_plane(views.plane(group, "0"), box, stride=stride["stride"])
    activation = pictures.enlarged(pictures.map_colours(values.astype(np.float32)))
    labels = views.plane(ngff.open_group(slide.folder / "pseudomasks.zarr"), "labels/classes/0")
    mask = pictures.enlarged(pictures.class_mask(views.detail_plane(labels, box)), smooth=False)
    outlines, classes = read_outlines(
        path, box=box, scale=slide.tiles.scale, classes=record["classes"]
    )
    cells = pictures.with_outlines(image, outlines, classes, box=box)

    gap = np.full((image.shape[0], GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([image, gap, activation, gap, mask, gap, cells], axis=1)
    size = (row.shape[1] * HEIGHT_PX // row.shape[0], HEIGHT_PX)
    Image.fromarray(row).resize(size, Image.Resampling.LANCZOS).save(target, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
