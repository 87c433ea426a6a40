"""How good the cells are that learning without labels gives, beside plain stain and watershed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsipsm.benchmark.fields import Field, read_fields
from wsipsm.benchmark.lessons import annotate
from wsipsm.benchmark.run import Bench, Products
from wsipsm.benchmark.score import estimate
from wsipsm.benchmark.table import Value, markdown, plain
from wsipsm.benchmark.trial import NAMES, Trial, score
from wsipsm.checks import check_init
from wsipsm.config import (
    Activation,
    Config,
    Inference,
    Pretraining,
    Pseudomasks,
    Stain,
    Training,
)
from wsipsm.errors import SettingsError
from wsipsm.io.product import Provenance, fingerprint, making

COLUMNS = {"AJI": "aji", "PQ": "pq", "SQ": "sq", "F1": "f1", "Dice": "dice"}
ORACLE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Thresholds of foreground of which truth may choose one."""

HEADS = {"distance": "distance map", "hv": "horizontal and vertical maps"}
"""What tells touching cells apart, by `training.head`."""

STARTS = {"random": "random weights", "encoder": "those of stage 2"}
"""Where the encoder of a U-Net begins, by `training.init`."""

CONTROL = "stain_otsu"

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Cohort:
    """Fields to learn from, fields to score, and where their products are made.

    `lessons` are those of the first, with outlines, whose annotations may be learned.
    """

    bench: Bench
    learned: list[Field]
    scored: list[Field]
    lessons: list[Field]
    pretraining: Pretraining
    training: Training


def benchmark_quality(
    folders: Sequence[Path],
    target: Path,
    *,
    elsewhere: Sequence[Path] = (),
    work: Path,
    training: Training,
    pretraining: Pretraining | None = None,
    seeds: int = 3,
    ablate: bool = False,
    annotated: Sequence[int] = (),
    mpp: float = 0.25,
    stain: Stain = "he",
    workers: int | None = None,
) -> str:
    """Train on fields without their truth, and score the cells; returns tables in Markdown.

    Parameters
    ----------
    folders
        Fields to learn from, as `fields.read_fields` takes them; those with outlines are scored.
    target
        JSON: `provenance`, and by data set the rows of its table.
    elsewhere
        Fields that are only scored.
    work
        Folder of all products; what is there is not made again.
    training, pretraining
        Settings of stages 5 and 2; the other stages have their defaults.
    seeds
        Number of trainings; a row is of all of them asked together, if there are several.
    ablate
        Whether to add a row for each smaller number of rounds, of as many steps each; for one
        round of the activation network's backbone, from random weights and from its own; for one
        round of the other head; for peaks sought by depth alone and by the head alone; and for
        the threshold that truth would choose.
    annotated
        Numbers of fields whose outlines are learned, a row each. As many as the largest are taken
        from those with outlines, and not scored in any row.

    Raises
    ------
    SettingsError
        A folder is unknown, too few fields have outlines, or a start from an encoder that differs.
    """
    pretraining = pretraining or Pretraining()
    check_init(Config(training=training, pretraining=pretraining))
    learned = read_fields(folders, mpp=mpp, stain=stain)
    others = read_fields(elsewhere, mpp=mpp, stain=stain) if elsewhere else []
    outlined = [field for field in learned if field.truth]
    lessons = outlined[: max(annotated, default=0)]
    taken = {field.name for field in lessons}
    scored = [field for field in [*learned, *others] if field.truth and field.name not in taken]
    if len(lessons) < max(annotated, default=0):
        raise SettingsError(
            f"{folders[0]}: {len(outlined)} fields have outlines; ask for fewer annotated ones"
        )
    if not scored:
        raise SettingsError(f"{folders[0]}: no field has outlines; give a folder with labels")
    known = {
        "training": training.model_dump(),
        "pretraining": pretraining.model_dump(),
        "seeds": seeds,
        "ablate": ablate,
        "annotated": list(annotated),
        "mpp": mpp,
    }
    inputs = {field.name: fingerprint(field.image) for field in [*learned, *others]}
    provenance = Provenance("benchmark-quality", known, inputs)
    with making(target, provenance) as partial, Bench(work, workers=workers) as bench:
        cohort = Cohort(bench, learned, scored, lessons, pretraining, training)
        found = dict(_methods(cohort, seeds=seeds, ablate=ablate, annotated=annotated))
        groups = dict.fromkeys(field.group for field in scored)
        tables = {group: _rows(found, scored, group) for group in groups}
        result = {"provenance": provenance.as_dict(), "groups": plain(tables)}
        partial.path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return "\n".join(f"### {group}\n\n{markdown(rows)}" for group, rows in tables.items())


