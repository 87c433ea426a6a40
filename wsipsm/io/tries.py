"""How often a command died on a product without a word, so that the third time sets it aside."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsipsm.errors import DataError, WsipsmError
from wsipsm.io.product import code_version
from wsipsm.io.runs import this_process

TRIES = 3
SUFFIX = ".tries"
"""Ends the name of the notes beside a product that is not made yet, such as `tiles.zarr.tries`."""


@contextmanager
def counted(product: Path, *, command: dict[str, Any]) -> Iterator[None]:
    """Note that `command` tries to make `product`, and forget it unless it dies or fails oddly.

    A command dies that is killed for its memory or crashes in a library. One that ends with an
    error of ours, or is told to stop, has not died. Other commands, settings or code start anew.

    Raises
    ------
    DataError
        The same command has died `TRIES` times on this product.
    """
    key = json.dumps([command, code_version()], sort_keys=True, default=str)
    notes = product.with_name(product.name + SUFFIX)
    deaths = _deaths(notes, key)
    if len(deaths) >= TRIES:
        notes.unlink()
        last = deaths[-1]
        job = f" (job {last['job']})" if last["job"] else ""
        raise DataError(
            f"{product}: {len(deaths)} tries died without a word, the last on {last['host']}{job};"
            " give it more memory, then remove the slide's folder and run again"
        )
    notes.parent.mkdir(parents=True, exist_ok=True)
    _write(notes, key, [*deaths, this_process()])
    try:
        with _told_to_stop():
            yield
    except (WsipsmError, KeyboardInterrupt, SystemExit):
        _write(notes, key, deaths)
        raise
    notes.unlink()


def _deaths(notes: Path, key: str) -> list[dict[str, Any]]:
    if not notes.exists():
        return []
    try:
        noted = json.loads(notes.read_text())
        return list(noted["deaths"]) if noted["key"] == key else []
    except (ValueError, KeyError, TypeError):  # torn by a power cut
        return []


def _write(notes: Path, key: str, deaths: list[dict[str, Any]]) -> None:
    if deaths:
        notes.write_text(json.dumps({"key": key, "deaths": deaths}, indent=1) + "\n")
    else:
        notes.unlink(missing_ok=True)


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """Let SIGTERM (pre-emption, time, scancel) end the command in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
