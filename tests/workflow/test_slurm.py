"""The workflow on a real SLURM of one machine: same bytes, growing memory, kills, resumption."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import pytest

from wsipsm import compute
from wsipsm.io.product import read_record
from wsipsm.io.runs import run_record
from wsipsm.site import slurm as site
from wsipsm.site.doctor import Check, examine

from .conftest import REPOSITORY, Project
from .test_runs import CELLS, same_cells

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SCRIPTS = REPOSITORY / "tests/slurm"
PROFILES = REPOSITORY / "workflow/profiles"
QUICK = ["--slurm-init-seconds-before-status-checks=2", "--latency-wait=10"]
SMALL = ["--set-threads", *(f"{rule}=1" for rule in ("tile", "activate", "pseudomask", "segment"))]
LIMIT_SECONDS = 900
TILES = [f"results/slides/phantom_{number}/tiles.zarr" for number in (1, 2)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Start a SLURM of two pretended nodes on this machine, without accounting."""
    with tempfile.TemporaryDirectory(prefix="wsipsm-slurm-") as folder:
        Path(folder).chmod(0o755)  # one of its programs is not run by root
        environment = {**os.environ, "SLURM_TEST_ROOT": f"{folder}/root"}
        call = functools.partial(
            subprocess.run, env=environment, capture_output=True, text=True, check=False
        )
        up = call([SCRIPTS / "up.sh"])
        if up.returncode == 0:
            yield
        call([SCRIPTS / "down.sh"])
    if up.returncode:
        pytest.skip(f"no SLURM: {up.stderr.strip().splitlines()[-1]}")


@pytest.fixture
def victim(drawn_slides: Path, tmp_path: Path) -> Project:
    """Project of the two drawn slides before its first run."""
    made = Project(tmp_path / "victim")
    made.folder.mkdir()
    (made.folder / "slides").symlink_to(drawn_slides)
    made.configure()
    made.list_slides(*(f"phantom_{n} slides/phantom_{n}.tiff train " for n in (1, 2)))
    return made


def words_for(*words: str, profile: str = "slurm") -> list[str]:
    return [*SMALL, "--workflow-profile", str(PROFILES / profile), *QUICK, *words]


