"""The command line that makes a product again, from its provenance and the layout of results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsipsm.report.products import Cohort, Record, SlideProducts

SHEET = "slide sheet"
"""Who told the mpp of a slide, where it was not its file."""


def slide_commands(slide: SlideProducts, *, results: Path) -> dict[str, str]:
    """Commands of one slide's products, by their path in its folder."""
    places = {"slide": slide.folder, "models": results / "models"}
    return {
        path: _command(
            record, [*_subjects(slide, path, places), slide.folder / path], _prompts(record, places)
        )
        for path, record in slide.records.items()
    }


def cohort_commands(cohort: Cohort) -> dict[str, str]:
    """Commands of models and evaluations, by their path in the results."""
    commands = {}
    for path, record in cohort.records.items():
        target = cohort.results / path
        stage = record["provenance"]["stage"]
        inputs = record["provenance"]["inputs"]
        slides = [cohort.results / "slides" / name for name in cohort.names if name in inputs]
        if stage == "pretrain":
            commands[path] = _command(record, [*_each(slides, "tiles.zarr"), target])
        elif stage == "train":
            options = {
                "tiles": _each(slides, "tiles.zarr"),
                "pseudomasks": _each(slides, "pseudomasks.zarr"),
            }
            drawn = {name: facts["path"] for name, facts in record.get("annotations", {}).items()}
            if drawn:
                options["annotations"] = [Path(drawn.get(slide.name, "-")) for slide in slides]
            commands[path] = _command(record, [target], options)
        elif stage == "evaluate":
            options = {
                "tiles": _each(slides, "tiles.zarr"),
                "cells": _each(slides, f"{record['model']}/cells.parquet"),
                "truth": [_truth(slide.name, record["skipped"]) for slide in slides],
                "encoder": [cohort.results / "models/encoder.pt"],
                "checkpoint": [cohort.results / f"models/{record['model']}.pt"],
            }
            commands[path] = _command(record, [target], options)
    return commands


def report_command(cohort: Cohort, target: Path, quarantined: Path, settings: Record) -> str:
    """The command that writes this page again."""
    record = {"provenance": {"stage": "report", "settings": settings}}
    options = {"slides": cohort.names, "models": cohort.models, "quarantined": [quarantined]}
    return _command(record, [cohort.results, target], options)


def slide_report_command(cohort: Cohort, slide: str) -> str:
    """The command that writes a page about one slide, with all its pictures."""
    models = [f"--models={model}" for model in cohort.models]
    words = ["wsipsm", "report", str(cohort.results), f"{slide}.html", f"--slides={slide}", *models]
    return shlex.join([*words, f"--quarantined={slide}.tsv"])


def _prompts(record: Record, places: dict[str, Path]) -> dict[str, Sequence[object]]:
    """The product that said where to ask for cells, if any did."""
    sources = {
        "pseudomasks": places["slide"] / "pseudomasks.zarr",
        "unet": places["models"] / "unet.pt",
    }
    points = record["provenance"]["settings"].get("prompting_points")
    return {"prompts": [sources[points]]} if points in sources else {}


def _truth(slide: str, skipped: dict[str, str]) -> Path:
    """Where the truth of a slide goes in a command: its file is not recorded."""
    return Path("-" if slide in skipped else f"TRUTH_OF_{slide}")


def _each(slides: list[Path], path: str) -> list[Path]:
    return [slide / path for slide in slides]


def _subjects(slide: SlideProducts, path: str, places: dict[str, Path]) -> list[Path]:
    """What the stage of a slide's product reads, in the order of its arguments."""
    folder, models = places["slide"], places["models"]
    model = path.partition("/")[0]
    subjects = {
        "tiles.zarr": [Path(slide.facts["source"])],
        "activation.zarr": [folder / "tiles.zarr", models / "encoder.pt"],
        "pseudomasks.zarr": [folder / "tiles.zarr", folder / "activation.zarr"],
        "tile_cells": [folder / "tiles.zarr", models / f"{model}.pt"],
        "cells.parquet": [folder / model / "tile_cells"],
        "cells.geojson.zip": [folder / model / "cells.parquet"],
    }
    return subjects[path.rpartition("/")[2]]


def _command(
    record: Record, subjects: list[Path], options: Mapping[str, Sequence[object]] | None = None
) -> str:
    """`wsipsm STAGE`, its subjects, and every setting as an option."""
    provenance = record["provenance"]
    settings = dict(provenance["settings"])
    facts = settings.pop("slide", None)
    if facts:
        settings |= {"name": facts["slide"], "stain": facts["stain"]}
        settings |= {"slide-mpp": facts["mpp"]} if facts["mpp_source"] == SHEET else {}
    words = ["wsipsm", provenance["stage"], *map(str, subjects)]
    for name, value in {**(options or {}), **settings}.items():
        several = value if isinstance(value, list | tuple) else [value]
        words += [f"--{name.replace('_', '-')}={each}" for each in several or [""]]
    return shlex.join(words)
