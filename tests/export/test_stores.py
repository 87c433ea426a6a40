"""Cells in the stores of others, read back by their own libraries."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
import zarr

from wsipsm.config import Export
from wsipsm.errors import DataError, QuarantinedError, SettingsError
from wsipsm.export.export import export
from wsipsm.export.store import open_store
from wsipsm.io.parquet import polygons_of, read_cells
from wsipsm.io.product import quarantine, read_record
from wsipsm.io.raster import fill_polygons
from wsipsm.types import MEASUREMENTS, Region

from .shapes import nuclei

Save = Callable[..., Path]

COLOURS = ("#ff0000", "#0000ff")


@pytest.fixture
def slide(tmp_path: Path, save_cells: Save, save_tiles: Save) -> tuple[Path, Path]:
    """Cells and tiles of one slide: 200 x 300 working pixels, ten level-0 pixels each."""
    outlines = shapely.transform(nuclei(60), lambda points: points * 3 + 100)
    path = tmp_path / "a" / "unet" / "cells.parquet"
    tiles = save_tiles("a", "/slides/a.svs")
    return save_cells(outlines, path=path, classes=("negative", "positive")), tiles


# tiatoolbox


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tiatoolbox_reads_the_annotation_store(tmp_path: Path, slide: tuple[Path, Path]) -> None:
    target = tmp_path / "cells.db"
    export(slide[0], target, settings=Export(colours=COLOURS))
    rows = read_cells(slide[0])
    store = open_store(target)
    assert sorted(store.keys()) == sorted(rows["id"].to_pylist())
    for index in (0, 3, 59):
        found = store[rows["id"][index].as_py()]
        assert found.geometry.equals(polygons_of(rows)[index])
        assert found.properties["type"] == rows["class"][index].as_py()
        assert found.properties["color"] == [[1, 0, 0], [0, 0, 1]][index % 2]
        finite = np.isfinite(rows["solidity"][index].as_py())
        assert ("solidity" in found.properties) == finite
        assert found.properties["area_um2"] == pytest.approx(rows["area_um2"][index].as_py(), 1e-4)
    box = (400, 400, 900, 900)
    meeting = shapely.intersects(polygons_of(rows), shapely.box(*box))
    assert set(store.query(box)) == set(rows.filter(meeting)["id"].to_pylist())
    positive = store.query(where="props['type'] == 'positive'")
    assert len(positive) == 30
    store.close()
    assert read_record(target)["provenance"]["stage"] == "export"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_same_cells_are_the_same_store(tmp_path: Path, slide: tuple[Path, Path]) -> None:
    for name in ("one", "two"):
        export(slide[0], tmp_path / name / "cells.db", settings=Export())
    assert (tmp_path / "one/cells.db").read_bytes() == (tmp_path / "two/cells.db").read_bytes()


def test_slide_set_aside_is_known_by_its_store(tmp_path: Path) -> None:
    quarantine(tmp_path / "cells.db", stage="tile", reason="a.svs: does not open")
    with pytest.raises(QuarantinedError, match="does not open"):
        read_record(tmp_path / "cells.db")
    with pytest.raises(DataError, match="no such product"):
        read_record(tmp_path / "other.db")
    (tmp_path / "bad.db").write_bytes(b"not SQLite at all" * 99)
    sqlite3.connect(tmp_path / "empty.db").close()
    for name in ("bad.db", "empty.db"):
        with pytest.raises(DataError, match="not a product of wsipsm"):
            read_record(tmp_path / name)


# OME-NGFF


def test_ome_zarr_reads_the_labels_with_their_image(
    tmp_path: Path, slide: tuple[Path, Path]
) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Label, Multiscales, Reader

    target = tmp_path / "cells.labels.zarr"
    export(slide[0], target, settings=Export(), tiles=slide[1])
    image, labels = (node for node in Reader(parse_url(str(target)))() if node.data)
    assert image.zarr.path.endswith("tiles.zarr")
    assert {type(spec) for spec in labels.specs} == {Label, Multiscales}
    assert [level.shape for level in labels.data] == [(200, 300), (50, 75)]
    found = labels.data[0].compute()
    rows = read_cells(slide[0])
    whole = fill_polygons(polygons_of(rows), np.arange(1, 61), Region(0, 0, 200, 300), scale=10)
    assert found.dtype == np.uint32
    assert (found == whole).all()
    assert len(np.unique(found)) == 61
    x, y = (rows[name].to_numpy().astype(int) // 10 for name in ("centroid_x", "centroid_y"))
    assert found[y, x].tolist() == list(range(1, 61))
    scale, shift = labels.metadata["coordinateTransformations"][1]
    assert scale["scale"] == [20.0, 20.0]
    assert shift["translation"] == [7.5, 7.5]


def test_shards_without_cells_are_not_written(tmp_path: Path, slide: tuple[Path, Path]) -> None:
    target = tmp_path / "cells.labels.zarr"
    export(slide[0], target, settings=Export(), tiles=slide[1])
    level = zarr.open_group(str(target), mode="r")["0"]
    written = {path.relative_to(target / "0/c").as_posix() for path in target.glob("0/c/*/*")}
    used = {
        f"{row}/{col}"
        for row in range(4)
        for col in range(5)
        if level[row * 64 : row * 64 + 64, col * 64 : col * 64 + 64].any()
    }
    assert used <= written
    assert 0 < len(written) < 20
    assert read_record(target)["cells"] == 60


# scverse

SCVERSE = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")


@SCVERSE
def test_spatialdata_reads_cells_table_and_image(tmp_path: Path, slide: tuple[Path, Path]) -> None:
    spatialdata = pytest.importorskip("spatialdata")
    target = tmp_path / "a" / "unet" / "cells.spatialdata.zarr"
    export(slide[0], target, settings=Export(colours=COLOURS), tiles=slide[1])
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "a", moved)
    found = spatialdata.read_zarr(moved / "unet" / target.name)
    rows = read_cells(moved / "unet" / "cells.parquet")
    assert found["cells"].index.tolist() == rows["id"].to_pylist()
    assert (found["cells"].geometry.to_numpy() == polygons_of(rows)).all()
    extent = spatialdata.get_extent(found["cells"], coordinate_system="microns")
    assert extent["x"][1] == pytest.approx(shapely.total_bounds(polygons_of(rows))[2] * 0.5)
    _, table = spatialdata.join_spatialelement_table(
        sdata=found, spatial_element_names="cells", table_name="table"
    )
    assert list(table.var_names) == list(MEASUREMENTS)
    assert np.allclose(table.X[:, 0], rows["area_um2"].to_numpy())
    assert table.obs["class"].tolist() == rows["class"].to_pylist()
    assert list(table.uns["class_colors"]) == list(COLOURS)
    image = found["tiles"]["scale1"]["image"]
    assert image.shape == (3, 50, 75)
    assert (image[:, 12, 12].values == 1).all()
    extent = spatialdata.get_extent(found["tiles"], coordinate_system="global")
    assert extent["x"] == pytest.approx((0, 3000))
    assert read_record(moved / "unet" / target.name)["provenance"]["stage"] == "export"


def test_missing_extra_is_one_sentence(
    tmp_path: Path, slide: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    target = tmp_path / "cells.spatialdata.zarr"
    with pytest.raises(SettingsError, match=r"install wsipsm\[scverse\]"):
        export(slide[0], target, settings=Export(), tiles=slide[1])
    assert not target.exists()


def test_pixels_need_the_tiles(tmp_path: Path, slide: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="give --tiles"):
        export(slide[0], tmp_path / "cells.labels.zarr", settings=Export())


# all


@SCVERSE
@pytest.mark.parametrize(
    "name", ["a.geojson.zip", "a.tsv", "a.db", "a.labels.zarr", "a.spatialdata.zarr"]
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_slide_without_cells_is_exported(
    tmp_path: Path, save_cells: Save, save_tiles: Save, name: str
) -> None:
    cells = save_cells(np.array([], dtype=object))
    export(cells, tmp_path / name, settings=Export(), tiles=save_tiles("a", "a.svs"))
    if name.endswith(".tsv"):
        assert len(pd.read_csv(tmp_path / name, sep="\t")) == 0
    else:
        assert read_record(tmp_path / name)["provenance"]["stage"] == "export"
