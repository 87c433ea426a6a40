"""How a product comes to be: complete or not at all, continued, locked, set aside."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wsipsm.errors import DataError, WsipsmError
from wsipsm.io.product import (
    Provenance,
    identity,
    making,
    quarantine,
    write_record,
)
from wsipsm.io.runs import SUFFIX, Claim, owner_of, run_record

MADE = Provenance("stage", {"size": 1}, {"input": "abc"})
FULL = Path("/dev/full")
OTHER = Provenance("stage", {"size": 2}, {"input": "abc"})


class Interrupted(BaseException):
    """Stands for Ctrl-C: no exception that the code may catch."""


def make_file(target: Path, text: str, provenance: Provenance = MADE) -> None:
    """Make a product of one file."""
    with making(target, provenance) as partial:
        partial.path.write_text(text)


def names_in(folder: Path) -> list[str]:
    """Names in a folder, sorted, without the records of runs."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(SUFFIX))


def test_product_exists_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    with making(target, MADE) as partial:
        partial.path.write_text("half")
        assert not target.exists()
        partial.path.write_text("whole")
    assert target.read_text() == "whole"
    assert names_in(tmp_path) == ["scores.json"]


def test_earlier_product_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    make_file(target, "old")
    with making(target, OTHER) as partial:
        partial.path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_folder_replaces_file_and_file_replaces_folder(tmp_path: Path) -> None:
    target = tmp_path / "product"
    make_file(target, "file")
    with making(target, MADE) as partial:
        partial.path.mkdir()
        write_record(partial.path, MADE)
    assert identity(target) == MADE.as_dict()["id"]
    make_file(target, "file")
    assert target.read_text() == "file"


@pytest.mark.parametrize("error", [ValueError, Interrupted, KeyboardInterrupt])
def test_work_is_kept_over_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "tiles.zarr"
    with pytest.raises(error), making(target, MADE) as partial:  # noqa: PT012
        partial.path.mkdir()
        (partial.path / "0").write_text("zero")
        partial.finish(0, 1)
        raise error
    assert not target.exists()
    with making(target, MADE) as partial:
        assert partial.done(0, 1)
        assert not partial.done(0, 2)
        assert (partial.path / "0").read_text() == "zero"
    assert (target / "0").read_text() == "zero"


def test_a_kill_after_the_last_step_leaves_no_marks_of_work_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tiles.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(Claim, "record", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit), making(target, MADE) as partial:  # noqa: PT012
            partial.path.mkdir()
            partial.finish(0)
    assert target.exists()
    target.rmdir()
    with making(target, MADE) as partial:
        assert not partial.done(0)
        partial.path.mkdir()


def test_other_work_starts_anew(tmp_path: Path) -> None:
    target = tmp_path / "tiles.zarr"
    with pytest.raises(ValueError, match="stop"), making(target, MADE) as partial:  # noqa: PT012
        partial.path.mkdir()
        partial.finish(0)
        raise ValueError("stop")
    with making(target, OTHER) as partial:
        assert not partial.path.exists()
        assert not partial.done(0)
        partial.path.mkdir()


def test_other_work_finds_no_snapshot(tmp_path: Path) -> None:
    target = tmp_path / "encoder.pt"
    with pytest.raises(ValueError, match="stop"), making(target, MADE) as partial:  # noqa: PT012
        partial.path.with_name("snapshot").write_text("of other settings")
        raise ValueError("stop")
    with making(target, OTHER) as partial:
        assert not partial.path.with_name("snapshot").exists()
        partial.path.write_text("new")


def test_a_record_beside_the_product_says_who_made_it_and_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    target = tmp_path / "scores.json"
    with making(target, MADE) as partial:
        owner = owner_of(target)
        assert owner is not None
        assert (owner["pid"], owner["job"]) == (os.getpid(), "77")
        partial.path.write_text("x")
    assert owner_of(target) is None
    assert target.read_text() == "x", "the product itself does not depend on who made it"
    record = json.loads(run_record(target).read_text())
    assert record["id"] == MADE.as_dict()["id"]
    assert (record["job"], record["host"]) == ("77", socket.gethostname())
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 10
    quarantine(target, stage="tile", reason="bad")
    assert not run_record(target).exists(), "it is not this product's any more"


def test_who_lost_the_product_to_another_process_replaces_nothing(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    make_file(target, "theirs")
    with (  # noqa: PT012
        pytest.raises(WsipsmError, match="another process took it over"),
        making(target, MADE) as partial,
    ):
        partial.path.write_text("mine")
        (tmp_path / "scores.json.partial/owner.json").write_text("{}")  # where locks do not reach
    assert target.read_text() == "theirs"


def test_a_file_system_without_locks_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    make_file(tmp_path / "scores.json", "whole")
    assert (tmp_path / "scores.json").read_text() == "whole"


def test_work_survives_a_kill(tmp_path: Path) -> None:
    target = tmp_path / "tiles.zarr"
    script = f"""
import os, signal
from pathlib import Path
from wsipsm.io.product import Provenance, making
made = Provenance("stage", {{"size": 1}}, {{"input": "abc"}})
with making(Path({str(target)!r}), made) as partial:
    partial.path.mkdir()
    partial.finish("a")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    with making(target, MADE) as partial:
        assert partial.done("a")
    assert target.is_dir()


def test_what_a_killed_store_had_half_written_is_not_in_the_product(tmp_path: Path) -> None:
    target = tmp_path / "maps.zarr"

    def write_and_die() -> None:
        with making(target, MADE) as partial:
            (partial.path / "0").mkdir(parents=True)
            (partial.path / "0/zarr.0123abcd.partial").write_text("{")  # as Zarr names it
            (partial.path / "0/zarr.json").write_text("{}")
            raise Interrupted

    with pytest.raises(Interrupted):
        write_and_die()
    with making(target, MADE) as partial:
        assert names_in(partial.path / "0") == ["zarr.json"]
    assert names_in(target / "0") == ["zarr.json"]


def test_second_process_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "tiles.zarr"
    script = f"""
from pathlib import Path
from wsipsm.io.product import Provenance, making
with making(Path({str(target)!r}), Provenance("other", {{}}, {{}})):
    pass
"""
    with making(target, MADE) as partial:
        partial.path.mkdir()
        partial.finish("a")
        second = subprocess.run(
            [sys.executable, "-c", script], check=False, capture_output=True, text=True
        )
        assert second.returncode == 1
        assert "another process is making it; wait for that one" in second.stderr
        assert partial.done("a")
    assert target.is_dir()


@pytest.mark.skipif(not FULL.is_char_device(), reason="no device /dev/full here")
def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    with (
        pytest.raises(WsipsmError, match="the disk is full; free some space") as error,
        making(target, MADE),
        FULL.open("w") as file,
    ):
        file.write("something")
    assert not isinstance(error.value, DataError), "a full disk says nothing about the slide"
    assert "\n" not in str(error.value)
    assert not target.exists()


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, making(tmp_path / "a.json", MADE):
        (tmp_path / "missing").read_text()
    assert error.value.errno == errno.ENOENT
    assert error.value.__cause__ is None
