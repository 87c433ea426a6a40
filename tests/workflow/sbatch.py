"""Words and looks that the tests on a real SLURM share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from wsipsm.site import slurm as site

from .conftest import REPOSITORY, Project

PROFILES = REPOSITORY / "workflow/profiles"
QUICK = ["--slurm-init-seconds-before-status-checks=2", "--latency-wait=10"]
SMALL = ["--set-threads", *(f"{rule}=1" for rule in ("tile", "activate", "pseudomask", "segment"))]


def words_for(*words: str, profile: str = "slurm") -> list[str]:
    return [*SMALL, "--workflow-profile", str(PROFILES / profile), *QUICK, *words]


def command(project: Project, *words: str) -> list[str]:
    start = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    return [*start, "--directory", str(project.folder), *words_for(*words)]


class Run(subprocess.Popen[bytes]):
    """A run that a test that fails does not wait for."""

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind and self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(kind, *error)


def start(project: Project, *words: str) -> Run:
    """Start the workflow on the cluster, as a leader of its own session."""
    with (project.folder / "said.txt").open("w") as log:
        return Run(
            command(project, *words),
            env=project.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def until(true: Callable[[], object], run: subprocess.Popen[bytes], *, what: str) -> None:
    """Wait until something is `true`, as long as the run lasts."""
    while not true():
        if run.poll() is not None and not true():
            pytest.fail(f"the run ended ({run.returncode}) before {what}")
        time.sleep(0.1)


def records(about: str) -> list[dict[str, str]]:
    """What the scheduler itself keeps of each job whose comment begins with `about`."""
    said = subprocess.run(
        ["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in said.splitlines()]
    return [job for job in jobs if job.get("Comment", "").startswith(about)]


def pending(job: str) -> bool:
    """Whether SLURM has put a job back into its queue."""
    said = site.answer("squeue", "--noheader", f"--jobs={job}", "--format=%T") or ""
    return said.strip() == "PENDING"


def running(project: Project) -> list[str]:
    """Ids of the project's jobs that run."""
    return [job.id for job in site.jobs_of(project.folder) if job.state == "RUNNING"]


def suspend(project: Project, run: subprocess.Popen[bytes]) -> None:
    """Stop the project's one job as soon as it runs: it must not end before it is ended."""
    until(lambda: running(project), run, what="its job ran")
    (job,) = running(project)
    subprocess.run(["scontrol", "suspend", job], check=True)


def dask_jobs() -> list[str]:
    """Ids of the Dask workers' jobs that run."""
    said = site.answer("squeue", "--noheader", "--states=RUNNING", "--format=%i %j") or ""
    return [line.split()[0] for line in said.splitlines() if line.endswith("wsipsm-dask")]
