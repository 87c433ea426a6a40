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
from wsipsm.types import Region


@dataclass(frozen=True)
class Shown:
    """A picture with its heading, what it shows in words, and how to read it."""

    title: str
    alt: str
    caption: str
    picture: Picture


@dataclass(frozen=True)
class SlidePart:
    """All that the page shows of one slide; legends hold names and CSS colours."""

    numbers: SlideNumbers
    overviews: list[Shown]
    details: list[Shown]
    plots: list[Shown]
    legend: list[tuple[str, str]]
    artefact_legend: list[tuple[str, str]]
    scores: dict[str, ScoreTable]
    commands: dict[str, str]


def slide_parts(
    cohort: Cohort, numbers: list[SlideNumbers], settings: Report
) -> Iterator[SlidePart]:
    """Make the parts one by one, so that the pictures of one slide are held at a time."""
    for slide, known in zip(cohort.slides, numbers, strict=True):
        yield _Drawer(slide, cohort.models, settings).part(cohort, known)


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
        none = np.zeros(0)
        first = next(iter(self.cells.values()), None)
        x, y = (first.x, first.y) if first else (none, none)
        self.box = views.densest_box(self.tiles, x, y, settings.detail_um)
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
            details=list(self._details()),
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
            image, self.tiles.tissue(), pictures.box_shares(self.tiles, self.box)
        )
        yield Shown(
            "Overview",
            f"Overview of slide {name} with the outline of its tissue",
            "Green: outline of the tissue. Red: the detail below.",
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
                pictures.as_picture(pictures.with_classes(image, shares)),
            )
        for model, cells in self.cells.items():
            density, peak = views.cell_density(self.tiles, cells.x, cells.y, self.size)
            yield Shown(
                f"Cell density, {model}",
                f"Density of the cells that {model} found on slide {name}",
                f"Dark: none, brightest: {peak:,.0f} cells per mm².",
                pictures.as_picture(pictures.map_colours(density)),
            )

    def _details(self) -> Iterator[Shown]:
        name = self.slide.name
        pixels = np.moveaxis(views.detail_image(self.tiles, self.box), 0, -1)
        image = pictures.enlarged(pixels)
        side_um = self.box.width * self.tiles.mpp
        yield Shown(
            "Image",
            f"Detail of slide {name}",
            f"{side_um:,.0f} µm wide.",
            pictures.as_picture(image),
        )
        if "activation.zarr" in self.slide.records:
            array, stride = self._activation()
            values = views.detail_plane(array, self.box, stride=stride).astype(np.float32)
            yield Shown(
                "Activation map",
                f"Activation map of the detail of slide {name}",
                "Dark: 0, bright: 1.",
                pictures.as_picture(pictures.enlarged(pictures.map_colours(values))),
            )
        if "pseudomasks.zarr" in self.slide.records:
            _, array = self._pseudo_mask()
            mask = pictures.class_mask(views.detail_plane(array, self.box))
            yield Shown(
                "Pseudo mask",
                f"Pseudo mask of the detail of slide {name}",
                "Grey: left out of the training.",
                pictures.as_picture(pictures.enlarged(mask, smooth=False)),
            )
        for model, classes in self.classes.items():
            yield self._outlined(model, classes, image, self.box)

    def _outlined(
        self, model: str, classes: list[str], image: NDArray[np.uint8], box: Region
    ) -> Shown:
        scale = self.tiles.scale
        outlines, numbers = read_outlines(self._path(model), box=box, scale=scale, classes=classes)
        drawn = pictures.with_outlines(image, outlines, numbers, box=box)
        return Shown(
            f"Cells of {model}",
            f"Outlines of the cells that {model} found in the detail of slide {self.slide.name}",
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
                histograms(cells.area_um2, cells.haematoxylin, cells.classes),
            )

    def _legend(self) -> list[tuple[str, str]]:
        """Classes in their colours, from the cells or, before there are any, the pseudo masks."""
        masks = self.slide.records.get("pseudomasks.zarr", {}).get("classes", [])
        names = next(iter(self.classes.values()), masks)
        return [(name, _css(pictures.colour_of(i))) for i, name in enumerate(names)]

    def _activation(self) -> tuple[views.Plane, int]:
        group = ngff.open_group(self.slide.folder / "activation.zarr")
        stride: int = self.slide.records["activation.zarr"]["stride"]
        return views.plane(group, "0"), stride

    def _pseudo_mask(self) -> tuple[int, views.Plane]:
        group = ngff.open_group(self.slide.folder / "pseudomasks.zarr")
        classes = len(self.slide.records["pseudomasks.zarr"]["classes"])
        return classes, views.plane(group, "labels/classes/0")


def _css(colour: tuple[int, int, int]) -> str:
    return "rgb({}, {}, {})".format(*colour)
