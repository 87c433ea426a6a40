"""The one training loop: same bytes for any number of workers, killed or not.

A batch is cut into a fixed number of chunks. Each chunk has a replica of the model that shares
its parameters and keeps its own gradients and running statistics; any number of threads works
the chunks off, and gradients and statistics are summed in the order of the chunks. Samples are
drawn by a generator of (seed, step, index), so that no state of chance has to be saved.
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

from wsipsm.compute import progress
from wsipsm.errors import DataError
from wsipsm.io.checkpoint import save
from wsipsm.io.runs import to_disk

Sample = tuple[Tensor, ...]
SampleOf = Callable[[int, int], Sample]
LossOf = Callable[..., Tensor]
CPU_CHUNKS = 4


@dataclass(frozen=True)
class Plan:
    """How to train: length, batch, and the optimiser (AdamW, one warm-up, cosine to zero).

    Attributes
    ----------
    warm_up
        Share of the steps in which the rate rises; 0 is a tenth, and at most 50 steps.
    chunk
        Samples at once on a GPU, one chunk after another; 0 is the whole batch.
    whole
        The loss compares the samples of a batch: it is learnt in one piece on a CPU too.
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
    run = _Run(model, plan)
    run.resume(snapshot)
    with ThreadPoolExecutor(workers) as pool:

        def draw(step: int) -> list[Future[Sample]]:
            count = plan.batch if step < plan.steps else 0
            return [pool.submit(sample_of, step, index) for index in range(count)]

        steps = range(len(run.curve), plan.steps)
        batch = draw(steps.start)
        for step in progress("train", total=plan.steps, unit="steps", over=steps):
            work = run.begin(batch, loss_of, pool)
            batch = draw(step + 1)  # while this one is being learnt
            loss = run.end(step, work)
            run.curve.append({"step": step + 1.0, "loss": loss})
            if not math.isfinite(loss):
                raise DataError(
                    f"training: loss {loss} at step {step + 1}; lower the learning rate"
                )
            if (step + 1) % plan.snapshot_every == 0:
                run.save(snapshot)
    run.finish()
    return run.curve


class _Run:
    """The state of a training: model, replicas, optimiser, averaged weights, curve."""

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self.device = next(model.parameters()).device
        on_cpu = self.device.type == "cpu"
        on_gpu = math.ceil(plan.batch / plan.chunk) if plan.chunk else 1
        chunks = min(1 if plan.whole else CPU_CHUNKS, plan.batch) if on_cpu else on_gpu
        # chunks on a GPU take turns, so that its memory holds one
        self.turn: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if on_cpu else threading.Lock()
        )
        self.replicas = [_replica(model) for _ in range(chunks)]
        self.learning = {name: v for name, v in model.named_parameters() if v.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.learning.values(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        averaged = self.learning.items() if plan.averaging else ()
        self.average = {name: value.detach().clone() for name, value in averaged}
        self.curve: list[dict[str, float]] = []

    def begin(
        self, batch: list[Future[Sample]], loss_of: LossOf, pool: ThreadPoolExecutor
    ) -> list[Future[float]]:
        """Hand each chunk of a batch to a replica."""
        samples = [future.result() for future in batch]
        size = -(-len(samples) // len(self.replicas))
        parts = [samples[i : i + size] for i in range(0, len(samples), size)]
        return [
            pool.submit(self._learn, replica, part, loss_of, len(part) / len(samples))
            for replica, part in zip(self.replicas, parts, strict=False)
        ]

    def end(self, step: int, work: list[Future[float]]) -> float:
        """Gather what the replicas have learnt, and take the step; returns the loss."""
        losses = [future.result() for future in work]
        self._gather(self.replicas[: len(work)])
        nn.utils.clip_grad_norm_(self.learning.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(step)
        self.optimizer.step()
        self._average(step)
        return sum(losses)

    def _learn(
        self, replica: nn.Module, part: list[Sample], loss_of: LossOf, share: float
    ) -> float:
        with self.turn:
            replica.train()
            replica.zero_grad()
            tensors = [torch.stack(column).to(self.device) for column in zip(*part, strict=True)]
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"
            ):
                loss = loss_of(replica, *tensors) * share
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

    def _gather(self, used: list[nn.Module]) -> None:
        """Sum gradients and average running statistics, in the order of the chunks."""
        shared = zip(self.model.parameters(), *(r.parameters() for r in used), strict=True)
        for master, *copies in shared:
            gradients = [copied.grad for copied in copies if copied.grad is not None]
            master.grad = gradients[0] if gradients else None
            for gradient in gradients[1:]:
                gradients[0] += gradient  # in place: memory is what this takes
        buffers = zip(self.model.buffers(), *(r.buffers() for r in used), strict=True)
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
