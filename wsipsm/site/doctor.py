"""Whether a machine or cluster suits a run: programs, disk, locks, clock, scheduler, partitions."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsipsm.site import slurm
from wsipsm.site.settings import read_yaml

NEEDED_GB = 20
CLOCK_SECONDS = 2.0
REMEMBERED_SECONDS = 120
NODE_SECONDS = 180
PROGRAMS = ("wsipsm", "snakemake", "torch", "distributed", "zarr")
_TRY_LOCK = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_SH | fcntl.LOCK_NB)"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to change if it is not `good`."""

    level: Literal["good", "doubtful", "wrong"]
    what: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.level:8}  {self.what}: {self.found}{advice}"


def examine(profile: Path, results: Path, *, nodes: bool = False) -> list[Check]:
    """Check this machine, the file system of `results`, and the cluster that `profile` names.

    With `nodes`, a job of seconds in each partition of the profile says what it sees there.

    Raises
    ------
    SettingsError
        The profile cannot be read.
    """
    settings = read_yaml(profile / "config.yaml")
    checks = [*_programs(), *_disk(results)]
    if settings.get("executor") != "slurm":
        return checks
    if slurm.answer("sinfo", "--version") is None:
        advice = "run this on a login node, or use the profile local"
        return [*checks, Check("wrong", "SLURM", "sinfo does not answer", advice)]
    checks += [_status_command(settings), *_partitions(settings)]
    if nodes:
        checks += [_node(name, gpu, results) for name, gpu in sorted(_used(settings).items())]
    return checks


def _programs() -> Iterator[Check]:
    versions = {name: importlib.metadata.version(name) for name in PROGRAMS}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Check("good", "versions", f"Python {sys.version.split()[0]}, {said}")
    found = shutil.which("wsipsm")
    if found is None or Path(found).parent != Path(sys.executable).parent:
        advice = "activate the environment of this one: its jobs call what is on the PATH"
        yield Check("wrong", "PATH", f"`wsipsm` is {found}", advice)


def _disk(results: Path) -> Iterator[Check]:
    folder = next(path for path in (results, *results.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    advice = "" if free >= NEEDED_GB else f"a slide takes up to {NEEDED_GB} GB; free some space"
    yield Check("good" if not advice else "doubtful", "space", f"{free:.0f} GB free", advice)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            yield _locks(file.name)
            yield _clock(Path(file.name), time.time())
    except OSError as error:
        yield Check("wrong", "disk", f"{folder}: {error.strerror}", "choose another `results`")


def _locks(name: str) -> Check:
    """Whether a second process is refused what the first has locked."""
    advice = "never run two workflows on the same results (NFS: mount without local_lock, nolock)"
    with Path(name).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            return Check("doubtful", "locks", "this file system has none", advice)
        second = [sys.executable, "-c", _TRY_LOCK, name]
        refused = subprocess.run(second, capture_output=True, check=False).returncode != 0
    if refused:
        return Check("good", "locks", "hold between processes of this machine")
    return Check("doubtful", "locks", "do not hold on this file system", advice)


def _clock(file: Path, now: float) -> Check:
    file.touch()
    apart = abs(file.stat().st_mtime - now)
    if apart < CLOCK_SECONDS:
        return Check("good", "clock", "agrees with the file system's")
    advice = "set the clocks (NTP): Snakemake compares times of files"
    return Check("wrong", "clock", f"{apart:.0f} s off the file system's", advice)


def _status_command(settings: dict[str, Any]) -> Check:
    """Whether the command that the profile asks for the state of jobs answers, and remembers."""
    chosen, accounting = settings.get("slurm-status-command"), slurm.accounting()
    if chosen != "squeue":
        if accounting:
            return Check("good", "accounting", "sacct answers")
        advice = "set slurm-status-command: squeue, or the run waits for ever"
        return Check("wrong", "accounting", "sacct does not answer", advice)
    seconds = slurm.forgets_after()
    if seconds is None or seconds >= REMEMBERED_SECONDS:
        return Check("good", "accounting", f"squeue is used, it remembers for {seconds} s")
    other = "set slurm-status-command: sacct" if accounting else "ask for a MinJobAge of 300"
    return Check("wrong", "accounting", f"squeue forgets jobs after {seconds} s", other)


def _used(settings: dict[str, Any]) -> dict[str, bool]:
    """Partitions that a profile names, and whether it asks for a GPU there."""
    groups = [settings.get("default-resources") or {}]
    groups += (settings.get("set-resources") or {}).values()
    used: dict[str, bool] = {}
    for group in groups:
        name = group.get("slurm_partition")
        if name:
            used[name] = used.get(name, False) or bool(group.get("gpu"))
    return used


def _partitions(settings: dict[str, Any]) -> Iterator[Check]:
    """Whether each partition that the profile names is there, takes jobs, and has its GPUs."""
    there = {partition.name: partition for partition in slurm.partitions()}
    names = ", ".join(there)
    for name, gpu in sorted(_used(settings).items()):
        found = there.get(name)
        if found is None:
            yield Check("wrong", "partition", f"no {name!r}", f"name one of {names} in the profile")
        elif not found.up:
            yield Check("wrong", "partition", f"{name} is down", "name another in the profile")
        elif gpu and not found.gpus:
            advice = "name one with GPUs, or set `gpu: 0` for its rules in the profile"
            yield Check("wrong", "partition", f"{name} has no GPU", advice)
        else:
            limit = f"{found.minutes} min" if found.minutes else "no limit"
            yield Check("good", "partition", f"{name}: {limit}, {found.gpus} GPUs a node")


def _node(partition: str, gpu: bool, results: Path) -> Check:
    """What a job in a partition sees: the results, the time, its GPU."""
    results.mkdir(parents=True, exist_ok=True)
    what = f"node of {partition}"
    with tempfile.NamedTemporaryFile(dir=results) as shared:
        words = ["srun", "--quiet", f"--partition={partition}", "--time=3", "--mem=2000"]
        words += ["--gres=gpu:1"] if gpu else []
        words += [sys.executable, "-m", "wsipsm.site.node", str(Path(shared.name).absolute())]
        before = time.time()
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=NODE_SECONDS,
                env=_plain(),
                check=True,
            )
            seen = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            return Check(
                "doubtful", what, f"no answer in {NODE_SECONDS} s", "the queue may be long"
            )
        except subprocess.CalledProcessError as error:
            said = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            return Check("wrong", what, said, "install the environment where nodes see it")
    if not seen["shared"]:
        return Check("wrong", what, f"{seen['host']} does not see {results}", "use a shared disk")
    if not before - CLOCK_SECONDS <= seen["time"] <= time.time() + CLOCK_SECONDS:
        return Check("wrong", what, f"the clock of {seen['host']} is off", "set the clocks (NTP)")
    if gpu and not seen["gpus"]:
        advice = "ask for its driver, or for a PyTorch that goes with it"
        return Check("wrong", what, f"PyTorch finds no GPU on {seen['host']}", advice)
    return Check("good", what, f"{seen['host']}: {seen['cores']} cores, {seen['gpus']} GPUs")


def _plain() -> dict[str, str]:
    """The environment without what an allocation around us has set."""
    return {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
