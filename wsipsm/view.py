"""Cells over their slide in a browser: the viewer of tiatoolbox, laid out and started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from wsipsm.config import Export
from wsipsm.errors import DataError, SettingsError
from wsipsm.export.export import export
from wsipsm.export.names import class_colours
from wsipsm.export.store import load_no_extensions
from wsipsm.io.product import read_record
from wsipsm.io.tiles import open_tiles

FORMATS = (".svs", ".ndpi", ".tiff", ".tif", ".mrxs", ".png", ".jpg", ".qptiff", ".dcm")
"""What the viewer lists, by the end of the file's name."""

PATIENCE_MS = 60_000
"""How long the viewer waits for a browser, and stays after it has gone."""

_PATH = "bokeh_app"


@dataclass(frozen=True)
class Seen:
    """A slide file, its cells, and the name they are shown under."""

    name: str
    slide: Path
    cells: Path


def find(cells: Path, *, slide: Path | None = None) -> Seen:
    """What there is to see of a product of stage 7.

    Parameters
    ----------
    cells
        `cells.parquet`, in its place in the results.
    slide
        The slide file; without it, the one that the tiles were cut from.

    Raises
    ------
    SettingsError
        The slide file is not where it was, or the viewer cannot open its format.
    QuarantinedError
        The slide was set aside.
    """
    read_record(cells)
    tiles = cells.parent.parent / "tiles.zarr"
    if not tiles.exists():
        raise SettingsError(f"{cells}: no {tiles} to tell its slide; keep it in its results")
    opened = open_tiles(tiles)
    path = slide or Path(opened.source)
    if not path.exists():
        raise SettingsError(f"{path}: no such slide; name its file with --slide")
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"{path}: tiatoolbox shows {', '.join(FORMATS)}; use QuPath for others")
    return Seen(opened.slide, path, cells)


def lay_out(seen: Seen, folder: Path, *, colours: tuple[str, ...] = ()) -> None:
    """Put slide and cells where the viewer looks: `slides/`, `overlays/`, and what it is to load.

    The viewer loads every file of `overlays` whose path holds the slide's name: the name that
    it is given here occurs in no other path.
    """
    name = f"{seen.name}-cells"
    for part in ("slides", "overlays"):
        (folder / part).mkdir()
    (folder / f"slides/{name}{seen.slide.suffix.lower()}").symlink_to(seen.slide.resolve())
    beside = seen.slide.with_suffix("")
    if seen.slide.suffix.lower() == ".mrxs" and beside.is_dir():
        (folder / f"slides/{name}").symlink_to(beside.resolve())
    store = folder / f"{name}.db"
    export(seen.cells, store, settings=Export(colours=colours))
    store.rename(folder / "overlays" / store.name)  # and not what stands beside a product
    palette = class_colours(read_record(seen.cells)["classes"], colours)
    chosen = {label: list(rgb) for label, rgb in palette.items()}
    shown = {"auto_load": 1, "default_cprop": "type", "color_dict": chosen}
    (folder / "overlays/config.json").write_text(json.dumps(shown))


def view(seen: Seen, *, port: int, browser: bool, colours: tuple[str, ...] = ()) -> None:
    """Show a slide and its cells until the tab is closed or the command is interrupted.

    Parameters
    ----------
    seen
        As found by `find`.
    port
        Of the page; that of the pixels is the next one. Both answer this machine only.
    browser
        Whether to open the page in the browser of this machine.
    colours
        Of the classes, such as #009e73; the rest from the palette.

    Raises
    ------
    DataError
        The viewer ended by itself, such as where a port is taken.
    """
    from tiatoolbox.cli.visualize import run_tileserver

    shown = ["--show"] if browser else []
    with TemporaryDirectory(prefix="wsipsm_view_") as folder:
        lay_out(seen, Path(folder), colours=colours)
        os.environ["TIATOOLBOX_TILESERVER_PORT"] = str(port + 1)
        print(f"{seen.name}: http://localhost:{port}/{_PATH} (end with Ctrl-C)", file=sys.stderr)
        load_no_extensions()
        run_tileserver()
        done = subprocess.run([*_command(port), *shown, "--args", folder], check=False)
    if done.returncode:
        raise DataError(f"{seen.name}: the viewer ended; is port {port} taken? Try --port")


def _command(port: int) -> list[str]:
    """Start of the page, as tiatoolbox starts it, but for this machine only and a slow one too.

    A session to which no browser comes within a second would end the viewer.
    """
    page = resources.files("tiatoolbox.visualization.bokeh_app")
    return [
        *(sys.executable, "-m", "bokeh", "serve", str(page), f"--port={port}"),
        *("--address=localhost", f"--unused-session-lifetime={PATIENCE_MS}"),
        f"--check-unused-sessions={PATIENCE_MS}",
    ]
