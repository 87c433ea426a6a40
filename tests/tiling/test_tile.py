"""Stage 1 on drawn and real slides: pixels, index, resume, quarantine."""

import hashlib
from pathlib import Path

import numpy as np
import openslide
import pytest
import zarr

from wsipsm.config import Tiling
from wsipsm.errors import DataError, WsipsmError
from wsipsm.io import ngff
from wsipsm.io.product import read_record
from wsipsm.io.shard import Shard
from wsipsm.io.tiles import open_tiles
from wsipsm.tiling.tile import tile
from wsipsm.types import Region

SETTINGS = Tiling(mpp=0.25, tile_px=128, shard_tiles=2)


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def slide(drawn_slides: Path) -> Path:
    return drawn_slides / "phantom_2.tiff"


def test_tiles_hold_the_pixels_of_the_slide(slide: Path, tmp_path: Path) -> None:
    tile(slide, tmp_path / "tiles.zarr", settings=SETTINGS, name="two")
    tiles = open_tiles(tmp_path / "tiles.zarr")
    assert (tiles.slide, tiles.scale, tiles.grid.rows, tiles.grid.cols) == ("two", 1.0, 8, 8)
    assert 0.2 < tiles.kept.mean() < 1
    with openslide.OpenSlide(slide) as reference:
        for row, col in tiles.kept_tiles()[::7]:
            region = tiles.grid.tile(row, col)
            at, size = (region.x, region.y), (region.width, region.height)
            wanted = np.asarray(reference.read_region(at, 0, size))[..., :3]
            np.testing.assert_array_equal(tiles.read(region), wanted.transpose(2, 0, 1))


def test_only_tissue_and_its_neighbours_are_written(slide: Path, tmp_path: Path) -> None:
    tile(slide, tmp_path / "tiles.zarr", settings=SETTINGS)
    tiles = open_tiles(tmp_path / "tiles.zarr")
    far = [
        (row, col)
        for row, col in np.ndindex(tiles.kept.shape)
        if not tiles.kept[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2].any()
    ]
    for row, col in far:
        assert (tiles.read(tiles.grid.tile(row, col)) == 255).all()
    outside = tiles.read(Region(-5, -5, 10, 10))
    assert (outside[:, :5] == 255).all()


def test_the_pyramid_shrinks_by_four_and_is_read_by_another_library(
    slide: Path, tmp_path: Path
) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    tile(slide, tmp_path / "tiles.zarr", settings=SETTINGS)
    group = ngff.open_group(tmp_path / "tiles.zarr")
    first, second = np.asarray(group["0"]), np.asarray(group["1"])
    np.testing.assert_array_equal(second, ngff.quarter(first))
    location = parse_url(tmp_path / "tiles.zarr")
    assert location is not None
    node = next(iter(Reader(location)()))
    assert [level.shape[-1] for level in node.data] == [1024, 256]
    np.testing.assert_array_equal(np.asarray(node.data[1]), second)


def test_workers_and_an_interruption_do_not_change_a_byte(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile(slide, tmp_path / "a.zarr", settings=SETTINGS, workers=1, name="x")
    written = []
    write = Shard.write

    def dying(self: Shard) -> Path | None:
        written.append(self)
        if len(written) == 6:
            raise RuntimeError("the machine dies here")
        return write(self)

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "write", dying)
        with pytest.raises(RuntimeError):
            tile(slide, tmp_path / "b.zarr", settings=SETTINGS, workers=1, name="x")
    assert not (tmp_path / "b.zarr").exists()
    assert (tmp_path / "b.zarr.partial").exists()
    tile(slide, tmp_path / "b.zarr", settings=SETTINGS, workers=2, name="x")
    assert digest(tmp_path / "a.zarr") == digest(tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr.partial").exists()


def test_the_record_tells_where_everything_came_from(slide: Path, tmp_path: Path) -> None:
    tile(slide, tmp_path / "tiles.zarr", settings=SETTINGS, slide_mpp=0.3, stain="ihc")
    record = read_record(tmp_path / "tiles.zarr")
    assert record["slide"]["mpp"] == 0.3
    assert record["slide"]["mpp_source"] == "slide sheet"
    assert record["scale"] == pytest.approx(0.25 / 0.3)
    assert record["provenance"]["settings"]["tile_px"] == 128
    assert set(record["provenance"]) == {"id", "stage", "code", "settings", "inputs"}


def test_a_blank_slide_has_no_tissue(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "blank.tiff"
    image = np.full((600, 600, 3), 240, np.uint8)
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb")
    with pytest.raises(DataError, match="no tissue found"):
        tile(path, tmp_path / "tiles.zarr", settings=SETTINGS, slide_mpp=0.5)


def test_misaligned_writes_are_refused(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
    array = ngff.create_array(group, "0", shape=(100, 100), chunk_px=16, shard_px=32, dtype="uint8")
    ngff.write_shard(array, Region(32, 64, 68, 36), np.ones((68, 36), np.uint8))
    for bad in (Region(16, 0, 32, 32), Region(0, 0, 32, 20), Region(0, 8, 32, 92)):
        with pytest.raises(ValueError, match="whole shards"):
            ngff.write_shard(array, bad, np.zeros((bad.height, bad.width), np.uint8))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("openslide_unreadable.svs", "of it cannot be read"),
        ("openslide_unopenable.tiff", "not known"),
        ("histolab_broken.svs", "neither a slide nor"),
        ("openslide_boxes.tiff", "mpp"),
    ],
)
def test_a_broken_slide_is_one_sentence(
    test_data: Path, tmp_path: Path, name: str, reason: str
) -> None:
    path = test_data / "wsi/slides" / name
    with pytest.raises(WsipsmError, match=reason) as raised:
        tile(path, tmp_path / "tiles.zarr", settings=Tiling())
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
