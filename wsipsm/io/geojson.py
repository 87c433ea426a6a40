"""GeoJSON as QuPath reads it: outlines repaired, features streamed, annotations read back."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from wsipsm.errors import DataError

GRID_PX = 0.01
"""QuPath snaps coordinates to this grid; an area below it becomes an empty ROI."""

SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".zip")

_POLYGON, _MULTI_POLYGON = 3, 6


@dataclass(frozen=True)
class Cleaned:
    """Outlines that QuPath takes, and what became of the rest.

    Attributes
    ----------
    polygons
        Valid polygons (x, y) with two decimals, in the order of the input.
    kept
        bool (n,): which of the input's outlines they are.
    repaired
        Number of kept outlines that were invalid, or of which only the largest piece is left.
    """

    polygons: NDArray[np.object_]
    kept: NDArray[np.bool_]
    repaired: int

    @property
    def dropped(self) -> int:
        """Number of outlines of which nothing usable is left."""
        return int((~self.kept).sum())


def clean(outlines: NDArray[np.object_]) -> Cleaned:
    """Make outlines (n,) into valid polygons on QuPath's grid, or drop them.

    QuPath rejects a whole file for one self-crossing ring, hole outside its shell or number
    that is not finite. All are rounded to 0.01 px; those that are not valid polygons then are
    repaired, and of what falls apart the largest piece is kept.
    """
    positions, owner = shapely.get_coordinates(outlines, return_index=True)
    wrong = owner[~np.isfinite(positions).all(axis=1)]
    finite = np.bincount(wrong, minlength=len(outlines)) == 0
    polygons = shapely.set_coordinates(outlines.copy(), positions.round(2))
    rest = ~(finite & _is_fit(polygons))
    polygons[~finite] = None
    mended, repaired = _mend(np.where(finite, outlines, polygons)[rest])
    polygons[rest] = mended
    kept = ~rest
    kept[rest] = _is_fit(mended)
    return Cleaned(polygons[kept], kept, repaired=int((repaired & kept[rest]).sum()))


def _is_fit(polygons: NDArray[np.object_]) -> NDArray[np.bool_]:
    fit = shapely.get_type_id(polygons) == _POLYGON
    fit &= shapely.area(polygons) > GRID_PX
    fit[fit] = shapely.is_valid(polygons[fit])
    return np.asarray(fit)


def _mend(
    outlines: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Outlines on the grid with what is wrong taken away, or None; and which were wrong."""
    outlines = outlines.copy()
    wrong = ~shapely.is_valid(outlines)
    outlines[wrong] = shapely.make_valid(outlines[wrong], method="structure", keep_collapsed=False)
    snapped = shapely.set_precision(outlines, GRID_PX)
    pieces, owner = shapely.get_parts(snapped, return_index=True)
    polygons = _largest(pieces, owner, len(outlines))
    wrong |= np.bincount(owner, minlength=len(outlines)) > 1
    return shapely.transform(polygons, lambda positions: positions.round(2)), wrong


def _largest(
    pieces: NDArray[np.object_], owner: NDArray[np.int64], count: int
) -> NDArray[np.object_]:
    """Largest polygon among the pieces of each owner (the first of equals), or None."""
    is_polygon = shapely.get_type_id(pieces) == _POLYGON
    pieces, owner = pieces[is_polygon], owner[is_polygon]
    order = np.lexsort((-shapely.area(pieces), owner))
    owners, first = np.unique(owner[order], return_index=True)
    out = np.full(count, None, dtype=object)
    out[owners] = pieces[order][first]
    return out


def geometries(polygons: NDArray[np.object_]) -> list[bytes]:
    """GeoJSON geometry of each polygon (n,), as JSON text."""
    holes = shapely.get_num_interior_rings(polygons)
    rings = shapely.get_rings(polygons) if holes.any() else polygons
    positions = shapely.get_coordinates(rings)
    stops = np.cumsum(shapely.get_num_coordinates(rings)).tolist()
    arrays = [positions[start:stop] for start, stop in pairwise([0, *stops])]
    texts = orjson.dumps(arrays, option=orjson.OPT_SERIALIZE_NUMPY)[3:-3].split(b"]],[[")
    lasts = np.cumsum(holes + 1).tolist()
    return [
        b'{"type":"Polygon","coordinates":[[[%s]]]}' % b"]],[[".join(texts[first:last])
        for first, last in pairwise([0, *lasts])
    ]


def feature_text(feature: dict[str, Any]) -> bytes:
    """A feature as JSON text, in plain ASCII: QuPath reads with the platform's character set.

    A member that is bytes is such a text already.
    """
    return _ascii(orjson.dumps(feature, default=_fragment))


