"""The workflow on a real SLURM of one machine: same bytes, growing memory, kills, resumption.

The longest run is begun first and looked at last: it mostly waits, as the plug-in of Snakemake does
for five seconds before each job that it sends, and longer and longer before it asks for them.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from wsipsm.activation.activate import activate
from wsipsm.config import Activation, Pretraining, Tiling
from wsipsm.io.product import read_record
from wsipsm.io.runs import run_record
from wsipsm.io.tiles import open_tiles
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.site import slurm as site
from wsipsm.site.doctor import Check, examine
from wsipsm.tiling.tile import tile

from .conftest import REPOSITORY, Project
from .sbatch import (
    PROFILES,
    SMALL,
    dask_jobs,
    pending,
    records,
    running,
    start,
    suspend,
    until,
    words_for,
)
from .test_runs import CELLS, same_cells

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SCRIPTS = REPOSITORY / "tests/slurm"
LIMIT_SECONDS = 900
TILES = "results/slides/phantom_1/tiles.zarr"


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
    """Project of one drawn slide before its first run."""
    made = Project(tmp_path / "victim")
    made.folder.mkdir()
    (made.folder / "slides").symlink_to(drawn_slides)
    made.configure()
    made.list_slides("phantom_1 slides/phantom_1.tiff train ")
    return made


@pytest.fixture(scope="module", autouse=True)
def begun(
    cluster: None,  # noqa: ARG001 - it comes first
    drawn_slides: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Project, subprocess.Popen[bytes]]]:
    """Cohort of two slides and a bad one, on its way through every stage by sbatch."""
    cohort = Project(tmp_path_factory.mktemp("sbatch") / "cohort")
    cohort.folder.mkdir()
    (cohort.folder / "slides").symlink_to(drawn_slides)
    (cohort.folder / "broken.svs").write_text("not a slide")
    cohort.configure()
    names = {1: "train", 2: "test"}
    rows = (
        f"phantom_{n} slides/phantom_{n}.tiff {split} slides/phantom_{n}.cells.geojson"
        for n, split in names.items()
    )
    cohort.list_slides(*rows, "broken broken.svs test ")
    groups = (
        "tile=a activate=b pseudomask=b segment=c stitch=c export=c project=c evaluate=c report=c"
    )
    words = ["--groups", *groups.split(), "--group-components", "a=3", "b=3"]
    words += ["--set-resources", *(f"{rule}:gpu=0" for rule in ("pretrain", "activate", "segment"))]
    words += ["train:slurm_partition=gpu", "train:gpu=1", "train:mem_mb=100*attempt**6"]
    with start(cohort, *words) as run:
        yield cohort, run
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


def test_a_killed_coordinator_is_resumed_without_a_second_writer(victim: Project) -> None:
    with start(victim, TILES) as killed:
        suspend(victim, killed)
        os.killpg(killed.pid, signal.SIGKILL)
    left = {job.id for job in site.jobs_of(victim.folder)}
    assert left, "SLURM's jobs outlive the coordinator"
    words = words_for("--snakefile", str(REPOSITORY / "Snakefile"), TILES)
    resume = [sys.executable, "-m", "wsipsm.cli", "resume", *words]
    done = victim.end(resume, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stdout
    assert "ending job" in done.stdout
    jobs = {job["JobId"]: job for job in records("rule_tile")}
    ended = max(jobs[number]["EndTime"] for number in left)
    record = json.loads(run_record(victim.folder / TILES).read_text())
    assert record["job"] not in left
    assert jobs[record["job"]]["StartTime"] >= ended, "the old job wrote beside the new one"


def test_an_interrupted_run_cancels_its_jobs(victim: Project) -> None:
    with start(victim, TILES) as interrupted:
        suspend(victim, interrupted)
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
    with start(victim, TILES) as waiting:
        log = victim.results / "logs/tiling/phantom_1.log"
        until(lambda: running(victim) and log.exists(), waiting, what="a job was at work")
        (job,) = running(victim)
        subprocess.run(["scontrol", "requeue", job], check=True)
        again = ["scontrol", "update", f"job={job}", "StartTime=now"]  # else after two minutes
        until(lambda: pending(job), waiting, what="its job was put back")
        subprocess.run(again, check=True)
        assert waiting.wait(LIMIT_SECONDS) == 0
    assert (victim.folder / TILES).is_dir()
    (record,) = (job for job in records("rule_tile") if job["Restarts"] != "0")
    assert record["JobState"] == "COMPLETED"


def test_another_scheduler_is_three_scripts(victim: Project) -> None:
    generic = PROFILES / "generic"
    done = victim.end(
        [
            *[sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")],
            *[*SMALL, "--directory", str(victim.folder), "--workflow-profile", str(generic)],
            *["--cluster-generic-status-cmd", str(generic / "status")],
            "--seconds-between-status-checks=2",
            "--cluster-generic-submit-cmd",
            f"{generic}/submit wsipsm-{{rule}} {{threads}} {{resources.mem_mb}}"
            " {resources.runtime} {resources.gpu} {resources.queue}",
            TILES,
        ],
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert (victim.folder / TILES).is_dir()
    assert list(victim.results.glob("logs/cluster/wsipsm-tile_*.log"))


def test_a_dask_job_cancelled_midway_loses_nothing(
    drawn_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slide mapped by this machine, and by jobs of SLURM of which one is cancelled."""
    tiles, encoder = tmp_path / "tiles.zarr", tmp_path / "encoder.pt"
    settings = Tiling(mpp=0.25, tile_px=64, shard_tiles=1, min_tissue_share=0)
    tile(drawn_slides / "phantom_1.tiff", tiles, settings=settings)
    pretrain([tiles], encoder, settings=Pretraining(steps=1, batch=2, tile_px=64), seed=0)
    here, there = tmp_path / "here/activation.zarr", tmp_path / "there/activation.zarr"
    activate(tiles, encoder, here, settings=Activation(), workers=2)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("WSIPSM_SCHEDULER", "slurm")
    monkeypatch.setenv("WSIPSM_JOBS", "2")
    size = {"cores": 1, "memory": "2GB", "queue": "cpu", "walltime": "00:05:00"}
    cancelled: list[int] = []

    def cancel_one() -> None:
        """Cancel a worker's job when two run and some shards are done."""
        done = there.with_name("activation.zarr.partial") / "done"
        while len(written := [*done.glob("*")]) < 4 or len(dask_jobs()) < 2:
            time.sleep(0.05)
        subprocess.run(["scancel", dask_jobs()[0]], check=True)
        cancelled.append(len(written))

    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in size.items()}):
        thread = threading.Thread(target=cancel_one, daemon=True)
        thread.start()
        activate(tiles, encoder, there, settings=Activation(), workers=2)
        thread.join(1)
    shards = len(open_tiles(tiles).kept_shards())
    assert cancelled, "no second job came to be cancelled"
    assert 4 <= cancelled[0] < shards
    assert contents(here) == contents(there)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_doctor_sees_what_is_wrong_with_a_profile(tmp_path: Path) -> None:
    said = by_name(examine(PROFILES / "slurm", tmp_path / "results", nodes=True))
    assert said["node of cpu"][0].level == "good"
    assert "PyTorch finds no GPU" in said["node of gpu"][0].found, "its GPUs are pretended"
    assert {check.level for check in said["partition"]} == {"good"}
    assert said["accounting"][0].found == "squeue is used, it remembers for 1800 s"
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


def test_every_stage_by_sbatch_makes_the_bytes_of_a_run_without_it(
    finished: Project, begun: tuple[Project, subprocess.Popen[bytes]]
) -> None:
    """Also: memory grows after a kill for memory, and one bad slide does not stop the others."""
    cohort, run = begun
    code = run.wait(LIMIT_SECONDS)
    said = (cohort.folder / "said.txt").read_text()
    assert code == 1, said
    assert "2 slides done, 1 quarantined" in said
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


def by_name(checks: list[Check]) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.what, []).append(check)
    return found
