"""Batches of one shard: read ahead of the GPU, as many as its memory holds, fewer when it ends."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from wsipsm.errors import WsipsmError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")

MOST = 64
FREE_SHARE = 0.7
_TURN = threading.Lock()
"""Workers of one process take turns on its GPU: while one computes, the others read and write."""


Spent = tuple[float, float]
"""Seconds in which a shard's batches were computed, and waited for."""


@dataclass
class Batches(Generic[Item, Read, Made]):
    """Items of one worker, read by `read` and worked off by `run` in batches.

    Attributes
    ----------
    size
        Items in a batch. On a GPU the first batch tells how much memory an item takes, and the
        next are as large as 0.7 of what is free holds, at most 64; on a CPU it stays, so that
        the bytes do not depend on the machine.
    spent
        Seconds in `run`, and waiting for `read`.
    """

    read: Callable[[Sequence[Item]], Read]
    run: Callable[[Read], Made]
    size: int
    device: torch.device
    spent: Spent = field(default=(0.0, 0.0), init=False)
    _grown: bool = field(default=False, init=False)
    _ahead: tuple[Sequence[Item], Future[Read]] | None = field(default=None, init=False)

    def over(self, items: Sequence[Item]) -> Iterator[tuple[Sequence[Item], Read, Made]]:
        """Batches in the order of the items: the items, what was read, and what came of it.

        A batch for which the memory of the GPU ends is cut in half, and so are those after it.

        Raises
        ------
        WsipsmError
            There is no memory for one item.
        """
        start = 0
        with ThreadPoolExecutor(1) as reader:
            while start < len(items):
                batch = items[start : start + self.size]
                inputs = self._inputs(batch)
                following = items[start + len(batch) :][: self.size]
                if following and self.device.type != "cpu":
                    self._ahead = following, reader.submit(self.read, following)
                made = self._attempt(inputs, len(batch))
                if made is None:
                    self._halve(len(batch))
                    continue
                start += len(batch)
                yield batch, inputs, made[0]

    def _inputs(self, batch: Sequence[Item]) -> Read:
        """What was read ahead for this batch, or is read now."""
        began = time.monotonic()
        ahead, self._ahead = self._ahead, None
        same = ahead is not None and list(ahead[0]) == list(batch)
        inputs = ahead[1].result() if ahead is not None and same else self.read(batch)
        self.spent = self.spent[0], self.spent[1] + time.monotonic() - began
        return inputs

    def _attempt(self, inputs: Read, count: int) -> tuple[Made] | None:
        """What `run` makes, or None if the memory of the GPU ended."""
        import torch

        on_gpu = self.device.type == "cuda"
        with _TURN if on_gpu else nullcontext():
            began = time.monotonic()
            before = torch.cuda.memory_allocated(self.device) if on_gpu else 0
            if on_gpu and not self._grown:
                torch.cuda.reset_peak_memory_stats(self.device)
            try:
                made = (self.run(inputs),)
            except torch.OutOfMemoryError:
                return None
            finally:
                self.spent = self.spent[0] + time.monotonic() - began, self.spent[1]
            if on_gpu and not self._grown:
                self._grow((torch.cuda.max_memory_allocated(self.device) - before) / count)
        return made

    def _grow(self, bytes_each: float) -> None:
        """Take as many items at once as the free memory holds, a power of two."""
        import torch

        self._grown = True
        free = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)
        fitting = int(FREE_SHARE * free / max(bytes_each, 1))
        while self.size < MOST and 2 * self.size <= fitting:
            self.size *= 2

    def _halve(self, used: int) -> None:
        import torch

        if used == 1:
            raise WsipsmError(
                "the GPU has no memory for one tile; use smaller tiles, a smaller network, "
                "or a larger GPU"
            )
        self.size, self._grown = used // 2, True
        print(f"the memory of the GPU ended: {self.size} tiles at once now", file=sys.stderr)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
