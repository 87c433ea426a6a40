"""Cells as an SQLite annotation store of tiatoolbox, which its viewer shows over the slide."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wsipsm.config import Export
from wsipsm.export.names import MODEL_SAYS, class_colours, measured
from wsipsm.export.rows import Cells
from wsipsm.io.product import Provenance
from wsipsm.types import MEASUREMENTS

_LEVEL = 1  # of zlib, for each outline


def write_store(cells: Cells, path: Path, provenance: Provenance, settings: Export) -> None:
    """Write one annotation a cell, in level-0 pixels, with the cell's id as its key.

    Property `type` is the class, `color` its red, green and blue from 0 to 1, as the viewer
    wants them; the others are the columns of the cell table, by their names there.
    """
    from tiatoolbox.annotation import Annotation

    colours = class_colours(cells.record["classes"], settings.colours)
    shares = {name: [round(value / 255, 3) for value in rgb] for name, rgb in colours.items()}
    path.unlink(missing_ok=True)  # of a try that was killed
    store = open_store(path, compression_level=_LEVEL)
    for table in cells.tables():
        outlines = shapely.from_wkb(table["geometry"].to_numpy())
        usable = np.flatnonzero(shapely.area(outlines) > 0)
        table = table.take(usable)
        annotations = [
            Annotation(outline, {"type": label, "color": shares[label], **values})
            for outline, label, values in zip(
                outlines[usable],
                table["class"].to_pylist(),
                measured(table, {name: name for name in (*MEASUREMENTS, *MODEL_SAYS)}),
                strict=True,
            )
        ]
        store.append_many(annotations, table["id"].to_pylist())
    store.create_index("area", '"area"')
    store.metadata["wsipsm"] = {"provenance": provenance.as_dict(), "colours": colours}
    store.close()


def open_store(path: Path, *, compression_level: int = _LEVEL) -> Any:
    """Open or create an annotation store."""
    from tiatoolbox.annotation import SQLiteStore

    load_no_extensions()
    return SQLiteStore(path, compression_level=compression_level)


def load_no_extensions() -> None:
    """Let tiatoolbox open annotation stores where Python's SQLite loads no extensions.

    tiatoolbox asks SQLite for leave to load extensions, to list how it was built; it loads
    none, and Pythons that were built without that leave can do without.
    """
    from tiatoolbox.annotation import SQLiteStore

    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        SQLiteStore.compile_options = staticmethod(_compile_options)


def _compile_options() -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        return [option for (option,) in connection.execute("PRAGMA compile_options")]
