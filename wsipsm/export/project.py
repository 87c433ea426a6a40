"""Stage 8, the cohort: a QuPath project that opens at a click, with the cells beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsipsm.errors import DataError, QuarantinedError, SettingsError
from wsipsm.export.export import QUPATH
from wsipsm.export.names import Colour
from wsipsm.export.qupath import (
    ProjectImage,
    class_list,
    image_names,
    project_file,
    tissue_features,
    tissue_outlines,
)
from wsipsm.io.geojson import write_features
from wsipsm.io.product import Provenance, fingerprint, making, read_record, write_record
from wsipsm.io.tiles import Tiles, open_tiles

SCRIPT = Path(__file__).with_name("import_detections.groovy")
README = Path(__file__).with_name("project_readme.txt")


@dataclass(frozen=True)
class _Slide:
    """Products of one slide, opened."""

    tiles: Tiles
    cells: dict[str, Any]
    zip: Path
    zip_record: dict[str, Any]


def project(target: Path, *, tiles: list[Path], cells: list[Path], zips: list[Path]) -> None:
    """Write a folder that QuPath opens as a project; slides that were set aside are left out.

    Parameters
    ----------
    target
        The folder; it holds `project.qpproj`, `classifiers/classes.json`, `detections/`,
        `manifest.json` (cells and pieces of tissue that each image must get),
        `scripts/import_detections.groovy`, `README.txt`.
    tiles, cells, zips
        `tiles.zarr`, `cells.parquet` and `cells.geojson.zip` of each slide, in one order.

    Raises
    ------
    SettingsError
        The lists differ in length.
    DataError
        No slide is left, or a zip was made from other cells.
    """
    if not len(tiles) == len(cells) == len(zips):
        raise SettingsError(
            f"{target}: {len(tiles)} tiles, {len(cells)} cells, {len(zips)} zips;"
            " give one of each for each slide"
        )
    slides = list(_open(tiles, cells, zips))
    if not slides:
        raise DataError(f"{target}: every slide was set aside; see the reasons in the report")
    sources = [Path(slide.tiles.source).absolute() for slide in slides]
    names = image_names([slide.tiles.slide for slide in slides], sources)
    inputs = {slide.tiles.slide: slide.zip_record["provenance"]["id"] for slide in slides}
    texts = {"script": fingerprint(SCRIPT), "readme": fingerprint(README)}
    known = {"images": {name: str(path) for name, path in zip(names, sources, strict=True)}}
    provenance = Provenance("project", known, {**inputs, **texts})
    with making(target, provenance) as partial:
        folder = partial.path
        for name in ("classifiers", "detections", "scripts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        images = [ProjectImage(*pair) for pair in zip(names, sources, strict=True)]
        location = target.absolute() / "project.qpproj"
        content = project_file(images, location=location, timestamp_ms=_newest_ms(sources))
        _write_json(folder / "project.qpproj", content)
        _write_json(folder / "classifiers" / "classes.json", class_list(_colours(slides)))
        manifest = {
            name: _write_slide(folder, name, slide)
            for name, slide in zip(names, slides, strict=True)
        }
        _write_json(folder / "manifest.json", {"images": manifest})
        shutil.copyfile(SCRIPT, folder / "scripts" / SCRIPT.name)
        shutil.copyfile(README, folder / "README.txt")
        write_record(folder, provenance)


def _open(tiles: list[Path], cells: list[Path], zips: list[Path]) -> Iterator[_Slide]:
    """Slides of which no product was set aside."""
    for products in zip(tiles, cells, zips, strict=True):
        try:
            slide = _Slide(
                open_tiles(products[0]),
                read_record(products[1]),
                products[2],
                read_record(products[2]),
            )
        except QuarantinedError:
            continue
        if slide.zip_record["provenance"]["inputs"]["cells"] != slide.cells["provenance"]["id"]:
            raise DataError(
                f"{products[2]}: made from other cells than {products[1]}; export again"
            )
        yield slide


def _newest_ms(sources: Sequence[Path]) -> int:
    """When the newest slide file was changed, in milliseconds: a date that repeats."""
    times = [source.stat().st_mtime_ns // 1_000_000 for source in sources if source.exists()]
    return max(times, default=0)


def _colours(slides: Sequence[_Slide]) -> dict[str, Colour]:
    """Colours of the classes of all slides, each class once, in their order."""
    colours: dict[str, Colour] = {}
    for slide in slides:
        colours = {**slide.zip_record["colours"], **colours}
    return colours


def _write_slide(folder: Path, name: str, slide: _Slide) -> dict[str, Any]:
    """Write cells and tissue of a slide; returns its entry in the manifest."""
    detections = f"detections/{name}{QUPATH}"
    shutil.copyfile(slide.zip, folder / detections)
    tiles = slide.tiles
    outlines = tissue_outlines(
        tiles.tissue(), size_px=tiles.size_px, bounds=(tiles.bounds[0], tiles.bounds[1])
    )
    tissue = f"detections/{name}.tissue.geojson"
    with (folder / tissue).open("wb") as file:
        write_features(file, tissue_features(outlines, slide=tiles.slide))
    return {
        "slide": tiles.slide,
        "detections": {"file": detections, "count": slide.zip_record["features"]},
        "tissue": {"file": tissue, "count": len(outlines)},
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")
