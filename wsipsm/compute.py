"""What the machine offers: workers, devices, Dask, threads. The only place that knows it."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

LOG_SECONDS = 60.0

T = TypeVar("T")
R = TypeVar("R")

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of these parameters in glibc's malloc.h."""


def allotted_cores() -> int:
    """Cores that this process may use: the SLURM allocation, or the affinity mask."""
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    affinity = len(os.sched_getaffinity(0))
    return min(int(allotted), affinity) if allotted.isdigit() else affinity


def one_thread_each() -> None:
    """Let every worker compute on one thread, so that sums do not depend on the machine.

    Must run before NumPy is imported; torch is told as soon as it is used (`device`).
    """
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENCV_FOR_THREADS_NUM",
    ):
        os.environ[name] = "1"


def keep_memory() -> None:
    """Let glibc keep large blocks: asking the kernel for each tensor takes a fifth of the time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(TRIM_THRESHOLD, (1 << 31) - 1)


def device() -> torch.device:
    """The GPU if there is one, else the CPU with one thread a worker and exact repeatability."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def dask_client(workers: int) -> Iterator[Any]:
    """A Dask client over `workers` threads here, or over `WSIPSM_SCHEDULER` (an address)."""
    from distributed import Client, LocalCluster

    address = os.environ.get("WSIPSM_SCHEDULER")
    if address:
        with Client(address) as client:
            yield client
        return
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=workers, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, Client(cluster) as client:
        yield client


def run_each(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int | None,
    label: str,
    cost: Callable[[T], float] = lambda _: 1,
    unit: str = "shards",
) -> list[R]:
    """Results of `function` on every item, in the order of the items, by Dask workers.

    Workers are as many as cores are allotted, unless said otherwise.

    The function and the items travel to the workers by pickle: it holds paths and settings,
    opens files and models itself, writes what is large to disk and returns little. The first
    error ends the work and is raised. Progress, counted in units of `cost`, is shown on a
    terminal, and else printed once a minute, a line each time.
    """
    from distributed import as_completed

    if not items:
        return []
    with dask_client(min(workers or allotted_cores(), len(items))) as client:
        futures = client.map(function, items, pure=False)
        costs = {future.key: cost(item) for future, item in zip(futures, items, strict=True)}
        with _progress(label, total=sum(costs.values()), unit=unit) as progress:
            for future in as_completed(futures):
                future.result()
                progress.update(costs[future.key])
        return list(client.gather(futures))


def _progress(label: str, *, total: float, unit: str) -> Any:
    """Progress bar of tqdm: live on a terminal, a line a minute elsewhere."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    count = "{n:.0f}/{total:.0f} {unit}, {rate_fmt}"
    form = "{l_bar}{bar}| " if live else "{desc}: {percentage:.0f} %, "
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        bar_format=f"{form}{count}, {{elapsed}} gone, {{remaining}} left",
        mininterval=0.5 if live else LOG_SECONDS,
        maxinterval=float("inf"),
        file=None if live else _Lines(),
    )


class _Lines(io.TextIOBase):
    """Standard error as a log: what a progress bar writes over is a new line each time."""

    def write(self, text: str) -> int:
        line = text.strip()
        if line:
            sys.stderr.write(f"{line}\n")
        return len(text)
