"""Dask clusters: a process for each GPU, jobs of SLURM, or an address."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wsipsm.errors import SettingsError

JOBS = 4
"""Jobs of SLURM that a stage may have at once, unless `WSIPSM_JOBS` says otherwise."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",  # else tensors are asked for anew: half the speed
}
"""Of every worker that is a process: one thread a task, and memory that is kept."""

_QUIET = {"dashboard_address": "127.0.0.1:0"}


def enough_with_threads(gpus: Sequence[str]) -> bool:
    """Whether the work is for this machine, and threads of this process need no cluster."""
    return not os.environ.get("WSIPSM_SCHEDULER") and len(gpus) < 2


@contextmanager
def dask_client(workers: int, *, gpus: Sequence[str] = ()) -> Iterator[Any]:
    """A Dask client whose workers do the tasks of one stage.

    `WSIPSM_SCHEDULER` chooses where: an address of a Dask scheduler; `slurm` for jobs of a size
    that Dask's own settings give (`DASK_JOBQUEUE__SLURM__CORES`, `__MEMORY`, `__QUEUE`), as many as
    there is work for, at most `WSIPSM_JOBS`; nothing for this machine: `workers` threads, shared
    among processes, one for each of `gpus`, which sees no other.

    Raises
    ------
    SettingsError
        SLURM's jobs have no size.
    """
    import dask
    from distributed import Client

    where = os.environ.get("WSIPSM_SCHEDULER", "")
    with dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT}):
        if where and where != "slurm":
            with Client(where) as client:
                yield client
            return
        if where:
            cluster = _slurm_cluster()
        else:
            cluster = _cluster_of_gpus(gpus, threads=max(1, workers // len(gpus)))
        with cluster, Client(cluster) as client:
            yield client


def _cluster_of_gpus(gpus: Sequence[str], *, threads: int) -> Any:
    from distributed import Nanny, Scheduler, SpecCluster

    workers = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": threads,
                "memory_limit": 0,
                "env": {"CUDA_VISIBLE_DEVICES": gpu},
                "dashboard_address": None,
            },
        }
        for number, gpu in enumerate(gpus)
    }
    scheduler = {"cls": Scheduler, "options": {**_QUIET, "host": "127.0.0.1"}}
    return SpecCluster(workers=workers, scheduler=scheduler)


def _slurm_cluster() -> Any:
    """Jobs of SLURM that come and go with the work; one that is lost is sent again."""
    import dask
    from dask_jobqueue.slurm import SLURMCluster

    exports = [f"export {name}={value}" for name, value in ENVIRONMENT.items()]
    logs = dask.config.get("jobqueue.slurm.log-directory", None) or ".snakemake/dask_logs"
    try:
        cluster = SLURMCluster(
            job_name="wsipsm-dask",
            job_script_prologue=exports,
            log_directory=logs,
            scheduler_options=_QUIET,
        )
    except ValueError as error:
        raise SettingsError(
            f"WSIPSM_SCHEDULER=slurm: {' '.join(str(error).split())}; set CORES, MEMORY and QUEUE,"
            " each with DASK_JOBQUEUE__SLURM__ before it"
        ) from None
    cluster.adapt(minimum_jobs=1, maximum_jobs=int(os.environ.get("WSIPSM_JOBS", JOBS)))
    return cluster
