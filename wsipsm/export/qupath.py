"""What QuPath reads, as plain values: features, classes, the project file. No disk."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsipsm.config import Stain
from wsipsm.export.names import Colour, measurement_names, measurements
from wsipsm.io.geojson import clean, feature_text, geometries

TISSUE = "Tissue"
TISSUE_COLOUR = (150, 150, 150)

PROJECT_VERSION = "0.5.1"
"""The oldest QuPath that is known to open our projects; newer ones do too."""

_DETECTION = (
    b'{"type":"Feature","id":"%s","geometry":%s,'
    b'"properties":{"objectType":"detection","classification":%s,"measurements":{'
)
_CELL = (
    b'{"type":"Feature","id":"%s","geometry":%s,"nucleusGeometry":%s,'
    b'"properties":{"objectType":"cell","classification":%s,"measurements":{'
)

_NAMESPACE = uuid.UUID("5b9f3f0e-6a0e-5c1c-9b6e-0c8f4f6f2a11")


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project: the name that QuPath shows, and the file it opens."""

    name: str
    source: Path


def classification(name: str, colour: Colour) -> dict[str, Any]:
    """Name a class in a feature; QuPath rejects a name without its colour."""
    return {"name": name, "color": list(colour)}


def cell_features(
    cells: pa.Table,
    nuclei: NDArray[np.object_],
    boundaries: NDArray[np.object_] | None = None,
    *,
    colours: Mapping[str, Colour],
    stain: Stain,
) -> list[bytes]:
    """Features of the rows of a cell table, in their order, as JSON texts.

    Parameters
    ----------
    cells
        Rows of `CELL_SCHEMA`.
    nuclei
        Outline of each nucleus (n,), as `io.geojson.clean` returns them.
    boundaries
        Outline of each cell, likewise: then the objects are cells, otherwise detections.
    colours
        Colour of each class.
    stain
        Names the counterstain in the measurements.
    """
    labels = {name: feature_text(classification(name, rgb)) for name, rgb in colours.items()}
    names = measurement_names(stain)
    values = measurements(cells, names)
    columns = [
        [cell.encode() for cell in cells["id"].to_pylist()],
        geometries(nuclei if boundaries is None else boundaries),
        *([] if boundaries is None else [geometries(nuclei)]),
        [labels[label] for label in cells["class"].to_pylist()],
        *(_texts(column) for column in values.T),
    ]
    head = _DETECTION if boundaries is None else _CELL
    template = _template(head, names.values())
    features = [template % row for row in zip(*columns, strict=True)]
    for row, text in _unfinished(columns, names.values(), values, head):
        features[row] = text
    return features


def _unfinished(
    columns: list[list[bytes]], names: Iterable[str], values: NDArray[np.float64], head: bytes
) -> Iterator[tuple[int, bytes]]:
    """Row and text of each feature with a measurement that is not finite: it is left out."""
    finite = np.isfinite(values)
    rows = np.flatnonzero(~finite.all(axis=1))
    patterns, pattern = np.unique(finite[rows], axis=0, return_inverse=True)
    always = [True] * (len(columns) - values.shape[1])
    for index, kept in enumerate(patterns):
        template = _template(head, compress(names, kept))
        chosen = list(compress(columns, [*always, *kept]))
        for row in rows[pattern == index].tolist():
            yield row, template % tuple(column[row] for column in chosen)


def _template(head: bytes, names: Iterable[str]) -> bytes:
    """Text of a feature with a place for each value; `head` ends where measurements begin."""
    keys = [json.dumps(name).replace("%", "%%").encode("ascii") for name in names]
    return head + b",".join(b"%s:%%s" % key for key in keys) + b"}}}"


def _texts(values: NDArray[np.float64]) -> list[bytes]:
    """Numbers as JSON, by one call for all: a call for each would take ten times as long."""
    numbers = np.ascontiguousarray(values)
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")[: len(values)]


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


def tissue_features(polygons: NDArray[np.object_], *, slide: str) -> list[bytes]:
    """One locked annotation for each piece of tissue of a slide, as JSON texts."""
    features = [
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
    return [feature_text(feature) for feature in features]


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


def class_list(colours: Mapping[str, Colour]) -> dict[str, Any]:
    """Content of `classes.json`: names, and colours as signed ARGB integers."""
    named = {**colours, TISSUE: TISSUE_COLOUR}
    return {"pathClasses": [{"name": name, "color": _argb(*rgb)} for name, rgb in named.items()]}


def _argb(red: int, green: int, blue: int) -> int:
    return (0xFF << 24 | red << 16 | green << 8 | blue) - (1 << 32)
