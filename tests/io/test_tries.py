"""A command that dies three times on a product sets it aside; one that ends by itself does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsipsm.errors import DataError, SettingsError
from wsipsm.io.tries import SUFFIX, TRIES, counted

DIE = """
import os, signal, sys
from pathlib import Path
from wsipsm.io.tries import counted
with counted(Path(sys.argv[1]), command={"stage": "tile"}):
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    signal.pause()
"""
COMMAND = {"stage": "tile"}


def die(product: Path, how: str) -> int:
    """Run a command that ends by a signal, and return its exit code."""
    words = [sys.executable, "-c", DIE, str(product), how]
    return subprocess.run(words, check=False, capture_output=True).returncode


def test_the_try_after_three_that_were_killed_sets_the_slide_aside(tmp_path: Path) -> None:
    product = tmp_path / "tiles.zarr"
    for _ in range(TRIES):
        assert die(product, "SIGKILL") == -signal.SIGKILL
    with (
        pytest.raises(DataError, match="3 tries died without a word, the last on "),
        counted(product, command=COMMAND),
    ):
        pytest.fail("it tried once more")
    assert list(tmp_path.iterdir()) == [], "and then it counts anew"


def test_who_is_told_to_stop_has_not_died(tmp_path: Path) -> None:
    product = tmp_path / "tiles.zarr"
    assert die(product, "SIGTERM") == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_ours_is_no_death_and_any_other_is(tmp_path: Path) -> None:
    product = tmp_path / "tiles.zarr"
    notes = tmp_path / f"tiles.zarr{SUFFIX}"
    with pytest.raises(SettingsError), counted(product, command=COMMAND):
        raise SettingsError("the disk is full")
    assert not notes.exists()
    for _ in range(TRIES):
        with pytest.raises(ZeroDivisionError), counted(product, command=COMMAND):
            raise ZeroDivisionError
    assert notes.exists()
    with counted(product, command={"stage": "tile", "mpp": 0.5}):
        pass
    assert not notes.exists(), "other settings start anew, and success forgets"


def test_the_signal_is_as_before(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with counted(tmp_path / "a", command=COMMAND):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert os.listdir(tmp_path) == []  # noqa: PTH208
