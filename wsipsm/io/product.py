"""How a product comes to be: written privately, kept over a kill, renamed at the end.

A product is a file or a folder that one stage writes. It exists complete or not at all: the
stage works in a sibling, `NAME.partial`, that is keyed by the product's provenance, so that the
next try of the same work continues and any other work starts anew. Host, time and memory stand
beside it (`io.runs`). A slide that cannot be used gets a *quarantined* product at each stage, which
holds nothing but the reason.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wsipsm
from wsipsm.errors import DataError, QuarantinedError, WsipsmError
from wsipsm.io import runs

_BROKEN = (zipfile.BadZipFile, sqlite3.Error)

KEY = "key"
"""Name of the file of partial work that says which work it is."""

RECORD = "product.json"
"""Name of the record inside a plain folder; Zarr, Parquet and .pt have it in their metadata."""


@dataclass(frozen=True)
class Provenance:
    """What made a product: stage, code version, settings, and the identity of each input."""

    stage: str
    settings: dict[str, Any]
    inputs: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the product's own `id` (a hash of all the rest)."""
        record: dict[str, Any] = {
            "stage": self.stage,
            "code": code_version(),
            "settings": self.settings,
            "inputs": self.inputs,
        }
        text = json.dumps(record, sort_keys=True)
        return {"id": hashlib.sha256(text.encode()).hexdigest()[:32], **record}


@functools.cache
def code_version() -> str:
    """Version of the package and a hash of its source, such as `0.1.0+3fa9c1d2`."""
    digest = hashlib.sha256()
    root = Path(wsipsm.__file__).parent
    sources = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    for path in sorted(sources):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{wsipsm.__version__}+{digest.hexdigest()[:8]}"


def fingerprint(path: Path) -> str:
    """Identity of an input: SHA-256 of the size and of the first and last MiB of its files.

    The files of a folder are all that it holds; those of a MIRAX slide, `NAME.mrxs`, also what
    the folder `NAME` beside it holds.
    """
    mib = 1 << 20
    files = [path, *sorted(path.rglob("*"))]
    if path.suffix.lower() == ".mrxs":
        files += sorted(path.with_suffix("").rglob("*"))
    digest = hashlib.sha256()
    for file in (file for file in files if file.is_file()):
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as stream:
            digest.update(stream.read(mib))
            stream.seek(max(mib, size - mib))
            digest.update(stream.read(mib))
    return digest.hexdigest()[:32]


