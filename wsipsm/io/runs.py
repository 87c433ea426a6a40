"""Who makes a product, and what it took: kept beside it, so that its bytes depend on neither."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsipsm.errors import WsipsmError

SUFFIX = ".run.json"
"""Ends the name of the record beside a product, such as `tiles.zarr.run.json`."""

OWNER, LOCK = "owner.json", "lock"
PATIENCE_SECONDS = 2.0
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


def this_process() -> dict[str, Any]:
    """Host, process and job that run this, and since when (seconds since 1970)."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID") or os.environ.get("WSIPSM_JOB_ID"),
        "started": time.time(),
    }


@contextmanager
def owning(folder: Path, target: Path) -> Iterator[Claim]:
    """Be the only process that makes `target`, whose partial work is in `folder`.

    Raises
    ------
    WsipsmError
        Another process is making it.
    """
    with (folder / LOCK).open("a") as file:
        _lock(file.fileno(), target)
        claim = Claim(folder / OWNER, target)
        yield claim


class Claim:
    """The word of one process that it makes a product; where locks do not reach, all there is."""

    def __init__(self, path: Path, target: Path) -> None:
        self.target, self._path, self._owner = target, path, this_process()
        self._text = json.dumps(self._owner)
        path.write_text(self._text)

    def check(self) -> None:
        """Raise if another process has claimed the product since."""
        now = self._path.read_text() if self._path.exists() else ""
        if now != self._text:
            raise WsipsmError(
                f"{self.target}: another process took it over; nothing was replaced, wait for it"
            )

    def record(self, made: dict[str, Any]) -> None:
        """Write beside the product what it took to make it; `made` is its provenance."""
        record = {
            **{name: made[name] for name in ("id", "stage", "code")},
            **{name: self._owner[name] for name in ("host", "job", "started")},
            "seconds": round(time.time() - self._owner["started"], 3),
            "peak_memory_mb": _peak_memory_mb(),
            "peak_gpu_memory_mb": _peak_gpu_memory_mb(),
            "cores": len(os.sched_getaffinity(0)),
        }
        path = run_record(self.target)
        ahead = path.with_name(path.name + ".new")
        ahead.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        ahead.replace(path)


def run_record(product: Path) -> Path:
    """Place of the record beside a product."""
    return product.with_name(product.name + SUFFIX)


def owner_of(product: Path) -> dict[str, Any] | None:
    """Who is making a product at this moment, as `this_process` says it; None if nobody is."""
    folder = product.with_name(product.name + ".partial")
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except OSError:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((folder / OWNER).read_text())
            return found
        return {}


def to_disk(path: Path) -> None:
    """Wait until a file, or every file of a folder, is safe from a power cut."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, target: Path) -> None:
    """Lock a file, or go on where the file system has no locks: the claim holds there."""
    until = time.monotonic() + PATIENCE_SECONDS  # `owner_of` asks for a moment, too
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                return
            if time.monotonic() > until:
                raise WsipsmError(
                    f"{target}: another process is making it; wait for that one, or end it"
                ) from None
            time.sleep(0.05)
        else:
            return


def _peak_memory_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _peak_gpu_memory_mb() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_allocated() / 2**20)
