"""What SLURM says: jobs of a folder, partitions, accounting. Without SLURM it says nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PREFIX = "wsipsm"
"""Names of jobs start so; the profile's `slurm-jobname-prefix`."""

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "DEADLINE")
TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Job:
    """A job that waits or runs: id, state, and what Snakemake says it does."""

    id: str
    state: str
    about: str

    @property
    def rule(self) -> str:
        """Rule of the workflow, such as `tile`."""
        return self.about.removeprefix("rule_").partition("_wildcards_")[0]

    @property
    def wildcards(self) -> str:
        """Values of its wildcards, such as `slide_1_unet`."""
        return self.about.partition("_wildcards_")[2]


@dataclass(frozen=True)
class Partition:
    """A partition: whether it takes jobs, its time limit (minutes, None for none), its GPUs."""

    name: str
    up: bool
    minutes: int | None
    gpus: int


def answer(*words: str) -> str | None:
    """What a command says, or None if it is absent, fails, or does not answer in time."""
    if shutil.which(words[0]) is None:
        return None
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout


def jobs_of(folder: Path) -> list[Job]:
    """Jobs of this user that the workflow in `folder` sent and that have not ended."""
    said = answer("squeue", "--me", "--noheader", "--format=%i\t%T\t%j\t%Z\t%k")
    jobs = []
    for line in (said or "").splitlines():
        number, state, name, where, about = line.split("\t")
        ours = name.startswith(PREFIX) and Path(where).resolve() == folder.resolve()
        if ours and state not in ENDED:
            jobs.append(Job(number, state, about))
    return jobs


def cancel(jobs: Sequence[Job]) -> None:
    """Cancel jobs; those that have ended meanwhile are no mistake."""
    for start in range(0, len(jobs), 100):
        answer("scancel", *(job.id for job in jobs[start : start + 100]))


def partitions() -> list[Partition]:
    """Partitions of the cluster."""
    said = answer("sinfo", "--noheader", "--format=%R\t%a\t%l\t%G")
    found: dict[str, Partition] = {}
    for line in (said or "").splitlines():
        name, state, limit, features = line.split("\t")
        counts = re.findall(r"gpu(?::[^:,()]+)?:(\d+)", features)
        gpus = max([sum(map(int, counts)), found[name].gpus if name in found else 0])
        found[name] = Partition(name, state == "up", _minutes(limit), gpus)
    return list(found.values())


def forgets_after() -> int | None:
    """Seconds after which `squeue` forgets a job that ended (MinJobAge)."""
    found = re.search(r"MinJobAge\s*=\s*(\d+)", answer("scontrol", "show", "config") or "")
    return int(found[1]) if found else None


def accounting() -> bool:
    """Whether `sacct` answers."""
    return answer("sacct", "--noheader", "--starttime=now") is not None


def _minutes(limit: str) -> int | None:
    """Minutes of a limit such as `1-00:00:00`, `5:00` (minutes and seconds) or `infinite`."""
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, _ = ([0] * (3 - len(parts)) + parts) if len(parts) < 4 else parts[-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes
