"""The part of the page that shows one slide: its pictures, plots and commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsipsm.config import Report
from wsipsm.io import ngff
from wsipsm.report import pictures, views
from wsipsm.report.artefacts import COLOURS, with_artefacts
from wsipsm.report.cells import CellColumns, read_columns, read_outlines
from wsipsm.report.commands import slide_commands
from wsipsm.report.figures import histograms
from wsipsm.report.numbers import ScoreTable, SlideNumbers, slide_scores
from wsipsm.report.pictures import Picture
from wsipsm.report.products import Cohort, SlideProducts
from wsipsm.report.zooms import Zoom, zooms
from wsipsm.types import palette

SMALL_PX = 200
"""Longest side of the overview of a slide that is not shown in full."""


@dataclass(frozen=True)
class Shown:
    """A picture with its heading, what it shows in words, and how to read it."""

    title: str
    alt: str
    caption: str
    picture: Picture


@dataclass(frozen=True)
class SlidePart:
    """All that the page shows of one slide; legends hold names and CSS colours.

    `details` holds pictures by where they are; a slide that is not shown in full has none, no
    commands, and one small overview.
    """

    numbers: SlideNumbers
    overviews: list[Shown]
    details: list[tuple[str, list[Shown]]]
    plots: list[Shown]
    legend: list[tuple[str, str]]
    artefact_legend: list[tuple[str, str]]
    scores: dict[str, ScoreTable]
    commands: dict[str, str]


def slide_parts(
    cohort: Cohort, numbers: list[SlideNumbers], settings: Report, *, full: set[str]
) -> Iterator[SlidePart]:
    """Make the parts one by one, so that the pictures of one slide are held at a time.

    `full` holds the anchors of the slides that are shown with all their pictures.
    """
    for slide, known in zip(cohort.slides, numbers, strict=True):
        if known.anchor in full:
            yield _Drawer(slide, cohort.models, settings).part(cohort, known)
        else:
            yield _small(slide, known)


def _small(slide: SlideProducts, numbers: SlideNumbers) -> SlidePart:
    """Facts and a small overview."""
    image = views.overview(slide.tiles, views.frame_size(slide.tiles, longest_px=SMALL_PX))
    shown = Shown(
        "Overview",
        f"Small overview of slide {slide.name}",
        "",
        pictures.as_picture(pictures.with_tissue(image, slide.tiles.tissue(), [])),
    )
    return SlidePart(numbers, [shown], [], [], [], [], {}, {})


class _Drawer:
    """Pictures of one slide."""

    def __init__(self, slide: SlideProducts, models: tuple[str, ...], settings: Report) -> None:
        self.slide, self.tiles = slide, slide.tiles
        self.cells: dict[str, CellColumns] = {}
        self.classes: dict[str, list[str]] = {}
        for model in models:
            if record := slide.cells(model):
                self.classes[model] = record["classes"]
                self.cells[model] = read_columns(self._path(model), classes=record["classes"])
        first = next(iter(self.cells.values()), None)
        self.zooms = zooms(self.tiles, first, side_um=settings.detail_um)
        self.colours = _colours(slide, models)
        self.size = views.frame_size(self.tiles, longest_px=settings.overview_px)

    def part(self, cohort: Cohort, numbers: SlideNumbers) -> SlidePart:
        """All of it."""
        evaluations = {
            model: cohort.records.get(f"evaluation/{model}.json") for model in self.cells
        }
        scores = {
            model: table
            for model, evaluation in evaluations.items()
            if evaluation and (table := slide_scores(evaluation, self.slide.facts["slide"]))
        }
        return SlidePart(
            numbers=numbers,
            overviews=list(self._overviews(numbers)),
            details=[(zoom.title, list(self._detail(zoom))) for zoom in self.zooms],
            plots=list(self._plots()),
            legend=self._legend(),
            artefact_legend=[
                (f"{name}: {number:,} tiles", _css(COLOURS[name]))
                for name, number in numbers.artefacts.items()
                if number
            ],
            scores=scores,
            commands=slide_commands(self.slide, results=cohort.results),
        )

    def _path(self, model: str) -> Path:
        return self.slide.folder / model / "cells.parquet"

    def _overviews(self, numbers: SlideNumbers) -> Iterator[Shown]:
        name, image = self.slide.name, views.overview(self.tiles, self.size)
        outlined = pictures.with_tissue(
            image,
            self.tiles.tissue(),
            [pictures.box_shares(self.tiles, zoom.box) for zoom in self.zooms],
        )
        yield Shown(
            "Overview",
            f"Overview of slide {name} with the outline of its tissue",
            "Green: outline of the tissue. Red: the details below.",
            pictures.as_picture(outlined),
        )
        if numbers.excluded or any(numbers.artefacts.values()):
            yield Shown(
                "Artefacts",
                f"Overview of slide {name} with the tiles that show artefacts",
                f"Tinted: tiles with artefacts. Crossed: excluded, {numbers.excluded:,} tiles.",
                pictures.as_picture(with_artefacts(image, self.tiles)),
            )
        if "activation.zarr" in self.slide.records:
            array, stride = self._activation()
            map_ = views.activation_overview(self.tiles, array, stride=stride, size=self.size)
            yield Shown(
                "Activation map",
                f"Activation map of slide {name}",
                "Dark: 0, bright: 1; bright where the encoder sees nuclei.",
                pictures.as_picture(pictures.map_colours(map_)),
            )
        if "pseudomasks.zarr" in self.slide.records:
            classes, array = self._pseudo_mask()
            shares = views.class_overview(self.tiles, array, classes=classes, size=self.size)
            yield Shown(
                "Pseudo mask",
                f"Pseudo mask of slide {name} over its overview in grey",
                "What the model learnt from: share of the pixels of each class.",
                pictures.as_picture(pictures.with_classes(image, shares, self.colours)),
            )
        for model, cells in self.cells.items():
            density, peak = views.cell_density(self.tiles, cells.x, cells.y, self.size)
            yield Shown(
                f"Cell density, {model}",
                f"Density of the cells that {model} found on slide {name}",
                f"Dark: none, brightest: {peak:,.0f} cells per mm².",
                pictures.as_picture(pictures.map_colours(density)),
            )

    def _detail(self, zoom: Zoom) -> Iterator[Shown]:
        where, box = f"{zoom.title.lower()} detail of slide {self.slide.name}", zoom.box
        image = pictures.enlarged(np.moveaxis(views.detail_image(self.tiles, box), 0, -1))
        yield Shown(
            "Image",
            f"Image of the {where}",
            f"{box.width * self.tiles.mpp:,.0f} µm wide; {zoom.reason}.",
            pictures.as_picture(image),
        )
        if "activation.zarr" in self.slide.records:
            array, stride = self._activation()
            values = views.detail_plane(array, box, stride=stride).astype(np.float32)
            yield Shown(
                "Activation map",
                f"Activation map of the {where}",
                "Dark: 0, bright: 1.",
                pictures.as_picture(pictures.enlarged(pictures.map_colours(values))),
            )
        if "pseudomasks.zarr" in self.slide.records:
            _, array = self._pseudo_mask()
            mask = pictures.class_mask(views.detail_plane(array, box), self.colours)
            yield Shown(
                "Pseudo mask",
                f"Pseudo mask of the {where}",
                "Grey: left out of the training.",
                pictures.as_picture(pictures.enlarged(mask, smooth=False)),
            )
        for model, classes in self.classes.items():
            yield self._outlined(model, classes, image, zoom)

    def _outlined(
        self, model: str, classes: list[str], image: NDArray[np.uint8], zoom: Zoom
    ) -> Shown:
        box, scale = zoom.box, self.tiles.scale
        outlines, numbers = read_outlines(self._path(model), box=box, scale=scale, classes=classes)
        drawn = pictures.with_outlines(image, outlines, numbers, box=box, colours=self.colours)
        return Shown(
            f"Cells of {model}",
            f"Outlines of the cells that {model} found in the {zoom.title.lower()} detail of slide"
            f" {self.slide.name}",
            f"{len(outlines):,} cells reach into the view.",
            pictures.as_picture(drawn),
        )

    def _plots(self) -> Iterator[Shown]:
        for model, cells in self.cells.items():
            if not len(cells.x):
                continue
            area, stain = (float(np.nanmedian(v)) for v in (cells.area_um2, cells.haematoxylin))
            medians = f"median area {area:.1f} µm², median haematoxylin density {stain:.3f}"
            yield Shown(
                f"Size and stain of the cells of {model}",
                f"Histograms of area and haematoxylin density of the cells of {model}: {medians}",
                f"{medians.capitalize()}. One curve a class; the last bin holds what is beyond.",
                histograms(cells.area_um2, cells.haematoxylin, cells.classes, self.colours),
            )

    def _legend(self) -> list[tuple[str, str]]:
        """Classes in their colours, from the cells or, before there are any, the pseudo masks."""
        masks = self.slide.records.get("pseudomasks.zarr", {}).get("classes", [])
        names = next(iter(self.classes.values()), masks)
        return [(name, _css(pictures.colour_of(i, self.colours))) for i, name in enumerate(names)]

    def _activation(self) -> tuple[views.Plane, int]:
        group = ngff.open_group(self.slide.folder / "activation.zarr")
        stride: int = self.slide.records["activation.zarr"]["stride"]
        return views.plane(group, "0"), stride

    def _pseudo_mask(self) -> tuple[int, views.Plane]:
        group = ngff.open_group(self.slide.folder / "pseudomasks.zarr")
        classes = len(self.slide.records["pseudomasks.zarr"]["classes"])
        return classes, views.plane(group, "labels/classes/0")


def _colours(slide: SlideProducts, models: tuple[str, ...]) -> pictures.Colours:
    """Colours of the classes as they were exported."""
    for model in models:
        if record := slide.records.get(f"{model}/cells.geojson.zip"):
            return palette(record["provenance"]["settings"].get("colours", ()))
    return palette()


def _css(colour: tuple[int, int, int]) -> str:
    return "rgb({}, {}, {})".format(*colour)
