"""The viewer: it finds slide and cells, is laid out so that both are loaded, starts, and serves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from wsipsm import cli, view


@pytest.fixture
def cells(products: Any, tmp_path: Path) -> Path:
    """Cells in their place in a folder of results."""
    folder = tmp_path / "slides/phantom_1"
    (folder / "unet").mkdir(parents=True)
    (folder / "tiles.zarr").symlink_to(products.tiles)
    shutil.copy(products.cells, folder / "unet/cells.parquet")
    return folder / "unet/cells.parquet"


def free_port() -> int:
    """A port of this machine that is free, and the next one too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # tiatoolbox
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_slide_and_cells_are_where_the_viewer_looks(
    products: Any, cells: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shown"
    folder.mkdir()
    view.lay_out(view.find(cells), folder, colours=("#ff0000",))
    (slide,), (store,) = (folder / "slides").iterdir(), (folder / "overlays").glob("*.db")
    assert slide.resolve() == products.slide.resolve()
    assert slide.stem == store.stem
    loaded = [path for path in (folder / "overlays").iterdir() if slide.stem in str(path)]
    assert loaded == [store]
    shown = json.loads((folder / "overlays/config.json").read_text())
    assert list(shown["color_dict"].values()) == [[255, 0, 0]]


@pytest.mark.parametrize(("name", "said"), [("gone.svs", "does not exist"), ("a.scn", "QuPath")])
def test_what_cannot_be_shown_is_said(cells: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a.scn").touch()
    done = CliRunner().invoke(cli.main, ["view", str(cells), "--slide", str(tmp_path / name)])
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.slow
def test_viewer_starts_and_serves(cells: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "wsipsm.cli", "view", str(cells), "--no-browser"]
    with subprocess.Popen(
        [*command, f"--port={port}"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as viewer:
        try:
            page = answer(f"http://127.0.0.1:{port}/bokeh_app", viewer)
            assert b"Bokeh" in page
            answer(f"http://127.0.0.1:{port + 1}/tileserver/session_id", viewer)
        finally:
            os.killpg(viewer.pid, signal.SIGKILL)


def answer(address: str, viewer: subprocess.Popen[bytes]) -> bytes:
    """What an address answers, as soon as it does."""
    for _ in range(600):
        assert viewer.poll() is None, "the viewer ended"
        try:
            with urllib.request.urlopen(address, timeout=300) as response:
                return bytes(response.read())
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{address} does not answer")
