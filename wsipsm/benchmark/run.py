"""Fields as slides through the real stages, each product made once and kept.

Where a product lies follows from what makes it: the stage, its settings, its inputs and the
version of the code. So a killed benchmark continues where it was, and methods share what they
have in common.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from wsipsm import compute
from wsipsm.benchmark.fields import Field
from wsipsm.config import (
    Activation,
    Inference,
    Pretraining,
    Pseudomasks,
    Section,
    Stitching,
    Tiling,
    Training,
)
from wsipsm.errors import DataError
from wsipsm.io.product import code_version, fingerprint, quarantine

T = TypeVar("T")
R = TypeVar("R")

Products = dict[str, Path]
"""A product of every field, by the field's name."""

STAGES = {
    "tile": "wsipsm.tiling.tile",
    "pretrain": "wsipsm.pretraining.pretrain",
    "activate": "wsipsm.activation.activate",
    "pseudomask": "wsipsm.pseudomasks.pseudomask",
    "train": "wsipsm.training.train",
    "segment": "wsipsm.inference.segment",
    "stitch": "wsipsm.stitching.stitch",
    "join": "wsipsm.benchmark.committee",
    "paper_masks": "wsipsm.benchmark.preset",
    "paper_network": "wsipsm.benchmark.preset",
    "paper_points": "wsipsm.benchmark.preset",
    "paper_segment": "wsipsm.benchmark.preset",
}
"""Module of each verb; what the benchmark alone does is no stage."""

FIELD_TILING = Tiling(tile_px=512, shard_tiles=2, min_tissue_share=0, min_tissue_um2=0, exclude=())
"""How a field becomes a slide: few tiles, and nothing of it left out."""


