"""One table of every method on one cohort of fields, by one evaluator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wsipsm.benchmark.fields import Field, read_fields
from wsipsm.benchmark.methods import METHODS, Budget, Cohort
from wsipsm.benchmark.run import Bench
from wsipsm.benchmark.score import estimate
from wsipsm.benchmark.table import Value, markdown, plain
from wsipsm.benchmark.trial import COUNT_ERROR, NAMES, RADII, Outcome, Trial, score
from wsipsm.config import Stain
from wsipsm.errors import SettingsError
from wsipsm.io.product import Provenance, fingerprint, making

OUTLINES = {
    "AJI": "aji",
    "PQ": "pq",
    "SQ": "sq",
    "F1": "f1",
    "Dice": "dice",
    "detection F1": "detection_f1",
    "detection F1, 1.25 µm": "detection_f1_near",
    "AJI, paper's way": "aji_paper",
    "Dice, paper's way": "dice_paper",
    "AUC of the map": "auc",
    "seams": "seams",
}
"""Columns of the table of outlines; the paper's way: centre tile, touching true nuclei merged."""

FULL = ("AJI", "PQ", "AUC of the map", "2.5 µm averaged f1")
"""Columns that are shown with their spread and interval; the JSON has all."""

KINDS = ("positive", "negative", "averaged", "agnostic")
METHOD, FLIPPED, FOLLOWS = "method", "flipped tiles", "follows"

Rows = list[dict[str, Value]]


def benchmark_method(
    folders: Sequence[Path],
    target: Path,
    *,
    work: Path,
    methods: Sequence[str] = tuple(METHODS),
    seeds: int = 3,
    budget: Budget | None = None,
    mpp: float = 0.25,
    stain: Stain = "he",
    workers: int | None = None,
) -> str:
    """Compare methods on folders of fields; returns tables in Markdown, data set by data set.

    Every method learns from all fields, with truth or without, and is scored on those with
    truth. Truth is used for nothing else.

    Parameters
    ----------
    folders
        As `fields.read_fields` takes them.
    target
        JSON: `provenance`, and by data set the rows of its tables, `outlines` and `points`.
    work
        Folder of all products; what is there is not made again.
    methods
        Names of `methods.METHODS`.
    seeds
        Number of seeds; a method without chance is done once.
    budget, mpp, stain, workers
        How long is trained; of all fields; as in `run.Bench`.

    Raises
    ------
    SettingsError
        A folder or a method is unknown, or no field has truth.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise SettingsError(f"benchmark-method: no method {unknown[0]!r}; use {', '.join(METHODS)}")
    fields = read_fields(folders, mpp=mpp, stain=stain)
    scored = [field for field in fields if field.truth or field.points]
    if not scored:
        raise SettingsError(f"{folders[0]}: no field has truth; give a folder with labels")
    budget = budget or Budget()
    known = {"methods": list(methods), "seeds": seeds, "mpp": mpp, **asdict(budget)}
    inputs = {field.name: fingerprint(field.image) for field in fields}
    provenance = Provenance("benchmark-method", known, inputs)
    with making(target, provenance) as partial, Bench(work, workers=workers) as bench:
        tiles = bench.tiles(fields)
        own = {field.name: tiles[field.name] for field in scored}
        cohort = Cohort(bench, tiles, own, stain, budget)
        outcomes = {name: _outcomes(name, cohort, scored, seeds) for name in methods}
        groups = {group: _tables(outcomes, scored, group) for group in _groups(scored)}
        result = {"provenance": provenance.as_dict(), "groups": plain(groups)}
        partial.path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return "\n".join(_text(group, tables) for group, tables in groups.items())


def _groups(scored: Sequence[Field]) -> list[str]:
    return list(dict.fromkeys(field.group for field in scored))


def _outcomes(
    name: str, cohort: Cohort, scored: Sequence[Field], seeds: int
) -> list[list[Outcome]]:
    """Outcomes of a method, by seed and field."""
    method = METHODS[name]
    found = []
    for seed in range(seeds if method.seeded else 1):
        made = method.make(cohort, seed)
        trials = [
            Trial(
                field,
                cohort.scored[field.name],
                seed,
                labels=made.labels[field.name] if made.labels else None,
                map=made.maps[field.name] if made.maps else None,
                plain=made.plain,
            )
            for field in scored
        ]
        found.append(cohort.bench.map(score, trials))
    return found


def _tables(
    outcomes: dict[str, list[list[Outcome]]], scored: Sequence[Field], group: str
) -> dict[str, Rows]:
    """Rows of the tables of one data set: of outlines, of points."""
    tables: dict[str, Rows] = {"outlines": [], "points": []}
    for name, by_seed in outcomes.items():
        own = [
            [one for one, field in zip(of, scored, strict=True) if field.group == group]
            for of in by_seed
        ]
        title: dict[str, Value] = {METHOD: METHODS[name].title}
        if len(own[0][0].outlines):
            tables["outlines"].append(title | _outline_row(own))
        if own[0][0].points:
            tables["points"].append(title | _point_row(own))
    return tables


def _outline_row(own: list[list[Outcome]]) -> dict[str, Value]:
    values = np.array([[one.outlines for one in of] for of in own])
    found = estimate(values, NAMES)
    row: dict[str, Value] = {
        title: found[name] for title, name in OUTLINES.items() if not np.isnan(found[name].mean)
    }
    aucs = np.concatenate([one.tile_aucs for of in own for one in of])
    aucs = aucs[~np.isnan(aucs)]
    if len(aucs):
        row[FLIPPED] = f"{100 * np.mean(aucs < 0.5):.1f} % of {len(aucs)}"
    followed = Counter(one.followed for of in own for one in of if one.followed)
    if followed:
        row[FOLLOWS] = ", ".join(f"{name} {often}" for name, often in sorted(followed.items()))
    return row


def _point_row(own: list[list[Outcome]]) -> dict[str, Value]:
    names = list(own[0][0].points)
    values = np.array([[[one.points[name] for name in names] for one in of] for of in own])
    found = estimate(values, names)
    columns = [f"{radius} {kind} f1" for radius in RADII for kind in KINDS]
    columns += [f"{next(iter(RADII))} averaged {score}" for score in ("precision", "recall")]
    return {name: found[name] for name in (*columns, COUNT_ERROR) if name in found}


def _text(group: str, tables: dict[str, Any]) -> str:
    parts = [f"### {group}\n"]
    for rows in filter(None, tables.values()):
        brief = [name for row in rows for name in row if name not in FULL]
        parts.append(markdown(rows, brief=brief))
    return "\n".join(parts)
