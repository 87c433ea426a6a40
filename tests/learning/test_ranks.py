"""Training by several processes, as on several GPUs: the bytes of one, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from wsipsm import compute
from wsipsm.pretraining.pretrain import pretrain
from wsipsm.training.train import train


@contextmanager
def training(products, target: Path) -> Iterator[subprocess.Popen[str]]:
    """Train the U-Net of `products` once more, by two processes."""
    settings = products.training.model_dump().items()
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings]
    words += [f"--tiles={products.tiles}", f"--pseudomasks={products.pseudomasks}"]
    with subprocess.Popen(
        [sys.executable, "-m", "wsipsm.cli", "train", target, *words, "--model=unet", "--seed=0"],
        env={**os.environ, compute.RANKS: "2"},
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        yield run


def second(run: subprocess.Popen[str], ready: Callable[[], bool]) -> psutil.Process:
    """Wait until a run is `ready` and has its second process, and return that."""
    while True:
        assert run.poll() is None, run.stderr and run.stderr.read()
        for process in psutil.Process(run.pid).children():
            if ready() and "spawn_main" in str(process.cmdline()):
                return process
        time.sleep(0.02)


@pytest.mark.slow
def test_what_killed_processes_leave_one_continues_to_the_same_bytes(
    products, tmp_path: Path
) -> None:
    target = tmp_path / "unet.pt"
    with training(products, target) as run:
        second(run, (tmp_path / "unet.pt.partial/snapshot_0_0").exists).kill()
        said = run.communicate(timeout=120)[1]
    assert run.returncode == 1
    assert "training: its process on GPU 1 ended" in said

    with training(products, target) as run:
        other = second(run, lambda: True)
        os.kill(run.pid, signal.SIGKILL)
        assert not psutil.wait_procs([other], timeout=60)[1], "it outlives the first"
    pair = (products.tiles, products.pseudomasks)
    train([pair], target, model="unet", settings=products.training, seed=0, workers=2)
    assert target.read_bytes() == products.unet.read_bytes()


@pytest.mark.slow
def test_two_processes_pretrain_to_the_bytes_of_one(
    products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compute.RANKS, "2")
    target = tmp_path / "encoder.pt"
    pretrain([products.tiles], target, settings=products.pretraining, seed=0, workers=2)
    assert target.read_bytes() == products.encoder.read_bytes()
