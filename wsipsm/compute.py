"""What the machine offers: workers, devices, Dask, threads. The only place that knows it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

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
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
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
    function: Callable[[T], R], items: Sequence[T], *, workers: int | None, label: str
) -> list[R]:
    """Results of `function` on every item, in the order of the items, by Dask workers.

    Workers are as many as cores are allotted, unless said otherwise.

    The function and the items travel to the workers by pickle: it holds paths and settings,
    opens files and models itself, writes what is large to disk and returns little. Progress
    is shown on a terminal. The first error ends the work and is raised.
    """
    from distributed import as_completed
    from tqdm import tqdm

    if not items:
        return []
    with dask_client(min(workers or allotted_cores(), len(items))) as client:
        futures = client.map(function, items, pure=False)
        with tqdm(total=len(items), desc=label, disable=None) as progress:
            for future in as_completed(futures):
                future.result()
                progress.update()
        return list(client.gather(futures))
