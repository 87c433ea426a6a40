"""Workers: results in order, the first error, progress as lines of a log, kills, GPUs."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from wsipsm import compute
from wsipsm.clusters import dask_client
from wsipsm.errors import WsipsmError


def square(number: int) -> int:
    if number == 13:
        raise ValueError("thirteen")
    return number * number


def test_results_come_in_the_order_of_the_items() -> None:
    assert compute.run_each(square, [3, 1, 2], workers=2, label="square") == [9, 1, 4]
    assert compute.run_each(square, [], workers=2, label="square") == []


def test_the_first_error_is_raised() -> None:
    with pytest.raises(ValueError, match="thirteen"):
        compute.run_each(square, [12, 13, 14], workers=1, label="square")


def test_progress_in_a_log_is_lines_of_what_was_paid(capsys: pytest.CaptureFixture[str]) -> None:
    compute.run_each(square, [1, 2], workers=1, label="tile", cost=lambda _: 4.2, unit="MP")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("tile: 100 %, 8/8 MP, ")
    assert all("\r" not in line for line in lines)


def test_workers_fit_the_allotted_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_MEM_PER_CPU", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert compute.fitting_workers() == compute.allotted_cores() == 1
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    assert compute.allotted_memory_mb() == 1000
    assert compute.fitting_workers() == 1
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "10")
    assert compute.fitting_workers() == 1


def gpu_of_worker() -> str:
    time.sleep(0.2)  # so that the other has a turn
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_gpu_has_a_process_that_sees_no_other() -> None:
    with dask_client(4, gpus=["3", "5"]) as client:
        threads = client.nthreads()
        assert set(client.run(gpu_of_worker).values()) == {"3", "5"}
        assert sorted(threads.values()) == [2, 2]


class Store:
    """Squares numbers into files, as stages write shards; slow enough to be killed at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> int:
        time.sleep(0.02)
        (self.folder / str(number)).write_text(str(number**2))
        return number**2


@pytest.fixture
def forked() -> Iterator[None]:
    """Let workers start quickly, and give an item up after the second worker that it kills.

    A cluster that misses a worker for a while ends it for good, though its nanny may be about to
    start it again.
    """
    with dask.config.set(
        {
            "distributed.worker.multiprocessing-method": "forkserver",
            "distributed.scheduler.allowed-failures": 1,
            "distributed.deploy.lost-worker-timeout": "1 hour",
        }
    ):
        yield


def two_workers(client: Client, cluster: LocalCluster) -> None:
    """Wait for two workers; a nanny whose worker died while it was starting does not start it."""
    try:
        client.wait_for_workers(2, timeout=15)
    except TimeoutError:
        cluster.scale(len(cluster.workers) + 1)
        client.wait_for_workers(2, timeout=120)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_workers_killed_at_random_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty runs on a real cluster of processes, each of which loses a worker on its way."""
    chance, lost = random.Random(7), 0
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster.scheduler_address) as client,
    ):
        monkeypatch.setenv("WSIPSM_SCHEDULER", cluster.scheduler_address)
        for turn in range(20):
            folder = tmp_path / str(turn)
            folder.mkdir()
            two_workers(client, cluster)
            victims = sorted(client.run(os.getpid).values())
            victim = chance.choice(victims)
            timer = threading.Timer(chance.uniform(0, 0.2), os.kill, (victim, signal.SIGKILL))
            timer.start()
            found = compute.run_each(Store(folder), range(20), workers=2, label="store")
            timer.join()
            assert found == [number**2 for number in range(20)]
            written = {int(path.name): int(path.read_text()) for path in folder.iterdir()}
            assert written == {number: number**2 for number in range(20)}
            lost += not Path(f"/proc/{victim}").exists()
    assert lost == 20


def devour(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_an_item_that_kills_every_worker_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        monkeypatch.setenv("WSIPSM_SCHEDULER", cluster.scheduler_address)
        with pytest.raises(WsipsmError, match="several workers were lost on one shard"):
            compute.run_each(devour, [1], workers=1, label="devour")


def test_steps_are_counted_from_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    steps = compute.progress("train", total=9, unit="steps", over=range(7, 9))
    assert list(steps) == [7, 8]
    assert capsys.readouterr().err.splitlines()[-1].startswith("train: 100 %, 9/9 steps, ")


def test_quiet_shows_no_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compute.QUIET, "")  # so that it is as before after the test
    compute.be_quiet()
    assert compute.run_each(square, [3], workers=1, label="square") == [9]
    compute.say_busy("segment", [(3.0, 0.5)])
    assert capsys.readouterr().err == ""


def test_the_log_says_how_busy_the_workers_were(capsys: pytest.CaptureFixture[str]) -> None:
    compute.say_busy("segment", [(3.0, 0.5), (3.0, 1.5)])
    assert capsys.readouterr().err == "segment: computed 6.0 s, waited 2.0 s: busy 75 %\n"
    compute.say_busy("segment", [])
