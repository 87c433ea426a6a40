"""What a finished run came to, in a few lines: scores, places, slides done and set aside."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from wsipsm.errors import DataError

SHOWN = {"f1": "F1", "aji": "AJI", "pq": "PQ"}


def summary(results: Path, *, slides: Sequence[str], models: Sequence[str]) -> list[str]:
    """Lines about the run in `results`; the last one counts the slides.

    Parameters
    ----------
    results
        Folder of all products, its `quarantine.tsv` written.
    slides, models
        Names, as in the slide sheet and the configuration.

    Raises
    ------
    DataError
        The run has not come to its report.
    """
    aside = quarantined_slides(results / "quarantine.tsv") & set(slides)
    done = f"{len(slides) - len(aside)} slides done, {len(aside)} quarantined"
    return [
        *(line for model in models for line in _scores(results / f"evaluation/{model}.json")),
        *(f"cells of {model}: {results}/slides/*/{model}/cells.*" for model in models),
        *(f"for QuPath: {path}" for path in sorted(results.glob("qupath/*/project.qpproj"))),
        f"report: {results / 'report/index.html'}",
        f"{done}: see {results / 'quarantine.tsv'}" if aside else done,
    ]


def quarantined_slides(table: Path) -> set[str]:
    """Names of the slides in a table of quarantined slides.

    Raises
    ------
    DataError
        There is no such table.
    """
    if not table.is_file():
        raise DataError(f"{table}: no such table; run the workflow to its report")
    with table.open(newline="", encoding="utf-8") as file:
        return {row["slide"] for row in csv.DictReader(file, delimiter="\t")}


def _scores(evaluation: Path) -> list[str]:
    """How well the cells match the truth: our own first, then the plain controls."""
    if not evaluation.exists():
        return []
    product = json.loads(evaluation.read_text())
    own, lines = product["model"], []
    for method in sorted(product["methods"], key=lambda name: (name != own, name)):
        scores = product["methods"][method]
        shown = ", ".join(f"{SHOWN[key]} {scores[key]['mean']:.3f}" for key in SHOWN)
        number = scores["f1"]["n"]
        kind = "match with the truth" if method == own else "control"
        lines.append(f"{kind}: {method}: {shown} (slides: {number})")
    return lines
