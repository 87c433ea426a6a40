"""What a finished run came to, in a few lines: scores, places, slides done and set aside."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    known = facts(results, slides=slides, models=models)
    aside = len(known["quarantined"])
    done = f"{known['done']} slides done, {aside} quarantined"
    return [
        *(line for scores in known["scores"].values() for line in _spoken(scores)),
        *(f"cells of {model}: {results}/slides/*/{model}/cells.*" for model in models),
        *(f"for QuPath: {path}" for path in known["projects"]),
        f"report: {known['report']}",
        f"{done}: see {results / 'quarantine.tsv'}" if aside else done,
    ]


def facts(results: Path, *, slides: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """The same as values: slides done and quarantined, mean scores, paths.

    Raises
    ------
    DataError
        The run has not come to its report.
    """
    aside = quarantined_slides(results / "quarantine.tsv") & set(slides)
    return {
        "done": len(slides) - len(aside),
        "quarantined": sorted(aside),
        "scores": {model: of for model in models if (of := _scores(results, model))},
        "projects": [str(path) for path in sorted(results.glob("qupath/*/project.qpproj"))],
        "report": str(results / "report/index.html"),
    }


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


def _scores(results: Path, model: str) -> dict[str, dict[str, Any]]:
    """Mean scores against truth by method: our own first, then the plain controls."""
    evaluation = results / f"evaluation/{model}.json"
    if not evaluation.exists():
        return {}
    product = json.loads(evaluation.read_text())
    methods, own = product["methods"], product["model"]
    return {
        name: {
            "kind": "match with the truth" if name == own else "control",
            **{key: methods[name][key]["mean"] for key in SHOWN},
            "slides": methods[name]["f1"]["n"],
        }
        for name in sorted(methods, key=lambda name: (name != own, name))
    }


def _spoken(scores: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for method, of in scores.items():
        shown = ", ".join(f"{label} {of[key]:.3f}" for key, label in SHOWN.items())
        lines.append(f"{of['kind']}: {method}: {shown} (slides: {of['slides']})")
    return lines
