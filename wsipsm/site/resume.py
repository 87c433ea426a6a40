"""Go on with a run whose coordinator was killed, when none of its jobs writes any more."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsipsm.errors import WsipsmError
from wsipsm.io.runs import owner_of
from wsipsm.site.settings import Run
from wsipsm.site.slurm import cancel, jobs_of
from wsipsm.site.status import products_of

COORDINATOR = ".snakemake/wsipsm.lock"
"""Held by the workflow while it runs; the Snakefile takes it."""

PATIENCE_SECONDS = 180.0
POLL_SECONDS = 1.0


def settle(run: Run, *, wait: bool, say: Callable[[str], None]) -> None:
    """End the jobs that a killed run left in its folder, or `wait` for them.

    Jobs are found by their name and folder, and whoever else makes a product by its lock. What
    they have written so far is kept, and the next run continues there.

    Raises
    ------
    WsipsmError
        The run's coordinator is alive, or a process that writes cannot be ended from here.
    """
    _refuse_if_coordinated(run.folder)
    until = time.monotonic() + PATIENCE_SECONDS
    said = ""
    while True:
        jobs, writers = jobs_of(run.folder), _writers(run)
        if not jobs and not writers:
            return
        names = [f"job {job.id}" for job in jobs]
        names += [f"process {owner.get('pid')} on {owner.get('host')}" for owner in writers]
        if not wait:
            cancel(jobs)
            _end(writers)
        verb = "waiting for" if wait else "ending"
        if said != (said := f"{verb} {', '.join(names)}"):
            say(said)
        if not wait and time.monotonic() > until:
            raise WsipsmError(f"{names[0]} does not end; end it there, then resume again")
        time.sleep(POLL_SECONDS)


def snakemake(words: Sequence[str], *, folder: Path) -> None:
    """Unlock the workflow in `folder` and become `snakemake` with these words.

    Raises
    ------
    WsipsmError
        The workflow cannot be unlocked.
    """
    start = [sys.executable, "-m", "snakemake", *words]
    done = subprocess.run([*start, "--unlock"], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()
        reason = said[-1] if said else "no reason given"
        raise WsipsmError(f"{folder}: snakemake cannot unlock it: {reason}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*start, "--rerun-incomplete"])


def _refuse_if_coordinated(folder: Path) -> None:
    with suppress(FileNotFoundError), (folder / COORDINATOR).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = file.read().strip()
            raise WsipsmError(
                f"{folder}: its workflow is running ({who}); wait for it, or interrupt it there"
            ) from None


def _writers(run: Run) -> list[dict[str, Any]]:
    """Who makes a product of the run at this moment."""
    return [owner for product in products_of(run) if (owner := owner_of(product)) is not None]


def _end(writers: Sequence[dict[str, Any]]) -> None:
    """Ask processes of this host to end; they hold the lock of a product, so that they are ours."""
    for owner in writers:
        if owner.get("host") == socket.gethostname() and not owner.get("job"):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(owner["pid"]), signal.SIGTERM)
