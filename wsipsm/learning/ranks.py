"""Processes that share a training, one for each GPU of a node.

Each has the whole model and its optimiser. It works off its parts of a batch, and sends their
gradients and running statistics to the others; so all of them take the same step, the one that a
single process takes that works off every part itself.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as network

from wsipsm import compute
from wsipsm.errors import WsipsmError

Lesson = TypeVar("Lesson")
LAST_WORDS_SECONDS = 10


@dataclass(frozen=True)
class Rank:
    """One of the processes of a training; alone unless said otherwise."""

    number: int = 0
    count: int = 1

    def has(self, part: int) -> bool:
        """Whether this process works off a part of each batch."""
        return part % self.count == self.number

    def exchange(self, replicas: list[nn.Module], losses: dict[int, float]) -> dict[int, float]:
        """Send what our replicas have learnt, and receive what those of the others have.

        Parameters
        ----------
        replicas
            One for each part; gradients and buffers of those that are not ours are written.
        losses
            Of our parts.

        Returns
        -------
        dict[int, float]
            The losses of all parts.
        """
        if self.count == 1:
            return losses
        return {
            part: _broadcast(replica, losses.get(part, 0.0), part % self.count, self.has(part))
            for part, replica in enumerate(replicas)
        }


@contextmanager
def several(
    learn: Callable[[nn.Module, Lesson, Rank], object],
    model: nn.Module,
    lesson: Lesson,
    *,
    count: int,
) -> Iterator[Rank]:
    """Be the first of `count` processes; the others `learn` on copies of `model` meanwhile.

    They end with this one, however it ends.

    Raises
    ------
    WsipsmError
        One of the others ended before its time.
    """
    if count == 1:
        yield Rank()
        return
    from torch.multiprocessing.spawn import start_processes

    with tempfile.TemporaryDirectory() as folder:
        sent = copy.deepcopy(model).cpu()
        words = (learn, sent, lesson, count, folder)
        others = start_processes(  # type: ignore[no-untyped-call]
            _take_part, words, count - 1, join=False, daemon=True, start_method="spawn"
        )
        try:
            with _joined(folder, Rank(0, count), on_gpu=next(model.parameters()).is_cuda):
                yield Rank(0, count)
            for process in others.processes:
                process.join(LAST_WORDS_SECONDS)
        except RuntimeError as error:  # what torch says where another process is gone
            raise _explained(others) or error from None
        finally:
            for process in others.processes:
                process.terminate()


def _take_part(
    index: int, learn: Callable[..., object], model: nn.Module, lesson: Any, count: int, folder: str
) -> None:
    """Do as the first process does, on the next GPU."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # sent by the kernel when the first one dies
    first = multiprocessing.parent_process()
    if first is None or os.getppid() != first.pid:  # it has died already
        return
    compute.keep_memory()
    compute.be_quiet()
    rank, device = Rank(index + 1, count), compute.device()
    if device.type == "cuda":
        device = torch.device("cuda", rank.number % torch.cuda.device_count())
        torch.cuda.set_device(device)
    with _joined(folder, rank, on_gpu=device.type == "cuda"):
        learn(
            copy.deepcopy(model).to(device), lesson, rank
        )  # ours: the one sent is in shared memory


@contextmanager
def _joined(folder: str, rank: Rank, *, on_gpu: bool) -> Iterator[None]:
    """Talk to the other processes of this node."""
    own_gpu = on_gpu and torch.cuda.device_count() >= rank.count
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    network.init_process_group(
        "nccl" if own_gpu else "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank.number,
        world_size=rank.count,
    )
    try:
        yield
    finally:
        network.destroy_process_group()


def _broadcast(replica: nn.Module, loss: float, source: int, ours: bool) -> float:
    """Give a replica what the process `source` has learnt with it; returns its loss."""
    learning = [value for value in replica.parameters() if value.requires_grad]
    buffers = list(replica.buffers())
    known = [loss, *(float(value.grad is not None) for value in learning)]
    head = torch.tensor(known, dtype=torch.float64, device=learning[0].device)
    facts = torch.cat([head, *(buffer.double().flatten() for buffer in buffers)])
    gradients = torch.cat([_gradient(value).flatten() for value in learning])
    for tensor in (facts, gradients):
        network.broadcast(tensor, source)
    if ours:
        return loss
    there = facts[1 : len(known)].tolist()
    pieces = torch.split(gradients, [value.numel() for value in learning])
    for value, piece, known_there in zip(learning, pieces, there, strict=True):
        value.grad = torch.empty_like(value).copy_(piece.view_as(value)) if known_there else None
    statistics = torch.split(facts[len(known) :], [buffer.numel() for buffer in buffers])
    for buffer, piece in zip(buffers, statistics, strict=True):
        buffer.copy_(piece.view_as(buffer))
    return float(facts[0])


def _gradient(value: Tensor) -> Tensor:
    return torch.zeros_like(value) if value.grad is None else value.grad


def _explained(others: Any) -> WsipsmError | None:
    """One sentence about the process that ended before its time, if any did."""
    from torch.multiprocessing.spawn import ProcessException

    try:
        others.join(timeout=LAST_WORDS_SECONDS)
    except ProcessException as error:
        last = str(error).strip().splitlines()[-1]
        number = error.error_index + 1
        return WsipsmError(f"training: its process on GPU {number} ended ({last}); run it again")
    return None