class Partial:
    """The private sibling of a product while it is being made: a folder, and what is done in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "content"
        self._done = folder / "done"
        self._done.mkdir(parents=True, exist_ok=True)

    def done(self, *key: object, intact: Callable[[], bool] = lambda: True) -> bool:
        """Whether the piece of work `key` was finished, now or before a kill, and is `intact`."""
        return (self._done / "_".join(map(str, key))).exists() and intact()

    def finish(self, *key: object) -> None:
        """Note that the piece of work `key` is finished and on disk."""
        (self._done / "_".join(map(str, key))).touch()


@contextmanager
def making(target: Path, provenance: Provenance) -> Iterator[Partial]:
    """Make the product `target`: write to `partial.path` inside, and it is renamed at the end.

    An earlier `target` is replaced at that moment. After an error or a kill the partial work
    stays for the next try.

    Raises
    ------
    WsipsmError
        The disk is full, or another process is making the same product.
    """
    folder = target.with_name(target.name + ".partial")
    made = provenance.as_dict()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with runs.owning(folder, target) as claim:
            _start_anew_unless(folder, made["id"])
            partial = Partial(folder)
            for half_written in partial.path.rglob("*.partial"):  # by Zarr, as it was killed
                half_written.unlink()
            yield partial
            runs.to_disk(partial.path)
            claim.check()
            _remove(target)
            (folder / KEY).unlink()  # what is noted as done is no longer here from now on
            partial.path.rename(target)
            claim.record(made)
            shutil.rmtree(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or target.parent
        raise WsipsmError(f"{where}: the disk is full; free some space and run again") from error


def _start_anew_unless(folder: Path, key: str) -> None:
    """Empty a folder of partial work, its snapshots too, that was not keyed by `key`."""
    key_file = folder / KEY
    if not key_file.exists() or key_file.read_text() != key:
        for path in folder.iterdir():
            if path.name not in (runs.LOCK, runs.OWNER):
                _remove(path)
        key_file.write_text(key)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_record(folder: Path, provenance: Provenance, **extra: Any) -> None:
    """Write the record of a folder product: its provenance, and what else it wants to say.

    A Zarr group keeps it as attribute `wsipsm`, beside the attributes that it has.
    """
    _write_record(folder, {"provenance": provenance.as_dict(), **extra})


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    file = folder / RECORD
    if folder.suffix == ".zarr" or (folder / "zarr.json").exists():
        file = folder / "zarr.json"
        empty: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        group = json.loads(file.read_text()) if file.exists() else empty
        group["attributes"]["wsipsm"] = record
        record = group
    file.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def read_record(product: Path) -> dict[str, Any]:
    """Record of a product, whatever its kind.

    Raises
    ------
    QuarantinedError
        The product stands for a slide that was set aside; the message is the first reason.
    DataError
        There is no such product, or it is not one of ours.
    """
    record = _read_any_record(product)
    if "quarantine" in record:
        raise QuarantinedError(str(record["quarantine"]))
    return record


def identity(product: Path) -> str:
    """Identity of a product as an input of the next: the `id` in its provenance."""
    return str(read_record(product)["provenance"]["id"])


def _read_any_record(product: Path) -> dict[str, Any]:
    try:
        if (product / "zarr.json").exists():
            group = json.loads((product / "zarr.json").read_text())
            text = json.dumps(group["attributes"]["wsipsm"])
        elif product.is_dir():
            text = (product / RECORD).read_text()
        elif product.suffix == ".parquet":
            import pyarrow.parquet as pq

            text = (pq.read_schema(product).metadata or {})[b"wsipsm"].decode()
        elif product.suffix == ".zip":
            with zipfile.ZipFile(product) as archive:
                text = archive.comment.decode()
        elif product.suffix == ".db":
            text = _read_metadata(product)
        elif product.suffix == ".pt":
            import torch

            text = torch.load(product, weights_only=True, map_location="cpu", mmap=True)["record"]
        else:
            text = product.read_text()
        record: dict[str, Any] = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("no record")
    except FileNotFoundError:
        raise DataError(f"{product}: no such product; run the stage that makes it") from None
    except (KeyError, ValueError, OSError, RuntimeError, *_BROKEN):
        raise DataError(f"{product}: not a product of wsipsm; make it again") from None
    return record


def _read_metadata(store: Path) -> str:
    """Our entry among the metadata of an annotation store (SQLite)."""
    address = f"{store.resolve(strict=True).as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        return str(dict(connection.execute("SELECT key, value FROM metadata"))["wsipsm"])


def quarantine(target: Path, *, stage: str, reason: str) -> None:
    """Write `target` as the product of a slide that was set aside, with the reason."""
    folder = target.with_name(target.name + ".partial")
    _remove(folder)
    folder.mkdir(parents=True)
    content = folder / f"content{target.suffix}"
    record = {"quarantine": reason, "stage": stage}
    if target.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        metadata = {"wsipsm": json.dumps(record)}
        pq.write_table(pa.table({}).replace_schema_metadata(metadata), content)
    elif target.suffix == ".zip":
        with zipfile.ZipFile(content, "w") as archive:
            archive.comment = json.dumps(record).encode()
    elif target.suffix == ".db":
        with closing(sqlite3.connect(content)) as connection, connection:
            connection.execute("CREATE TABLE metadata (key TEXT UNIQUE, value TEXT)")
            connection.execute("INSERT INTO metadata VALUES ('wsipsm', ?)", [json.dumps(record)])
    elif target.suffix in (".json", ".tsv"):
        content.write_text(json.dumps(record) + "\n")
    else:
        content.mkdir()
        _write_record(content, record)
    _remove(target)
    content.rename(target)
    _remove(folder)
    _remove(runs.run_record(target))