class Bench:
    """Where the products of a benchmark are made; a context manager.

    Parameters
    ----------
    folder
        `slides/FIELD/NAME-KEY...` and `models/NAME-KEY.pt` come to lie in it.
    workers
        Fields at a time, each in a process of its own, and threads of a training; as many as
        cores are allotted, unless said otherwise.
    """

    def __init__(self, folder: Path, *, workers: int | None = None) -> None:
        self.folder = folder
        self.workers = workers or compute.allotted_cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Give the bench."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def tiles(self, fields: Sequence[Field], settings: Tiling = FIELD_TILING) -> Products:
        """Stage 1 on the image of every field."""
        jobs = {}
        for field in fields:
            facts = {"name": field.name, "slide_mpp": field.mpp, "stain": field.stain}
            options = {"settings": settings, **facts}
            jobs[field.name] = self._job("tile", (field.image,), "tiles.zarr", options, field.name)
        return self._all(jobs)

    def encoder(self, tiles: Products, settings: Pretraining, *, seed: int) -> Path:
        """Stage 2 on all fields."""
        options = {"settings": settings, "seed": seed}
        return self.once("pretrain", (list(tiles.values()),), "encoder.pt", options)

    def activations(self, tiles: Products, encoder: Path, settings: Activation) -> Products:
        """Stage 3 on every field."""
        inputs = {name: (path, encoder) for name, path in tiles.items()}
        return self.each("activate", inputs, "activation.zarr", {"settings": settings})

    def pseudomasks(
        self, tiles: Products, activations: Products, settings: Pseudomasks, *, seed: int
    ) -> Products:
        """Stage 4 on every field."""
        inputs = {name: (path, activations[name]) for name, path in tiles.items()}
        options = {"settings": settings, "seed": seed}
        return self.each("pseudomask", inputs, "pseudomasks.zarr", options)

    def model(
        self, slides: Sequence[Sequence[Any]], settings: Training, *, seed: int, encoder: Path
    ) -> Path:
        """Stage 5; `slides` as `training.train.train` takes them.

        Trainings that differ in the number of their rounds alone share those that they both have.
        """
        options: dict[str, Any] = {"settings": settings, "seed": seed, "model": "unet"}
        if settings.init == "encoder":
            options["encoder"] = encoder
        each = settings.model_copy(update={"rounds": 1, "steps": settings.steps // settings.rounds})
        inputs = (list(slides),)
        shared = self._job("train", inputs, "rounds", {**options, "settings": each}).target
        if settings.steps % settings.rounds == 0:
            options["rounds"] = shared
        return self.once("train", inputs, "unet.pt", options)

    def committee(self, models: Sequence[Path]) -> Path:
        """The models of several seeds as one."""
        return self.once("join", (list(models),), "unet.pt", {})

    def cells(
        self, tiles: Products, model: Path, settings: Inference, stitching: Stitching | None = None
    ) -> Products:
        """Stages 6 and 7 on every field."""
        inputs = {name: (path, model) for name, path in tiles.items()}
        parts = self.each("segment", inputs, "tile_cells", {"settings": settings})
        whole = {name: (path,) for name, path in parts.items()}
        return self.each("stitch", whole, "cells.parquet", {"settings": stitching or Stitching()})

    def each(
        self, stage: str, inputs: Mapping[str, tuple[Any, ...]], name: str, options: dict[str, Any]
    ) -> Products:
        """A product of every field. A field whose data are bad is set aside, as in the workflow.

        Parameters
        ----------
        stage
            One of `STAGES`.
        inputs
            Positional arguments before the target, by the field's name.
        name
            Name of the product, such as `activation.zarr`.
        options
            Keyword arguments, the same for all fields, without `workers`.
        """
        return self._all({
            field: self._job(stage, given, name, options, field) for field, given in inputs.items()
        })  # fmt: skip

    def once(self, stage: str, inputs: tuple[Any, ...], name: str, options: dict[str, Any]) -> Path:
        """A product of all fields; the arguments are as those of `each`."""
        job = self._job(stage, inputs, name, options)
        if not job.target.exists():
            job.make()
        return job.target

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Results of a function of a module on every item, in their order, several at a time."""
        if self.workers == 1 or len(items) < 2:
            return [function(item) for item in items]
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, spawn, initializer=_begin)
        return list(self._pool.map(function, items))

    def _all(self, jobs: dict[str, _Job]) -> Products:
        todo = [job for job in jobs.values() if not job.target.exists()]
        self.map(_Job.make_or_set_aside, todo)
        return {name: job.target for name, job in jobs.items()}

    def _job(
        self, stage: str, inputs: tuple[Any, ...], name: str, options: dict[str, Any],
        field: str | None = None,
    ) -> _Job:  # fmt: skip
        home = self.folder / "slides" / field if field else self.folder / "models"
        home.mkdir(parents=True, exist_ok=True)
        stem, dot, suffix = name.partition(".")
        known = [code_version(), stage, self._plain(inputs), self._plain(options)]
        key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
        workers = {} if stage == "stitch" else {"workers": 1 if field else self.workers}
        return _Job(stage, inputs, home / f"{stem}-{key}{dot}{suffix}", {**options, **workers})

    def _plain(self, value: Any) -> Any:
        """What a key is made of: a product of ours by its name, another file by its content."""
        if isinstance(value, Path):
            inside = value.is_relative_to(self.folder)
            return str(value.relative_to(self.folder)) if inside else fingerprint(value)
        if isinstance(value, Section):
            return value.model_dump()
        if isinstance(value, dict):
            return {name: self._plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(one) for one in value]
        return value


@dataclass(frozen=True)
class _Job:
    """One call of a stage; travels to a process by pickle."""

    stage: str
    inputs: tuple[Any, ...]
    target: Path
    options: dict[str, Any]

    def make(self) -> None:
        """Make the product."""
        function: Callable[..., None] = getattr(
            importlib.import_module(STAGES[self.stage]), self.stage
        )
        function(*self.inputs, self.target, **self.options)

    def make_or_set_aside(self) -> None:
        """Make the product, or one that holds the reason why there is none."""
        try:
            self.make()
        except DataError as error:
            quarantine(self.target, stage=self.stage, reason=str(error))


def _begin() -> None:
    """Prepare a process: one thread, and no bar of progress for so little work."""
    compute.be_quiet()
    compute.one_thread_each()
    compute.keep_memory()
