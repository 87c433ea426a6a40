"""Stage 10: one page about the cohort, and the table of the slides that were set aside."""

from __future__ import annotations

import csv
from pathlib import Path

from wsipsm.config import Report
from wsipsm.errors import DataError
from wsipsm.io.product import Provenance, making
from wsipsm.report.page import render
from wsipsm.report.products import QuarantinedSlide, open_cohort


def report(
    results: Path,
    target: Path,
    *,
    slides: tuple[str, ...],
    models: tuple[str, ...],
    quarantined: Path,
    settings: Report,
) -> None:
    """Write the page and the table; the same products give the same bytes.

    Parameters
    ----------
    results
        Folder of all products; parts that were not made are left out of the page.
    target
        The page, one HTML file that needs no other.
    slides, models
        Names, as in the slide sheet and the configuration.
    quarantined
        The table: slide, stage, reason, separated by tabs; only its head where all went well.

    Raises
    ------
    DataError
        No slide is left, or a product is damaged. The table is written before that.
    """
    cohort = open_cohort(results, slides=slides, models=models)
    known = {**settings.model_dump(), "slides": list(slides), "models": list(models)}
    provenance = Provenance("report", known, cohort.ids())
    with making(quarantined, provenance) as partial:
        _write_table(partial.path, cohort.quarantined)
    if not cohort.slides:
        raise DataError(f"{target}: no slide to report on; see {quarantined} for the reasons")
    with making(target, provenance) as partial, partial.path.open("w", encoding="utf-8") as page:
        page.writelines(render(cohort, target=target, quarantined=quarantined, settings=settings))


def _write_table(path: Path, slides: tuple[QuarantinedSlide, ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["slide", "stage", "reason"])
        table.writerows(
            [slide.slide, slide.stage, " ".join(slide.reason.split())] for slide in slides
        )
