"""The documents: links resolve, tables are complete, and every command in them is run or held."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zarr

from tests.documents import PAGES, REPOSITORY, Ways, commands, way_of
from wsipsm.io.parquet import read_cells, write_cells
from wsipsm.io.product import read_record
from wsipsm.layout import lay_out


def named(text: str) -> set[str]:
    """Names in the first column of tables."""
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def project(products: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where what the documents name lies under the names that they use."""
    folder = tmp_path_factory.mktemp("documents")
    lay_out(folder, [products.slide])
    (folder / "CMU-1-Small-Region.svs").symlink_to(products.slide)
    results = folder / "results"
    for slide in ("phantom_1", "phantom_ihc_1"):
        (results / "slides" / slide / "unet").mkdir(parents=True)
        for name in ("tiles", "activation", "pseudomasks"):
            (results / f"slides/{slide}/{name}.zarr").symlink_to(getattr(products, name))
        cells = results / "slides" / slide / "unet/cells.parquet"
        table, record = read_cells(products.cells), read_record(products.cells)
        classes = ["negative", "positive"]
        kinds = [classes[i % 2] for i in range(table.num_rows)]
        table = table.set_column(table.column_names.index("class"), "class", [kinds])
        write_cells(cells, table, record | {"classes": classes})
    (results / "models").mkdir()
    for name in ("encoder", "unet"):
        (results / f"models/{name}.pt").symlink_to(getattr(products, name))
    (results / "quarantine.tsv").write_text("slide\tstage\treason\n")
    for name, place in {"tiles.zarr": products.tiles, "unet.pt": products.unet}.items():
        (folder / name).symlink_to(place)
    (folder / "docs").mkdir()
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs_or_is_run_elsewhere(
    page: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    ways = Ways(project, tmp_path)
    for line in commands(page):
        how, _, detail = way_of(line, page).partition(" ")
        monkeypatch.chdir(ways.folder_of(how))
        getattr(ways, how)(line, detail)


def test_a_new_command_must_be_given_a_way() -> None:
    for line in ("wsipsm tile a.svs b.zarr --halo 4", "python -m tests.benchmarks", "make all"):
        with pytest.raises(AssertionError, match=r"say in tests/documents\.py"):
            way_of(line, REPOSITORY / "README.md")


def test_the_transcript_is_that_of_its_command() -> None:
    from tests.benchmarks.first_run import TYPED

    text = (REPOSITORY / "docs/first-run.md").read_text()
    lines = re.findall(r"^\$ (.*)$", text, re.M)
    forms = [re.escape(line).replace(r"\{wheel\}", r"\S+").replace(r"\{slide\}", r"\S+")
             for line in TYPED]  # fmt: skip
    assert len(lines) == len(forms)
    assert all(re.fullmatch(form, line) for form, line in zip(forms, lines, strict=True))


def test_example_of_ki67(project: Path, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = ""
    for line in commands(REPOSITORY / "docs/ihc.md"):
        if "--workflow-profile" in line and "--dry-run" not in line:
            cells = Path("results/slides/phantom_ihc_1/unet/cells.parquet")
            (tmp_path / cells).parent.mkdir(parents=True)
            (tmp_path / cells).symlink_to(project / cells)
            line = f"wsipsm export {cells} {cells.with_suffix('.tsv')}"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if "--dry-run" in line:
            assert "--classes=negative --classes=positive" in done.stdout + done.stderr
            assert (tmp_path / "config/slides.tsv").read_text().count("\tihc\t") == 2
        said = done.stdout
    assert float(said) == pytest.approx(0.5, abs=0.01), "every second cell was made positive"


def test_measured_settings_are_those_of_their_command() -> None:
    from tests.benchmarks.settings import CHANGES

    measured = (REPOSITORY / "docs/settings.md").read_text().partition("## Measured")[2]
    assert named(measured)
    assert named(measured) <= set(CHANGES)


def test_outputs_name_every_column(products: Any) -> None:
    columns = (REPOSITORY / "docs/outputs.md").read_text().partition("## Columns")[2]
    schema = pq.read_schema(products.cells)
    assert named(columns) == set(schema.names)
    parts = [path for path in products.tile_cells.iterdir() if path.suffix == ".parquet"]
    assert set(schema.names) - set(pq.read_schema(parts[0]).names) == {"id"}


def test_outputs_name_every_array(products: Any) -> None:
    arrays = (REPOSITORY / "docs/outputs.md").read_text().partition("## Arrays")[2]
    arrays = arrays.partition("## ")[0]
    for product in ("tiles", "activation", "pseudomasks"):
        rows = [line for line in arrays.splitlines() if f"| {product}.zarr |" in line]
        group = zarr.open_group(str(getattr(products, product)), mode="r")
        found = {name for name, item in group.members(max_depth=None) if hasattr(item, "shape")}
        found = {re.sub(r"^(labels/\w+)/\d+$", r"\1", name) for name in found}
        found = {name for name in found if not name.isdigit() or name == "0"}
        assert found == named("\n".join(rows)) - {"1"}, product