def _fragment(text: object) -> orjson.Fragment:
    if isinstance(text, bytes):
        return orjson.Fragment(text)
    raise TypeError(type(text).__name__)


def write_features(file: IO[bytes], features: Iterable[bytes]) -> None:
    """Write the JSON texts of features as one FeatureCollection, each on a line of its own."""
    file.write(b'{"type":"FeatureCollection","features":[')
    separator = b"\n"
    for feature in features:
        file.write(separator)
        file.write(feature)
        separator = b",\n"
    file.write(b"\n]}\n")


def _ascii(text: bytes) -> bytes:
    """Escape what is not ASCII in a JSON text."""
    text = text.replace("µ".encode(), rb"\u00b5")  # nearly always the only one
    if text.isascii():
        return text
    return re.sub(r"[^\x00-\x7f]+", lambda run: json.dumps(run[0])[1:-1], text.decode()).encode()


def read_annotations(
    path: Path, *, origin: tuple[float, float] = (0.0, 0.0)
) -> tuple[NDArray[np.object_], list[str | None]]:
    """Polygons of a GeoJSON file, and the class of each.

    A FeatureCollection, a list of features or a single one, as QuPath and others write them;
    of a cell with a nucleus the nucleus is read, and each part of a MultiPolygon counts as a
    polygon. Invalid outlines are repaired as in
    `clean`; those without an area are left out.

    Parameters
    ----------
    path
        .geojson or .json, either gzipped, or a .zip of such files.
    origin
        Level-0 x, y of the file's (0, 0). QuPath crops a slide to its bounds: give their x, y.

    Returns
    -------
    polygons, classes
        Shapely polygons (n,) in level-0 pixels; n names, None where no class is given.

    Raises
    ------
    DataError
        No such file, another format, broken JSON, or a feature that is no polygon.
    """
    features = [feature for text in _texts(path) for feature in _features(path, text)]
    names = [_class_name(feature) for feature in features]
    polygons, owner = shapely.get_parts(_outlines(path, features), return_index=True)
    polygons = shapely.force_2d(polygons)
    bad = np.flatnonzero(~shapely.is_valid(polygons))
    repaired = clean(polygons[bad])
    polygons[bad] = None
    polygons[bad[repaired.kept]] = repaired.polygons
    if any(origin):
        polygons = shapely.transform(polygons, lambda positions: positions + origin)
    usable = shapely.area(polygons) > 0
    return polygons[usable], [names[index] for index in owner[usable]]


def _texts(path: Path) -> list[bytes]:
    """JSON texts in a file: one, or one for each entry of a zip."""
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(f"{path}: not a GeoJSON file; its name must end in {', '.join(SUFFIXES)}")
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return [
                    archive.read(name)
                    for name in archive.namelist()
                    if name.lower().endswith((".geojson", ".json"))
                    and not name.startswith("__MACOSX/")
                ]
        data = path.read_bytes()
        return [gzip.decompress(data) if path.suffix.lower() == ".gz" else data]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; correct the path") from None
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); export it again") from None


def _features(path: Path, text: bytes) -> list[dict[str, Any]]:
    try:
        content = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error}); export it again as GeoJSON") from None
    if isinstance(content, dict):
        features = content.get("features") if "features" in content else [content]
    else:
        features = content
    if not isinstance(features, list) or not all(
        isinstance(feature, dict) and feature.get("type") == "Feature" for feature in features
    ):
        raise DataError(f"{path}: JSON without GeoJSON features; export objects as GeoJSON")
    return features


def _class_name(feature: dict[str, Any]) -> str | None:
    properties = feature.get("properties")
    found = properties.get("classification") if isinstance(properties, dict) else None
    name = found.get("name") if isinstance(found, dict) else None
    return str(name) if name else None


def _outlines(path: Path, features: list[dict[str, Any]]) -> NDArray[np.object_]:
    shapes = [feature.get("nucleusGeometry") or feature.get("geometry") for feature in features]
    texts = np.array([orjson.dumps(shape) for shape in shapes], dtype=object)
    outlines: NDArray[np.object_] = shapely.from_geojson(texts, on_invalid="ignore")
    kinds = shapely.get_type_id(outlines)
    wrong = np.flatnonzero(~np.isin(kinds, (_POLYGON, _MULTI_POLYGON)))
    if len(wrong):
        geometry = features[wrong[0]].get("geometry")
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        raise DataError(
            f"{path}: feature {wrong[0] + 1} ({kind or 'no geometry'}) is no closed polygon;"
            " keep only polygons and export again"
        )
    return outlines
