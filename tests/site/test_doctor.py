"""The checks of a place before a run, on this machine; those of a cluster are in `workflow`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsipsm.cli import main
from wsipsm.site.doctor import Check, examine
from wsipsm.site.node import seen_here

PROFILES = Path(__file__).parents[2] / "workflow/profiles"


def checked(results: Path, *, profile: str = "local") -> dict[str, Check]:
    return {check.what: check for check in examine(PROFILES / profile, results)}


def test_a_fit_machine_has_versions_space_locks_and_a_clock(tmp_path: Path) -> None:
    found = checked(tmp_path / "results/of/a/run")
    assert {"versions", "space", "locks", "clock"} <= set(found)
    assert "torch" in found["versions"].found
    assert {found[name].level for name in ("versions", "locks", "clock")} == {"good"}
    assert not (tmp_path / "results").exists(), "a look changes nothing"


def test_a_place_that_takes_no_file_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(Path("/proc/results"))
    assert found["space"].level == "doubtful", "none is free there"
    assert found["disk"].level == "wrong"
    assert "choose another `results`" in str(found["disk"])
    words = ["doctor", "--profile", str(PROFILES / "local"), "--results", "/proc/results"]
    assert CliRunner().invoke(main, words).exit_code == 1
    monkeypatch.setenv("PATH", "")
    found = checked(Path("/proc/results"), profile="slurm")
    assert found["PATH"].level == found["SLURM"].level == "wrong"


def test_a_node_says_what_it_sees(tmp_path: Path) -> None:
    seen = seen_here(tmp_path)
    assert seen["shared"]
    assert seen["cores"] == len(os.sched_getaffinity(0))
    assert not seen_here(tmp_path / "gone")["shared"]
