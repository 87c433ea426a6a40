"""How far a cohort is: states by what is on disk, quarantine, the table and JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsipsm.cli import main
from wsipsm.io.product import Provenance, making, quarantine
from wsipsm.site.settings import Run
from wsipsm.site.status import status_of, table_of

MADE = Provenance("stage", {}, {})
PRODUCTS = ["tiles.zarr", "activation.zarr", "pseudomasks.zarr", "unet/tile_cells"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two slides of which nothing is made yet."""
    return Run(tmp_path, tmp_path / "results", ("a", "b"), ("unet",), ("qupath", "table"))


def make(product: Path) -> None:
    """Make a plain folder in the place of a product."""
    with making(product, MADE) as partial:
        partial.path.mkdir()


def states(run: Run, slide: str) -> list[str]:
    return [step.state for step in status_of(run).slides[slide]]


def log(run: Run, name: str, said: str = "it went wrong\n") -> Path:
    """Write the log of a job."""
    path = run.results / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said)
    return path


def test_before_the_run_everything_waits(run: Run) -> None:
    assert states(run, "a") == ["waiting"] * 7
    assert table_of(status_of(run))[-1] == "2 slides: 2 waiting"


def test_done_running_failed_and_waiting_are_told_apart(run: Run) -> None:
    folder = run.results / "slides/a"
    make(folder / PRODUCTS[0])
    failed = log(run, "pseudomasks/a.log")
    with making(folder / PRODUCTS[1], MADE) as partial:
        partial.path.mkdir()
        found = status_of(run).slides["a"]
        assert [step.state for step in found] == ["done", "running", "failed", *["waiting"] * 4]
        assert f"process {os.getpid()}" in found[1].detail
        assert found[2].detail == str(failed)
    assert states(run, "a")[1] == "done"
    lines = table_of(status_of(run))
    assert f"failed: a: pseudomask: {failed}" in lines
    assert lines[-1] == "2 slides: 1 waiting, 1 failed"


def test_a_job_that_runs_says_how_far_it_is(run: Run) -> None:
    folder = run.results / "slides/a"
    with making(folder / PRODUCTS[0], MADE) as partial:
        partial.path.mkdir()
        log(run, "tiling/a.log", "tile: 40 %, 2/5\ntile: 80 %, 4/5 shards, 00:07 left\n")
        (line,) = [line for line in table_of(status_of(run)) if line.startswith("running: a: tile")]
    assert line.endswith(f"process {os.getpid()}: tile: 80 %, 4/5 shards, 00:07 left")


def test_a_product_taken_away_to_be_made_again_has_not_failed(run: Run) -> None:
    product, written = run.results / "slides/a/tiles.zarr", log(run, "tiling/a.log")
    make(product)
    (product).rmdir()
    os.utime(written, (1, 1))
    assert states(run, "a")[0] == "waiting"
    os.utime(written)
    assert states(run, "a")[0] == "failed", "its last job wrote after the product was made"


def test_a_slide_set_aside_says_why_from_the_stage_on_that_could_not_use_it(run: Run) -> None:
    folder = run.results / "slides/b"
    make(folder / "tiles.zarr")
    (folder / "tiles.zarr/product.json").write_text("{}")
    for name in PRODUCTS[1:]:
        quarantine(folder / name, stage="activate", reason="no tissue tile")
    found = status_of(run)
    assert found.of("b") == "quarantined"
    assert [step.state for step in found.slides["b"]] == ["done", *["quarantined"] * 6]
    assert "quarantined: b: activate: no tissue tile" in table_of(found)


def test_the_command_writes_json_with_what_each_product_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("results: out\n")
    (tmp_path / "config/slides.tsv").write_text("slide\tpath\na\tconfig/slides.tsv\n")
    make(tmp_path / "out/slides/a/tiles.zarr")
    done = CliRunner().invoke(main, ["status", "--json", "--quarantined", "out/quarantine.tsv"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["counts"] == {"waiting": 1}
    first = told["slides"]["a"]["steps"][0]
    assert first["state"] == "done"
    assert first["run"]["host"]
    assert first["run"]["id"] == MADE.as_dict()["id"]
    assert (tmp_path / "out/quarantine.tsv").read_text() == "slide\tstage\treason\n"


def test_without_a_configuration_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["status"])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "config/config.yaml: no such file" in done.stderr
