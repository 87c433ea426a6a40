"""What the rules ask of the machine, and the lock of a run."""

import fcntl
import functools
import os
import socket

from snakemake.exceptions import WorkflowError


def share():
    """Cores for a job that each slide has: all slides at once, and one core at the least.

    A cluster has no number of cores; there the profile says how many a job has.
    """
    try:
        return max(1, (workflow.cores or 1) // len(SLIDES))
    except WorkflowError:
        return 1


def growing(amount, *, per_gb=0, times=lambda wildcards: 1):
    """A resource that grows with each attempt, and by `per_gb` with each GB of the slide file.

    A job that does its work several times says how many `times`.
    """

    def asked(wildcards, attempt):
        return round((amount + per_gb * size_gb(wildcards)) * times(wildcards) * attempt)

    return asked


def size_gb(wildcards):
    """Size of the slide of a job, or 0 for a job of the cohort; a MIRAX slide with its folder."""
    row = SLIDES.get(getattr(wildcards, "slide", None))
    return file_gb(row.path) if row else 0


@functools.cache
def file_gb(name):
    """Size of a slide; 0 of one that is away for now, as its job will say so."""
    path = Path(name)
    beside = path.with_suffix("") if path.suffix.lower() == ".mrxs" else path
    try:
        inside = sum(file.stat().st_size for file in beside.iterdir()) if beside.is_dir() else 0
        return (path.stat().st_size + inside) / 1e9
    except OSError:
        return 0


HELD = []


def hold(path):
    """Lock a file, with the name of this process in it, until this process ends."""
    file = path.open("a+")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    HELD.append(file)
