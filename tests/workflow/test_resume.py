"""A coordinator killed on one machine is resumed: its jobs are ended first, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsipsm.io.runs import owner_of

from .conftest import REPOSITORY, Project

pytestmark = pytest.mark.slow
TILES = "results/slides/phantom_1/tiles.zarr"


def resume(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "wsipsm.cli", "resume", "--snakefile"]
    return project.end([*start, str(REPOSITORY / "Snakefile"), "--cores", "2", *words])


def test_jobs_that_outlive_a_killed_run_are_ended_before_it_goes_on(
    drawn_slides: Path, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    (project.folder / "slides").symlink_to(drawn_slides)
    project.configure(tiling={"mpp": 0.25, "tile_px": 64, "shard_tiles": 2})
    project.list_slides("phantom_1 slides/phantom_1.tiff train ")
    product = project.folder / TILES
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        project.command(TILES), env=project.environment(), stdout=quiet, stderr=quiet
    ) as run:
        while (owner := owner_of(product)) is None:
            assert run.poll() is None, "the run ended before its job began"
            time.sleep(0.005)
        os.kill(owner["pid"], signal.SIGSTOP)  # a job that takes its time
        refused = resume(project, TILES)
        assert refused.returncode == 1
        assert f"its workflow is running (process {run.pid} on " in refused.stdout
        run.kill()
    assert owner_of(product) == owner, "the job outlives its coordinator"
    os.kill(owner["pid"], signal.SIGCONT)
    done = resume(project, TILES)
    assert done.returncode == 0, done.stdout
    assert product.is_dir()
    assert not product.with_name("tiles.zarr.partial").exists()
