"""What the machine offers: cores, memory, devices, threads; and work shared among its workers."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wsipsm.clusters import dask_client, enough_with_threads
from wsipsm.errors import WsipsmError

if TYPE_CHECKING:
    import torch

LOG_SECONDS = 60.0
BASE_MB, WORKER_MB = 600, 400
"""Memory of a stage at rest, and of each worker; a job that needs more is tried with more."""

QUIET = "WSIPSM_QUIET"
"""Environment variable: where it is set, no progress is shown."""

RANKS = "WSIPSM_RANKS"
"""Environment variable: processes that share a training, where not one for each GPU."""

T = TypeVar("T")
R = TypeVar("R")

CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Files in which a container finds how much memory it may use, bytes."""

GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Of these, one is there where there is a GPU: of NVIDIA, in WSL, or of AMD."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of these parameters in glibc's malloc.h."""


def allotted_cores() -> int:
    """Cores that this process may use: the SLURM allocation, or the affinity mask."""
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    affinity = len(os.sched_getaffinity(0))
    return min(int(allotted), affinity) if allotted.isdigit() else affinity


def allotted_memory_mb() -> float:
    """Memory that this process may use: of the SLURM allocation, the cgroup, or the machine."""
    import psutil

    a_node = os.environ.get("SLURM_MEM_PER_NODE", "")
    a_core = os.environ.get("SLURM_MEM_PER_CPU", "")
    limits = [float(psutil.virtual_memory().total) / 2**20]
    for path in filter(Path.exists, CGROUP_LIMITS):
        text = path.read_text().strip()
        limits += [int(text) / 2**20] if text.isdigit() else []  # else "max"
    limits += [float(a_node)] if a_node.isdigit() and a_node != "0" else []
    limits += [float(a_core) * allotted_cores()] if a_core.isdigit() and a_core != "0" else []
    return min(limits)


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
    import torch.utils.deterministic

    torch.set_num_threads(1)
    # what `use_deterministic_algorithms` does, but that this loads no compiler, which takes seconds
    torch.set_deterministic_debug_mode("warn")
    # nothing reads memory that nothing wrote; to fill it first would take time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_floats(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where the device has it natively: GPUs, CPUs with AMX or AVX-512 BF16."""
    import torch

    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        native = bool(known.get("amx_bf16") or known.get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` takes them."""
    if not any(path.exists() for path in GPU_DEVICES):  # torch takes seconds to say so
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",") if named else [str(n) for n in range(torch.cuda.device_count())]


def training_processes() -> int:
    """Processes that share a training: one for each GPU, or as many as `WSIPSM_RANKS` says."""
    asked = os.environ.get(RANKS, "")
    return max(1, int(asked) if asked.isdigit() else len(visible_gpus()))


def fitting_workers() -> int:
    """Workers that the allotted cores and the allotted memory are enough for."""
    return max(1, min(allotted_cores(), int((allotted_memory_mb() - BASE_MB) / WORKER_MB)))


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

    Workers are as many as cores and memory are allotted for, unless said otherwise; with several
    GPUs, each has a process of its own.

    The function and the items travel to the workers by pickle: it holds paths and settings,
    opens files and models itself, writes what is large to disk and returns little. The first
    error ends the work and is raised; the work of a worker that is lost is done again by another.
    Progress, counted in units of `cost`, is shown on a terminal, and else printed once a minute,
    a line each time.

    Raises
    ------
    WsipsmError
        An item has cost several workers their lives, or the Dask scheduler is gone.
    """
    if not items:
        return []
    count = min(workers or fitting_workers(), len(items))
    gpus = visible_gpus()
    if enough_with_threads(gpus):
        costs = {f"{label}-{at}": cost(item) for at, item in enumerate(items)}
        with progress(label, total=sum(costs.values()), unit=unit) as bar:
            done = partial(_count, bar, costs)
            return _by_threads(function, dict(zip(costs, items, strict=True)), count, done)
    results: dict[str, R] = {}
    with dask_client(count, gpus=gpus) as client:
        futures = client.map(function, items, pure=False)
        keys = [future.key for future in futures]
        costs = dict(zip(keys, map(cost, items), strict=True))
        with progress(label, total=sum(costs.values()), unit=unit) as bar:
            for future in _ended(futures, label):
                results[future.key] = future.result()
                future.release()  # so that no worker that is lost takes a result with it
                bar.update(costs[future.key])
    return [results[key] for key in keys]


def _count(bar: Any, costs: dict[str, float], key: str, *_: object) -> None:
    bar.update(costs[key])


def _by_threads(
    function: Callable[[T], R],
    items: dict[str, T],
    workers: int,
    done: Callable[..., None],
) -> list[R]:
    """Results by threads of this process, which need no cluster; `done` is told what ended."""
    from dask.base import compute
    from dask.callbacks import Callback
    from dask.delayed import delayed

    tasks = [
        delayed(partial(function, item), pure=False, traverse=False)(dask_key_name=key)
        for key, item in items.items()
    ]
    with ThreadPoolExecutor(workers) as pool, Callback(posttask=done):
        found = compute(
            *tasks, scheduler="threads", pool=pool, num_workers=workers, optimize_graph=False
        )
    return list(found)


def _ended(futures: list[Any], label: str) -> Iterator[Any]:
    """Futures as they end; what happens to workers is one sentence."""
    from distributed import KilledWorker, as_completed
    from distributed.client import FutureCancelledError

    try:
        for future in as_completed(futures):
            error = future.exception()
            if isinstance(error, KilledWorker | FutureCancelledError):
                raise error
            yield future
    except KilledWorker:
        raise WsipsmError(
            f"{label}: several workers were lost on one shard; give them more memory"
        ) from None
    except FutureCancelledError:
        raise WsipsmError(
            f"{label}: the Dask scheduler is gone; start it again, or unset WSIPSM_SCHEDULER"
        ) from None


def be_quiet() -> None:
    """Show no progress from now on, in this process and in those that it starts."""
    os.environ[QUIET] = "1"


def progress(label: str, *, total: float, unit: str, over: range | None = None) -> Any:
    """Progress of tqdm: a live line on a terminal, a line a minute elsewhere; none if quiet.

    Counts the numbers that it gives of `over`, from the first of them; else `update` does.
    """
    from tqdm import tqdm

    live = sys.stderr.isatty()
    count = "{n:.0f}/{total:.0f} {unit}, {rate_fmt}"
    form = "{l_bar}{bar}| " if live else "{desc}: {percentage:.0f} %, "
    return tqdm(
        over,
        initial=over.start if over else 0,
        total=total,
        desc=label,
        unit=unit,
        bar_format=f"{form}{count}, {{elapsed}} gone, {{remaining}} left",
        mininterval=0.5 if live else LOG_SECONDS,
        maxinterval=float("inf"),
        file=None if live else _Lines(),
        disable=QUIET in os.environ,
    )


def say_busy(label: str, spent: Sequence[tuple[float, float]]) -> None:
    """Print which share of their time the workers of a stage computed; nothing if quiet.

    `spent` holds the seconds that each shard's batches were computed and waited for.
    """
    if QUIET in os.environ:
        return
    busy, waited = (sum(part) for part in zip(*spent, strict=True)) if spent else (0.0, 0.0)
    share = 100 * busy / max(busy + waited, 1e-9)
    print(
        f"{label}: computed {busy:.1f} s, waited {waited:.1f} s: busy {share:.0f} %",
        file=sys.stderr,
    )


class _Lines(io.TextIOBase):
    """Standard error as a log: what a progress bar writes over is a new line each time."""

    def write(self, text: str) -> int:
        line = text.strip()
        if line:
            sys.stderr.write(f"{line}\n")
        return len(text)
