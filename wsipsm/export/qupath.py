"""What QuPath reads, as plain values: features, classes, the project file. No disk."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsipsm.config import Stain
from wsipsm.io.geojson import clean, geometries
from wsipsm.types import CLASS_COLOURS, COUNTERSTAIN, MEASUREMENTS

TISSUE = "Tissue"
TISSUE_COLOUR = (150, 150, 150)

PROJECT_VERSION = "0.5.1"
"""The oldest QuPath that is known to open our projects; newer ones do too."""

_NAMESPACE = uuid.UUID("5b9f3f0e-6a0e-5c1c-9b6e-0c8f4f6f2a11")


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project: the name that QuPath shows, and the file it opens."""

    name: str
    source: Path


def measurement_names(stain: Stain) -> dict[str, str]:
    """Column of a cell table: its name in QuPath, for a stain."""
    counterstain = COUNTERSTAIN[stain]
    return {column: name.format(counterstain=counterstain) for column, name in MEASUREMENTS.items()}


def measurements(cells: pa.Table, stain: Stain) -> tuple[list[str], NDArray[np.float64]]:
    """QuPath's names of the measurements, and their values (cells, names) to four decimals."""
    names = measurement_names(stain)
    columns = [cells[column].to_numpy().astype(np.float64) for column in names]
    return list(names.values()), np.stack(columns, axis=1).round(4)


def class_colours(classes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Colour of each class, by its place."""
    return {name: CLASS_COLOURS[i % len(CLASS_COLOURS)] for i, name in enumerate(classes)}


def classification(name: str, colour: tuple[int, int, int]) -> dict[str, Any]:
    """Name a class in a feature; QuPath rejects a name without its colour."""
    return {"name": name, "color": list(colour)}


def cell_features(
    cells: pa.Table,
    *,
    classes: Sequence[str],
    stain: Stain,
    bounds: tuple[float, float],
    counts: Counter[str],
) -> Iterator[dict[str, Any]]:
    """Features of the rows of a cell table, in their order.

    Parameters
    ----------
    cells
        Rows of `CELL_SCHEMA`.
    classes
        Names of all classes, in the order that gives them colours.
    stain
        Names the counterstain in the measurements.
    bounds
        Level-0 x, y of the corner that QuPath crops the slide to.
    counts
        Gets "features", "repaired" and "dropped" added.
    """
    outlines = shapely.from_wkb(cells["geometry"].to_numpy())
    if any(bounds):
        outlines = shapely.transform(outlines, lambda positions: positions - bounds)
    cleaned = clean(outlines)
    counts.update(
        features=len(cleaned.polygons), repaired=cleaned.repaired, dropped=cleaned.dropped
    )
    cells = cells.filter(pa.array(cleaned.kept))
    labels = {name: classification(name, colour) for name, colour in class_colours(classes).items()}
    names, values = measurements(cells, stain)
    for geometry, cell, label, row in zip(
        geometries(cleaned.polygons),
        cells["id"].to_pylist(),
        cells["class"].to_pylist(),
        values.tolist(),
        strict=True,
    ):
        properties: dict[str, Any] = {"objectType": "detection"}
        if label:
            properties["classification"] = labels[label]
        finite = zip(names, row, strict=True)
        properties["measurements"] = {key: value for key, value in finite if math.isfinite(value)}
        yield {"type": "Feature", "id": cell, "geometry": geometry, "properties": properties}


def tissue_outlines(
    mask: NDArray[np.bool_],
    *,
    size_px: tuple[int, int],
    bounds: tuple[float, float],
) -> NDArray[np.object_]:
    """Polygons (x, y) of the connected pieces of a tissue mask (y, x), as QuPath sees the slide.

    `size_px` is the level-0 height and width that the mask covers; outlines are smoothed by
    less than a pixel of the mask.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    merged = shapely.union_all(shapely.box(starts, rows, stops, rows + 1))
    pieces = shapely.simplify(shapely.get_parts(merged), 0.75)
    step = np.array([size_px[1] / mask.shape[1], size_px[0] / mask.shape[0]])
    placed = shapely.transform(pieces, lambda positions: positions * step - bounds)
    return clean(placed).polygons


def tissue_features(polygons: NDArray[np.object_], *, slide: str) -> list[dict[str, Any]]:
    """One locked annotation for each piece of tissue of a slide."""
    return [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{slide}/tissue/{index}")),
            "geometry": geometry,
            "properties": {
                "objectType": "annotation",
                "name": f"{TISSUE} {index + 1}",
                "classification": classification(TISSUE, TISSUE_COLOUR),
                "isLocked": True,
            },
        }
        for index, geometry in enumerate(geometries(polygons))
    ]


def image_names(slides: Sequence[str], sources: Sequence[Path]) -> list[str]:
    """Name of each image in a project: that of its file, the slide's before it if it is shared."""
    shared = Counter(source.name.casefold() for source in sources)
    return [
        source.name if shared[source.name.casefold()] == 1 else f"{slide} {source.name}"
        for slide, source in zip(slides, sources, strict=True)
    ]


def project_file(
    images: Sequence[ProjectImage], *, location: Path, timestamp_ms: int
) -> dict[str, Any]:
    """Content of `project.qpproj`, which will be the file `location`."""
    return {
        "version": PROJECT_VERSION,
        "createTimestamp": timestamp_ms,
        "modifyTimestamp": timestamp_ms,
        "uri": _uri(location),
        "lastID": len(images),
        "images": [
            {
                "serverBuilder": {"builderType": "uri", "uri": _uri(image.source), "args": []},
                "entryID": index,
                "imageName": image.name,
                "metadata": {},
            }
            for index, image in enumerate(images, start=1)
        ],
    }


def _uri(path: Path) -> str:
    """URI of a local file as Java writes it, with one slash."""
    return path.absolute().as_uri().replace("file:///", "file:/", 1)


def class_list(classes: Sequence[str]) -> dict[str, Any]:
    """Content of `classes.json`: names, and colours as signed ARGB integers."""
    colours = {**class_colours(classes), TISSUE: TISSUE_COLOUR}
    return {"pathClasses": [{"name": name, "color": _argb(*rgb)} for name, rgb in colours.items()]}


def _argb(red: int, green: int, blue: int) -> int:
    return (0xFF << 24 | red << 16 | green << 8 | blue) - (1 << 32)
