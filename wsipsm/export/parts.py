"""Cells for QuPath: a zip of GeoJSON parts, and nothing beside them in it."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsipsm.config import Export
from wsipsm.export.expansion import expand
from wsipsm.export.names import class_colours
from wsipsm.export.qupath import cell_features
from wsipsm.export.rows import Cells
from wsipsm.io.geojson import clean, write_features
from wsipsm.io.product import Provenance

_LEVEL = 1  # of deflate: 16 % larger than level 6, in a quarter of the time


def write_parts(cells: Cells, path: Path, provenance: Provenance, settings: Export) -> None:
    """Write parts of at most `part_features` cells; the record is the comment of the zip.

    QuPath reads every entry of a zip, so that the record is not one. It counts what was
    written, `features`, and what was `repaired` and `dropped` for QuPath's sake.
    """
    colours = class_colours(cells.record["classes"], settings.colours)
    counts = Counter(features=0, repaired=0, dropped=0)
    features = (
        feature
        for table, nuclei, boundaries in _batches(cells, settings.cell_expansion_um, counts)
        for feature in cell_features(
            table, nuclei, boundaries, colours=colours, stain=cells.record["slide"]["stain"]
        )
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        _write_all(archive, features, settings.part_features)
        content = {
            "provenance": provenance.as_dict(),
            "colours": colours,
            "parts": len(archive.namelist()),
            **counts,
        }
        archive.comment = json.dumps(content).encode()


def _write_all(archive: zipfile.ZipFile, features: Iterator[bytes], part_features: int) -> None:
    """Write parts one after the other: a thread packs one while the next is put together."""
    with ThreadPoolExecutor(1) as packer:
        last: Future[None] | None = None
        for number in count():
            part = list(islice(features, part_features))
            if last:
                last.result()
            if part or number == 0:
                last = packer.submit(_write_part, archive, f"part-{number:04d}.geojson", part)
            if len(part) < part_features:
                break
        if last:
            last.result()


def _write_part(archive: zipfile.ZipFile, name: str, features: list[bytes]) -> None:
    text = io.BytesIO()
    write_features(text, features)
    entry = zipfile.ZipInfo(name)  # dated 1980, so that equal cells are equal bytes
    archive.writestr(entry, text.getbuffer(), zipfile.ZIP_DEFLATED, _LEVEL)


def _batches(
    cells: Cells, expansion_um: float, counts: Counter[str]
) -> Iterator[tuple[pa.Table, NDArray[np.object_], NDArray[np.object_] | None]]:
    """Rows that QuPath takes, their nuclei and cell boundaries, in pixels as QuPath counts them."""
    facts = cells.record["slide"]
    for table in cells.tables():
        found = clean(shapely.from_wkb(table["geometry"].to_numpy()))
        counts.update(features=len(found.polygons), repaired=found.repaired, dropped=found.dropped)
        table = table.filter(pa.array(found.kept))
        boundaries = None
        if expansion_um and len(table):
            boundaries = _placed(
                _grown(cells, table, found.polygons, expansion_um / facts["mpp"]), facts["bounds"]
            )
        yield table, _placed(found.polygons, facts["bounds"]), boundaries


def _grown(
    cells: Cells, table: pa.Table, nuclei: NDArray[np.object_], distance_px: float
) -> NDArray[np.object_]:
    """Boundary of the cell around each nucleus; the nucleus where no boundary is left."""
    left, top, right, bottom = shapely.total_bounds(nuclei)
    reach = 2 * distance_px + 1
    box = (left - reach, top - reach, right + reach, bottom + reach)
    near = cells.within(box, ["id", "geometry"])
    found = clean(shapely.from_wkb(near["geometry"].to_numpy()))
    ids = near["id"].to_numpy()[found.kept]
    order = np.argsort(ids)
    wanted = order[np.searchsorted(ids, table["id"].to_numpy(), sorter=order)]
    grown = clean(expand(found.polygons, ids, wanted=wanted, distance_px=distance_px))
    boundaries = nuclei.copy()
    boundaries[grown.kept] = grown.polygons
    return boundaries


def _placed(polygons: NDArray[np.object_], bounds: list[int]) -> NDArray[np.object_]:
    """Polygons counted from the corner that QuPath crops the slide to."""
    if not any(bounds[:2]):
        return polygons
    positions = shapely.get_coordinates(polygons) - bounds[:2]
    return np.asarray(shapely.set_coordinates(polygons.copy(), positions.round(2)))