def run(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow on the cluster to its end."""
    return project.end(command(project, *words), timeout=LIMIT_SECONDS)


def command(project: Project, *words: str) -> list[str]:
    start = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    return [*start, "--directory", str(project.folder), *words_for(*words)]


def start(project: Project, *words: str) -> subprocess.Popen[bytes]:
    """Start the workflow on the cluster, as a leader of its own session."""
    with (project.folder / "said.txt").open("w") as log:
        return subprocess.Popen(
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


def test_every_stage_by_sbatch_makes_the_bytes_of_a_run_without_it(
    finished: Project, tmp_path: Path
) -> None:
    """Also: memory grows after a kill for memory, and one bad slide does not stop the others."""
    cohort = Project(tmp_path / "cohort")
    cohort.folder.mkdir()
    (cohort.folder / "slides").symlink_to((finished.folder / "slides").resolve())
    (cohort.folder / "broken.svs").write_text("not a slide")
    cohort.configure()
    sheet = (finished.folder / "config/slides.tsv").read_text()
    (cohort.folder / "config/slides.tsv").write_text(sheet + "broken\tbroken.svs\ttest\t\n")
    groups = "activate=a pseudomask=a segment=b stitch=b export=b project=c evaluate=c report=c"
    done = run(
        cohort,
        "--groups",
        *groups.split(),
        "--set-resources",
        *(f"{rule}:gpu=0" for rule in ("pretrain", "activate", "segment")),
        *("train:slurm_partition=gpu", "train:gpu=1", "train:mem_mb=100*attempt**6"),
    )
    assert done.returncode == 1, done.stdout
    assert "2 slides done, 1 quarantined" in done.stdout
    assert same_cells(finished, cohort)
    for name in ("models/encoder.pt", "models/unet.pt", *CELLS):
        record = json.loads(run_record(cohort.results / name).read_text())
        assert record["job"], name
        assert record["id"] == read_record(cohort.results / name)["provenance"]["id"]
    first, second = records("rule_train")[:2]
    assert first["JobState"] in ("OUT_OF_MEMORY", "FAILED")
    assert "memory" in Path(first["StdOut"]).read_text().lower(), "the reason is in SLURM's log"
    assert first["MinMemoryNode"] == "100M"
    assert (second["JobState"], second["MinMemoryNode"]) == ("COMPLETED", "6400M")
    assert second["TresPerJob"] == "gres:gpu:1"


def test_a_killed_coordinator_is_resumed_without_a_second_writer(victim: Project) -> None:
    with start(victim, *TILES) as killed:
        until(lambda: len(running(victim)) == 2, killed, what="two jobs ran")
        os.killpg(killed.pid, signal.SIGKILL)
    left = {job.id for job in site.jobs_of(victim.folder)}
    assert len(left) == 2, "SLURM's jobs outlive the coordinator"
    words = words_for("--snakefile", str(REPOSITORY / "Snakefile"), *TILES)
    resume = [sys.executable, "-m", "wsipsm.cli", "resume", *words]
    done = victim.end(resume, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stdout
    assert "ending job" in done.stdout
    jobs = {job["JobId"]: job for job in records("rule_tile")}
    ended = max(jobs[number]["EndTime"] for number in left)
    for name in TILES:
        record = json.loads(run_record(victim.folder / name).read_text())
        assert record["job"] not in left
        assert jobs[record["job"]]["StartTime"] >= ended, "the old job wrote beside the new one"


def test_an_interrupted_run_cancels_its_jobs(victim: Project) -> None:
    with start(victim, *TILES) as interrupted:
        until(lambda: site.jobs_of(victim.folder), interrupted, what="a job was sent")
        refused = victim.end([sys.executable, "-m", "wsipsm.cli", "resume"])
        assert "its workflow is running (process" in refused.stdout
        interrupted.send_signal(signal.SIGINT)
        interrupted.wait(LIMIT_SECONDS)
    assert interrupted.returncode != 0
    end = time.monotonic() + 60
    while site.jobs_of(victim.folder):
        assert time.monotonic() < end, "its jobs go on"
        time.sleep(0.2)


def test_a_job_that_slurm_puts_back_goes_on_and_the_run_waits(victim: Project) -> None:
    with start(victim, TILES[0]) as waiting:
        until(lambda: running(victim), waiting, what="a job ran")
        (job,) = running(victim)
        subprocess.run(["scontrol", "requeue", job], check=True)
        again = ["scontrol", "update", f"job={job}", "StartTime=now"]  # else after two minutes
        until(lambda: pending(job), waiting, what="its job was put back")
        subprocess.run(again, check=True)
        assert waiting.wait(LIMIT_SECONDS) == 0
    assert (victim.folder / TILES[0]).is_dir()
    (record,) = (job for job in records("rule_tile") if job["Restarts"] != "0")
    assert record["JobState"] == "COMPLETED"


def test_another_scheduler_is_three_scripts(victim: Project) -> None:
    generic = PROFILES / "generic"
    done = victim.end(
        [
            *[sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")],
            *[*SMALL, "--directory", str(victim.folder), "--workflow-profile", str(generic)],
            *["--cluster-generic-status-cmd", str(generic / "status")],
            "--cluster-generic-submit-cmd",
            f"{generic}/submit wsipsm-{{rule}} {{threads}} {{resources.mem_mb}}"
            " {resources.runtime} {resources.gpu} {resources.queue}",
            TILES[0],
        ],
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert (victim.folder / TILES[0]).is_dir()
    assert list(victim.results.glob("logs/cluster/wsipsm-tile_*.log"))


class Slow:
    """Writes numbers into files, slowly; what is large goes to disk, as in the stages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> int:
        time.sleep(0.5)
        (self.folder / str(number)).write_text(str(number))
        return number


def test_a_dask_job_cancelled_midway_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{Path(__file__).parent}")
    monkeypatch.setenv("WSIPSM_SCHEDULER", "slurm")
    monkeypatch.setenv("WSIPSM_JOBS", "2")
    size = {"cores": 1, "memory": "1GB", "queue": "cpu", "walltime": "00:05:00"}
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in size.items()}):
        cancelled: list[str] = []

        def cancel_one() -> None:
            """Cancel a worker's job when two work and some numbers are written."""
            while len(list(tmp_path.glob("[0-9]*"))) < 4 or len(dask_jobs()) < 2:
                time.sleep(0.1)
            cancelled.append(dask_jobs()[0])
            subprocess.run(["scancel", cancelled[0]], check=True)

        thread = threading.Thread(target=cancel_one, daemon=True)
        thread.start()
        found = compute.run_each(Slow(tmp_path), range(60), workers=2, label="slow")
        thread.join(1)
    assert found == list(range(60))
    assert sorted(int(path.name) for path in tmp_path.glob("[0-9]*")) == list(range(60))
    assert cancelled, "no second job came to be cancelled"


def dask_jobs() -> list[str]:
    """Ids of the Dask workers' jobs that run."""
    said = site.answer("squeue", "--noheader", "--states=RUNNING", "--format=%i %j") or ""
    return [line.split()[0] for line in said.splitlines() if line.endswith("wsipsm-dask")]


def test_the_doctor_sees_what_is_wrong_with_a_profile(tmp_path: Path) -> None:
    said = by_name(examine(PROFILES / "slurm", tmp_path / "results", nodes=True))
    assert said["node of cpu"][0].level == "good"
    assert "PyTorch finds no GPU" in said["node of gpu"][0].found, "its GPUs are pretended"
    assert {check.level for check in said["partition"]} == {"good"}
    assert said["accounting"][0].found == "squeue is used, it remembers for 300 s"
    text = (PROFILES / "slurm/config.yaml").read_text()
    text = text.replace("slurm-status-command: squeue", "slurm-status-command: sacct")
    text = text.replace("slurm_partition: cpu", "slurm_partition: nowhere")
    (tmp_path / "config.yaml").write_text(
        text.replace("slurm_partition: gpu", "slurm_partition: cpu")
    )
    said = by_name(examine(tmp_path, tmp_path / "results"))
    assert [check.level for check in said["partition"]] == ["wrong", "wrong"]
    assert "cpu has no GPU" in said["partition"][0].found
    assert "no 'nowhere'" in said["partition"][1].found
    assert "set slurm-status-command: squeue" in said["accounting"][0].advice


def by_name(checks: list[Check]) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.what, []).append(check)
    return found


def pending(job: str) -> bool:
    """Whether SLURM has put a job back into its queue."""
    said = site.answer("squeue", "--noheader", f"--jobs={job}", "--format=%T") or ""
    return said.strip() == "PENDING"


def running(project: Project) -> list[str]:
    """Ids of the project's jobs that run."""
    return [job.id for job in site.jobs_of(project.folder) if job.state == "RUNNING"]
