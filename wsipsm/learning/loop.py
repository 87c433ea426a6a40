"""The one training loop: same bytes for any number of workers and GPUs, killed or not.

A batch is cut into a fixed number of parts. Each part has a replica of the model that shares
its parameters and keeps its own gradients and running statistics; any number of threads, and
a process for each GPU, work the parts off, and gradients and statistics are summed in the order
of the parts. Samples are drawn by a generator of (seed, step, index), so that no state of chance
has to be saved.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsipsm.compute import fast_floats, progress, training_processes
from wsipsm.errors import DataError
from wsipsm.io.checkpoint import save
from wsipsm.io.runs import to_disk
from wsipsm.learning.ranks import Rank, several

Sample = tuple[Tensor, ...]
SampleOf = Callable[[int, int], Sample]
LossOf = Callable[..., Tensor]
PARTS = 4
"""Parts of a batch, whatever the machine: each is normalised, and its loss taken, on its own."""


@dataclass(frozen=True)
class Plan:
    """How to train: length, batch, and the optimiser (AdamW, one warm-up, cosine to zero).

    Attributes
    ----------
    warm_up
        Share of the steps in which the rate rises; 0 is a tenth, and at most 50 steps.
    chunk
        Samples of a part on a GPU; 0 cuts the batch into `PARTS`, as on a CPU.
    whole
        The loss compares the samples of a batch: it is learnt in one piece, by one process.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.0
    averaging: float = 0.0
    snapshot_every: int = 25
    warm_up: float = 0.0
    chunk: int = 0
    whole: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear at first, then cosine."""
        warm_up = max(1, round(self.warm_up * self.steps) or min(50, self.steps // 10))
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.steps - warm_up)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


def fit(
    model: nn.Module,
    *,
    sample_of: SampleOf,
    loss_of: LossOf,
    plan: Plan,
    snapshot: Path,
    workers: int,
) -> list[dict[str, float]]:
    """Train `model` in place, on the device of its parameters; those that are frozen stay.

    Parameters
    ----------
    sample_of
        Sample (tensors without batch axis) of a step and an index in its batch.
    loss_of
        Mean loss of a replica of the model and the stacked tensors of a chunk.
    snapshot
        File from which a killed run continues.
    workers
        Threads that draw samples and work off chunks.

    Returns
    -------
    list
        The curve: `{"step": 1.0, "loss": ...}` for every step.

    Raises
    ------
    DataError
        The loss is no longer a finite number.
    """
    lesson = _Lesson(sample_of, loss_of, plan, snapshot, workers)
    count = min(training_processes(), len(_parts(plan, next(model.parameters()).device)))
    with several(_learn, model, lesson, count=count) as rank:
        return _learn(model, lesson, rank)


@dataclass(frozen=True)
class _Lesson:
    """What a process has to know to take part in a training."""

    sample_of: SampleOf
    loss_of: LossOf
    plan: Plan
    snapshot: Path
    workers: int


def _learn(model: nn.Module, lesson: _Lesson, rank: Rank) -> list[dict[str, float]]:
    """Train as one of the processes of `rank`; the first of them keeps the snapshots."""
    plan = lesson.plan
    run = _Run(model, plan, rank)
    run.resume(lesson.snapshot)
    with ThreadPoolExecutor(max(1, lesson.workers // rank.count)) as pool:

        def draw(step: int) -> list[list[Future[Sample]]]:
            parts = run.mine.values() if step < plan.steps else ()
            return [
                [pool.submit(lesson.sample_of, step, index) for index in part] for part in parts
            ]

        steps = range(len(run.curve), plan.steps)
        batch = draw(steps.start)
        for step in progress("train", total=plan.steps, unit="steps", over=steps):
            work = run.begin(batch, lesson.loss_of, pool)
            batch = draw(step + 1)  # while this one is being learnt
            loss = run.end(step, work)
            run.curve.append({"step": step + 1.0, "loss": loss})
            if not math.isfinite(loss):
                raise DataError(
                    f"training: loss {loss} at step {step + 1}; lower the learning rate"
                )
            if (step + 1) % plan.snapshot_every == 0 and rank.number == 0:
                run.save(lesson.snapshot)
    run.finish()
    return run.curve


def _parts(plan: Plan, device: torch.device) -> list[range]:
    """Indices of the samples of each part of a batch."""
    in_chunks = plan.chunk and device.type != "cpu"
    count = math.ceil(plan.batch / plan.chunk) if in_chunks else PARTS
    size = plan.batch if plan.whole else math.ceil(plan.batch / count)
    return [range(at, min(at + size, plan.batch)) for at in range(0, plan.batch, size)]


class _Run:
    """The state of a training: model, replicas, optimiser, averaged weights, curve."""

    def __init__(self, model: nn.Module, plan: Plan, rank: Rank) -> None:
        self.model, self.plan, self.rank = model, plan, rank
        self.device = next(model.parameters()).device
        on_cpu = self.device.type == "cpu"
        parts = _parts(plan, self.device)
        # parts on a GPU take turns, so that its memory holds one
        self.turn: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if on_cpu else threading.Lock()
        )
        self.mine = {number: part for number, part in enumerate(parts) if rank.has(number)}
        self.replicas = [_replica(model) for _ in parts]
        self.learning = {name: v for name, v in model.named_parameters() if v.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.learning.values(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        averaged = self.learning.items() if plan.averaging else ()
        self.average = {name: value.detach().clone() for name, value in averaged}
        self.curve: list[dict[str, float]] = []

    def begin(
        self, batch: list[list[Future[Sample]]], loss_of: LossOf, pool: ThreadPoolExecutor
    ) -> list[Future[Tensor]]:
        """Hand each of our parts of a batch to its replica."""
        parts = [[future.result() for future in part] for part in batch]
        return [
            pool.submit(self._learn, self.replicas[number], part, loss_of)
            for number, part in zip(self.mine, parts, strict=True)
        ]

    def end(self, step: int, work: list[Future[Tensor]]) -> float:
        """Gather what all replicas have learnt, and take the step; returns the loss."""
        losses = {
            number: float(future.result()) for number, future in zip(self.mine, work, strict=True)
        }
        losses = self.rank.exchange(self.replicas, losses)
        self._gather()
        nn.utils.clip_grad_norm_(self.learning.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(step)
        self.optimizer.step()
        self._average(step)
        return sum(losses[number] for number in range(len(self.replicas)))

    def _learn(self, replica: nn.Module, part: list[Sample], loss_of: LossOf) -> Tensor:
        with self.turn:
            replica.train()
            replica.zero_grad()
            tensors = [torch.stack(column).to(self.device) for column in zip(*part, strict=True)]
            with fast_floats(self.device):
                loss = loss_of(replica, *tensors) * (len(part) / self.plan.batch)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

    def _gather(self) -> None:
        """Sum gradients and average running statistics, in the order of the parts."""
        replicas = self.replicas
        shared = zip(self.model.parameters(), *(r.parameters() for r in replicas), strict=True)
        for master, *copies in shared:
            gradients = [copied.grad for copied in copies if copied.grad is not None]
            master.grad = gradients[0] if gradients else None
            for gradient in gradients[1:]:
                gradients[0] += gradient  # in place: memory is what this takes
        buffers = zip(self.model.buffers(), *(r.buffers() for r in replicas), strict=True)
        for master, *copies in buffers:
            mean = torch.stack([copied.double() for copied in copies]).mean(0)
            master.copy_(mean.to(master.dtype))
        for replica in self.replicas:
            for mine, master in zip(replica.buffers(), self.model.buffers(), strict=True):
                mine.copy_(master)

    def _average(self, step: int) -> None:
        decay = min(self.plan.averaging, (1 + step) / (10 + step))
        for name, average in self.average.items():
            average.lerp_(self.learning[name].detach(), 1 - decay)

    def save(self, snapshot: Path) -> None:
        frozen = {name for name, v in self.model.named_parameters() if not v.requires_grad}
        state = {
            "model": {k: v for k, v in self.model.state_dict().items() if k not in frozen},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "curve": self.curve,
        }
        ahead = snapshot.with_name(snapshot.name + ".new")
        save(state, ahead)
        to_disk(ahead)
        ahead.replace(snapshot)

    def resume(self, snapshot: Path) -> None:
        if not snapshot.exists():
            return
        state: dict[str, Any] = torch.load(snapshot, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.curve = state["curve"]
        for replica in self.replicas:
            for mine, master in zip(replica.buffers(), self.model.buffers(), strict=True):
                mine.copy_(master)

    def finish(self) -> None:
        """Put the averaged weights into the model."""
        if self.plan.averaging:
            self.model.load_state_dict(self.average, strict=False)
        self.model.eval()


def _replica(model: nn.Module) -> nn.Module:
    """A copy that shares the parameters' memory and owns its gradients and buffers."""
    frozen = {id(value): value for value in model.parameters() if not value.requires_grad}
    replica = copy.deepcopy(model, frozen)
    for mine, master in zip(replica.parameters(), model.parameters(), strict=True):
        mine.data = master.data
    return replica
