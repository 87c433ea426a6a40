"""Training by several processes, as on several GPUs: the bytes of one, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from wsipsm import compute
from wsipsm.config import Pretraining, Training
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.training.train import train

LONG = Pretraining(steps=52, batch=4, tile_px=64)


def started(tiles: Path, target: Path) -> subprocess.Popen[str]:
    """Start a pre-training by two processes."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in LONG.model_dump().items()]
    return subprocess.Popen(
        [sys.executable, "-m", "wsipsm.cli", "pretrain", tiles, target, *words, "--workers=2"],
        env={**os.environ, compute.RANKS: "2"},
        stderr=subprocess.PIPE,
        text=True,
    )


def until_kept(run: subprocess.Popen[str], snapshot: Path) -> list[psutil.Process]:
    """Wait for a newer snapshot; returns the processes that the run has started."""
    before = snapshot.stat().st_mtime_ns if snapshot.exists() else 0
    while not snapshot.exists() or snapshot.stat().st_mtime_ns == before:
        assert run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.02)
    return psutil.Process(run.pid).children(recursive=True)


@pytest.mark.slow
def test_what_killed_processes_leave_one_continues_to_the_same_bytes(
    products, tmp_path: Path
) -> None:
    target = tmp_path / "encoder.pt"
    snapshot = tmp_path / "encoder.pt.partial/snapshot"
    with started(products.tiles, target) as run:
        (other,) = (one for one in until_kept(run, snapshot) if "spawn_main" in str(one.cmdline()))
        other.kill()
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 1
    assert "training: its process on GPU 1 ended" in said

    with started(products.tiles, target) as run:
        others = until_kept(run, snapshot)
        os.kill(run.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(others, timeout=30)
    assert not alive
    pretrain([products.tiles], target, settings=LONG, seed=0, workers=2)
    alone = tmp_path / "alone.pt"
    pretrain([products.tiles], alone, settings=LONG, seed=0, workers=2)
    assert target.read_bytes() == alone.read_bytes()


@pytest.mark.slow
def test_two_processes_train_the_u_net_to_the_bytes_of_one(
    products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Training(rounds=1, steps=6, batch=4, tile_px=64, regions=6)
    made = []
    for count in (1, 2):
        monkeypatch.setenv(compute.RANKS, str(count))
        target = tmp_path / f"{count}.pt"
        pair = (products.tiles, products.pseudomasks)
        train([pair], target, model="unet", settings=settings, seed=5, workers=2)
        made.append(target.read_bytes())
    assert made[0] == made[1]