def _methods(
    cohort: Cohort, *, seeds: int, ablate: bool, annotated: Sequence[int]
) -> Iterator[tuple[str, Scores]]:
    """Name of each row and its scores (seeds, fields, metrics)."""
    bench, fields = cohort.bench, [*cohort.learned, *cohort.scored]
    tiles = bench.tiles(list({field.name: field for field in fields}.values()))
    own = {field.name: tiles[field.name] for field in cohort.scored}
    yield "stain, Otsu, watershed", _score(cohort, own, None)[None]

    taught = {field.name: tiles[field.name] for field in cohort.learned}
    encoder = bench.encoder(taught, cohort.pretraining, seed=0)
    maps = bench.activations(tiles, encoder, Activation())
    labels = bench.pseudomasks(tiles, maps, Pseudomasks(), seed=0)
    yield "pseudo masks", _score(cohort, own, labels)[None]

    def models(settings: Training, lessons: Sequence[Field] = ()) -> list[Path]:
        drawn = {
            field.name: annotate(field, tiles[field.name], bench.folder / f"{field.name}.geojson")
            for field in lessons
        }
        slides = [
            (tiles[field.name], labels[field.name], drawn.get(field.name, "-"))
            for field in cohort.learned
        ]
        return [bench.model(slides, settings, seed=seed, encoder=encoder) for seed in range(seeds)]

    training, rounds = cohort.training, cohort.training.rounds
    for number in range(1, rounds) if ablate else ():
        of_fewer = models(_of_rounds(training, number))
        yield f"round {number}", _of_models(cohort, own, of_fewer, Inference())
    last = models(training)
    yield f"round {rounds}", _of_models(cohort, own, last, Inference())
    if seeds > 1:
        together = [bench.committee(last)]
        yield "all seeds together", _of_models(cohort, own, together, Inference())
    for count in annotated:
        taught_more = models(training, cohort.lessons[:count])
        name = f"round {rounds}, {count} annotated"
        yield name, _of_models(cohort, own, taught_more, Inference())
    if ablate:
        backbone = cohort.pretraining.backbone
        for init, weights in STARTS.items():
            began = _of_rounds(training, 1).model_copy(update={"backbone": backbone, "init": init})
            name = f"round 1, {backbone} from {weights}"
            yield name, _of_models(cohort, own, models(began), Inference())
        for head in HEADS.keys() - {training.head}:
            other = _of_rounds(training, 1).model_copy(update={"head": head})
            yield f"round 1, {HEADS[head]}", _of_models(cohort, own, models(other), Inference())
        for peaks, weight in (("depth", 1.0), (f"the {HEADS[training.head]}", 0.0)):
            sought = Inference(depth_weight=weight)
            yield f"peaks of {peaks} alone", _of_models(cohort, own, last, sought)
        yield "threshold by truth", _by_truth(cohort, own, last)


def _of_rounds(settings: Training, number: int) -> Training:
    """The settings of a training of another number of rounds, each as long as before."""
    steps = settings.steps // settings.rounds * number
    return settings.model_copy(update={"rounds": number, "steps": steps})


def _of_models(
    cohort: Cohort, tiles: Products, models: Sequence[Path], inference: Inference
) -> Scores:
    bench = cohort.bench
    return np.stack([_score(cohort, tiles, bench.cells(tiles, each, inference)) for each in models])


def _by_truth(cohort: Cohort, tiles: Products, models: Sequence[Path]) -> Scores:
    """Scores at that one threshold for each data set that gives it the best AJI."""
    settings = [Inference(foreground=each) for each in ORACLE]
    each = np.stack([_of_models(cohort, tiles, models, one) for one in settings])
    best: Scores = each[0].copy()
    for group in dict.fromkeys(field.group for field in cohort.scored):
        own = np.array([field.group == group for field in cohort.scored])
        aji = each[:, :, own, NAMES.index("aji")].mean(axis=(1, 2))
        best[:, own] = each[int(aji.argmax())][:, own]
    return best


def _score(cohort: Cohort, tiles: Products, products: Products | None) -> Scores:
    """Scores (fields, metrics) of products, or of plain stain."""
    trials = [
        Trial(
            field,
            tiles[field.name],
            seed=0,
            labels=products[field.name] if products else None,
            map=None,
            plain=None if products else CONTROL,
        )
        for field in cohort.scored
    ]
    return np.stack([outcome.outlines for outcome in cohort.bench.map(score, trials)])


def _rows(found: dict[str, Scores], scored: Sequence[Field], group: str) -> list[dict[str, Value]]:
    own = np.array([field.group == group for field in scored])
    rows = []
    for name, values in found.items():
        means = estimate(values[:, own], NAMES)
        row: dict[str, Value] = {"cells": name}
        rows.append(row | {title: means[metric] for title, metric in COLUMNS.items()})
    return rows
