"""The documents: links resolve, commands exist, those that are quick run, tables are complete."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zarr

from wsipsm import cli
from wsipsm.sheet import read_slide_sheet

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "config/README.md"]
)
LONG = re.compile(r"snakemake --workflow-profile|wsipsm view|awk ")
"""What runs the whole pipeline or needs its results: the first line of continuous integration."""


def blocks(page: Path) -> list[str]:
    """Lines of shell in a page, those that are continued as one."""
    found = re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.M | re.S)
    return [line for block in found for line in block.replace("\\\n", " ").splitlines() if line]


def named(text: str) -> set[str]:
    """Names in the first column of tables."""
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    spans = re.findall(r"`(wsipsm [a-z][^`\n]*)`", page.read_text())
    lines = [part.strip() for line in [*spans, *blocks(page)] for part in re.split(r"&&|\|", line)]
    for line in filter(lambda line: line.startswith("wsipsm "), lines):
        _, name, *words = shlex.split(line.replace("[", " ").replace("]", " "))
        if name.startswith("-"):
            continue
        command = cli.main.commands.get(name)
        assert command, line
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        if command.context_settings.get("ignore_unknown_options"):
            continue
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= known, line


def test_example_of_ki67_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment, said = {**os.environ, "PATH": path}, ""
    for line in blocks(REPOSITORY / "docs/ihc.md"):
        if LONG.search(line):
            continue
        words = ["bash", "-c", line]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{line}\n{said}"
    assert "--classes=negative --classes=positive" in said
    monkeypatch.chdir(tmp_path)
    assert {row.stain for row in read_slide_sheet(Path("config/slides.tsv"))} == {"ihc"}


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
