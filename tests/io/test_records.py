"""What products say of themselves: identity, record, quarantine; and what inputs are known by."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from wsipsm.errors import DataError, QuarantinedError
from wsipsm.io.product import (
    Provenance,
    code_version,
    fingerprint,
    identity,
    making,
    quarantine,
    read_record,
    write_record,
)

from .test_product import MADE, OTHER, names_in

NAMES = [
    *("tiles.zarr", "cells.parquet", "scores.json", "cells.geojson.zip", "cells.tsv"),
    *("encoder.pt", "tile_cells", "folder.with.dots"),
]


def test_identity_depends_on_stage_settings_and_inputs() -> None:
    changed = [Provenance("b", {"size": 1}, {"input": "abc"}), OTHER, Provenance("stage", {}, {})]
    ids = {provenance.as_dict()["id"] for provenance in (MADE, *changed)}
    assert len(ids) == 4
    assert MADE.as_dict() == Provenance("stage", {"size": 1}, {"input": "abc"}).as_dict()
    assert MADE.as_dict()["code"] == code_version()


def test_record_of_a_zarr_keeps_other_attributes(tmp_path: Path) -> None:
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"}}}
    (tmp_path / "zarr.json").write_text(json.dumps(group))
    write_record(tmp_path, MADE, counts=[1, 2])
    assert read_record(tmp_path) == {"provenance": MADE.as_dict(), "counts": [1, 2]}
    written = json.loads((tmp_path / "zarr.json").read_text())
    assert written["attributes"]["ome"] == {"version": "0.5"}


def test_records_of_files(tmp_path: Path) -> None:
    record = {"provenance": MADE.as_dict()}
    (tmp_path / "a.json").write_text(json.dumps(record))
    torch.save({"record": json.dumps(record), "state": {}}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("part", "x")
        archive.comment = json.dumps(record).encode()
    for name in ("a.json", "a.pt", "a.zip"):
        assert read_record(tmp_path / name) == record
        assert identity(tmp_path / name) == MADE.as_dict()["id"]


@pytest.mark.parametrize("name", NAMES)
def test_missing_product_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no such product; run the stage that makes it"):
        read_record(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"junk \xff", b"[]", b"5", b"PK\x03\x04", b"PAR1"])
@pytest.mark.parametrize("name", NAMES[1:6])
def test_broken_product_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="not a product of wsipsm; make it again"):
        read_record(tmp_path / name)


@pytest.mark.parametrize("name", ["tiles.zarr", "tile_cells"])
def test_folder_of_another_program_is_one_sentence(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / ("zarr.json" if name == "tiles.zarr" else "product.json")).write_text("{}x")
    with pytest.raises(DataError, match="not a product of wsipsm; make it again"):
        read_record(folder)


# quarantine


@pytest.mark.parametrize("name", NAMES)
def test_quarantine_is_read_as_its_reason(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    quarantine(target, stage="tile", reason="größer.svs: no mpp")
    assert names_in(tmp_path) == [name]
    with pytest.raises(QuarantinedError) as error:
        read_record(target)
    assert str(error.value) == "größer.svs: no mpp"


@pytest.mark.parametrize("name", NAMES)
def test_quarantine_ends_partial_work_and_is_replaced_by_a_product(
    tmp_path: Path, name: str
) -> None:
    target = tmp_path / name
    with pytest.raises(ValueError, match="stop"), making(target, MADE) as partial:  # noqa: PT012
        partial.path.mkdir()
        raise ValueError("stop")
    quarantine(target, stage="tile", reason="bad")
    quarantine(target, stage="tile", reason="still bad")
    assert names_in(tmp_path) == [name]
    with making(target, MADE) as partial:
        assert not partial.path.exists()
        partial.path.mkdir()
        write_record(partial.path, MADE)
    assert identity(target) == MADE.as_dict()["id"]


# fingerprints


def test_fingerprint_sees_both_ends_and_the_size(tmp_path: Path) -> None:
    path = tmp_path / "slide"
    contents = [b"a" * 3_000_000, b"b" + b"a" * 2_999_999, b"a" * 2_999_999 + b"b", b"a", b""]
    seen = set()
    for content in contents:
        path.write_bytes(content)
        seen.add(fingerprint(path))
    assert len(seen) == len(contents)


def test_fingerprint_of_a_folder_sees_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_text("one")
    before = fingerprint(tmp_path)
    assert before == fingerprint(tmp_path)
    (tmp_path / "a" / "2").write_text("two")
    assert before != fingerprint(tmp_path)
