"""What the report finds in the folder of results: opened products, and slides set aside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsipsm.errors import QuarantinedError
from wsipsm.io.product import read_record
from wsipsm.io.tiles import Tiles, open_tiles

Record = dict[str, Any]

PER_SLIDE = {"tile": "tiles.zarr", "activate": "activation.zarr", "pseudomask": "pseudomasks.zarr"}
PER_MODEL = {"segment": "tile_cells", "stitch": "cells.parquet", "export": "cells.geojson.zip"}


@dataclass(frozen=True)
class QuarantinedSlide:
    """A slide that was set aside: the first stage that could not use it, and why."""

    slide: str
    stage: str
    reason: str


@dataclass(frozen=True)
class SlideProducts:
    """Products of one slide that exist.

    Attributes
    ----------
    name
        As in the slide sheet, and the name of its folder.
    tiles
        The open product of stage 1.
    records
        Records of the folder's products, by their path in it, such as `unet/cells.parquet`.
    """

    name: str
    folder: Path
    tiles: Tiles
    records: dict[str, Record]

    @property
    def facts(self) -> Record:
        """What stage 1 knows about the slide file."""
        facts: Record = self.records["tiles.zarr"]["slide"]
        return facts

    def cells(self, model: str) -> Record | None:
        """Record of the cells that `model` found, if they were made."""
        return self.records.get(f"{model}/cells.parquet")


@dataclass(frozen=True)
class Cohort:
    """All that there is to report on.

    Attributes
    ----------
    names
        All slides, in the order of the slide sheet.
    slides
        Those that have tiles and were not set aside.
    unfinished
        Those that lack the cells of a model, and were not set aside.
    records
        Records of models and evaluations by their path in the results, such as `models/unet.pt`.
    """

    results: Path
    names: tuple[str, ...]
    models: tuple[str, ...]
    slides: tuple[SlideProducts, ...]
    quarantined: tuple[QuarantinedSlide, ...]
    unfinished: tuple[str, ...]
    records: dict[str, Record]

    @property
    def done(self) -> tuple[SlideProducts, ...]:
        """Slides that have the cells of every model."""
        return tuple(slide for slide in self.slides if slide.name not in self.unfinished)

    def ids(self) -> dict[str, str]:
        """Identity of every product that the report reads, by its path in the results."""
        every = dict(self.records)
        for slide in self.slides:
            every |= {f"slides/{slide.name}/{path}": r for path, r in slide.records.items()}
        known = {path: str(record["provenance"]["id"]) for path, record in every.items()}
        aside = {f"slides/{slide.slide}": slide.reason for slide in self.quarantined}
        return known | aside


def open_cohort(results: Path, *, slides: tuple[str, ...], models: tuple[str, ...]) -> Cohort:
    """Find the products of a cohort; what was not made is left out.

    Raises
    ------
    DataError
        A product is damaged.
    """
    found: list[SlideProducts] = []
    aside: list[QuarantinedSlide] = []
    unfinished = []
    for name in slides:
        opened = _open_slide(results / "slides" / name, name, models)
        if isinstance(opened, QuarantinedSlide):
            aside.append(opened)
            continue
        if opened:
            found.append(opened)
        if opened is None or not all(opened.cells(model) for model in models):
            unfinished.append(name)
    shared = ["models/encoder.pt"]
    shared += [
        path for model in models for path in (f"models/{model}.pt", f"evaluation/{model}.json")
    ]
    records = {path: record for path in shared if (record := _record(results / path))}
    return Cohort(results, slides, models, tuple(found), tuple(aside), tuple(unfinished), records)


def _open_slide(
    folder: Path, name: str, models: tuple[str, ...]
) -> SlideProducts | QuarantinedSlide | None:
    """Products of one slide in the order of the stages, up to the first that was set aside."""
    records = {}
    for stage, path in _paths(models):
        try:
            record = _record(folder / path)
        except QuarantinedError as error:
            return QuarantinedSlide(name, stage, str(error))
        if record:
            records[path] = record
    if "tiles.zarr" not in records:
        return None
    return SlideProducts(name, folder, open_tiles(folder / "tiles.zarr"), records)


def _paths(models: tuple[str, ...]) -> list[tuple[str, str]]:
    """Stage and path of each product of a slide, in the order of the stages."""
    paths = list(PER_SLIDE.items())
    for stage, name in PER_MODEL.items():
        paths += [(stage, f"{model}/{name}") for model in models]
    return paths


def _record(product: Path) -> Record | None:
    return read_record(product) if product.exists() else None
