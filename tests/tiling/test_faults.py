"""Stage 1 through faults: kills at random moments, damaged and vanishing files, a full disk."""

import errno
import json
import multiprocessing
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wsipsm.config import Tiling
from wsipsm.errors import DataError, WsipsmError
from wsipsm.io.shard import Shard
from wsipsm.io.tiles import open_tiles
from wsipsm.tiling import tile as stage
from wsipsm.tiling.tile import tile

from ..io.test_ngff import torn
from .test_tile import digest

SETTINGS = Tiling(mpp=0.25, tile_px=64, shard_tiles=2)


def tile_it(slide: Path, target: Path) -> None:
    tile(slide, target, settings=SETTINGS, workers=2, name="x")


@pytest.mark.slow
def test_kills_at_random_moments_do_not_change_a_byte(drawn_slides: Path, tmp_path: Path) -> None:
    slide, target = drawn_slides / "phantom_2.tiff", tmp_path / "b.zarr"
    tile_it(slide, tmp_path / "a.zarr")
    wanted = digest(tmp_path / "a.zarr")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([stage.__name__, "distributed"])
    chance, kills = random.Random(7), 0
    while kills < 10:
        process = context.Process(target=tile_it, args=(slide, target))
        process.start()
        process.join(chance.uniform(0.1, 2))
        if process.exitcode is None:
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if target.exists():
            assert digest(target) == wanted
            shutil.rmtree(target)
    tile_it(slide, target)
    assert digest(target) == wanted


@pytest.mark.parametrize("how", ["short", "zeros inside"])
def test_a_shard_that_a_power_cut_tore_is_made_again(
    drawn_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    slide = drawn_slides / "phantom_2.tiff"
    tile(slide, tmp_path / "a.zarr", settings=SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_judge", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            tile(slide, tmp_path / "b.zarr", settings=SETTINGS)
    written = tmp_path / "b.zarr.partial/content"
    files = [path for path in (written / "0/c").rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    victim.write_bytes(torn(victim.read_bytes(), how))
    tile(slide, tmp_path / "b.zarr", settings=SETTINGS)
    assert digest(tmp_path / "b.zarr") == digest(tmp_path / "a.zarr")


@pytest.fixture
def damaged(drawn_slides: Path, tmp_path: Path) -> Path:
    """Overwrite one of the four JPEG tiles of a drawn slide, in the middle of its tissue."""
    path = tmp_path / "damaged.tiff"
    shutil.copy(drawn_slides / "phantom_1.tiff", path)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        offset, count = page.dataoffsets[3], page.databytecounts[3]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\0" * count)
    return path


def test_a_slide_with_much_damage_is_refused(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2\d\.\d% of it cannot be read \(.*\); copy it again"):
        tile(damaged, tmp_path / "a.zarr", settings=SETTINGS)


def test_a_little_damage_is_white_and_counted(damaged: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"max_unreadable_share": 0.5})
    tile(damaged, tmp_path / "a.zarr", settings=settings)
    tiles = open_tiles(tmp_path / "a.zarr")
    assert 0.1 < tiles.unreadable_share < 0.5
    image = np.asarray(tiles.image)
    assert (image[:, 512:, 512:] == 255).all()
    assert (image[:, :512, :512] < 200).mean() > 0.1


def test_damage_of_a_slide_of_one_level_is_counted_too(damaged: Path, tmp_path: Path) -> None:
    path = tmp_path / "one_level.tiff"
    with tifffile.TiffFile(damaged) as file:
        page = file.pages.first
        tiles = []
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            tiles.append(file.filehandle.read(count))
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(1024, 1024, 3),
        dtype=np.uint8,
        tile=(512, 512),
        photometric="ycbcr",
        compression="jpeg",
    )
    settings = SETTINGS.model_copy(update={"max_unreadable_share": 0.5})
    tile(path, tmp_path / "a.zarr", settings=settings, slide_mpp=0.25)
    assert open_tiles(tmp_path / "a.zarr").unreadable_share == pytest.approx(0.25)


def test_a_full_disk_is_one_sentence_and_the_next_try_goes_on(
    drawn_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, written = drawn_slides / "phantom_2.tiff", []
    write = Shard.write

    def full(self: Shard) -> Path | None:
        written.append(self)
        if len(written) == 9:
            raise OSError(errno.ENOSPC, "No space left on device", "c/0/1")
        return write(self)

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "write", full)
        with pytest.raises(WsipsmError, match="c/0/1: the disk is full; free some space"):
            tile(slide, tmp_path / "a.zarr", settings=SETTINGS, workers=1)
    before = len(list((tmp_path / "a.zarr.partial/done").iterdir()))
    assert before >= 1
    tile(slide, tmp_path / "a.zarr", settings=SETTINGS, workers=1)
    assert (tmp_path / "a.zarr").exists()


def test_a_file_that_vanishes_is_one_sentence_and_the_next_try_goes_on(
    drawn_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, away = tmp_path / "a.tiff", tmp_path / "away.tiff"
    shutil.copy(drawn_slides / "phantom_2.tiff", slide)
    tile(slide, tmp_path / "a.zarr", settings=SETTINGS)
    write = stage._write_shards

    def vanishing(*arguments: Any) -> None:
        slide.rename(away)
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_write_shards", vanishing)
        with pytest.raises(DataError, match=r"a\.tiff: no such file; correct the path"):
            tile(slide, tmp_path / "b.zarr", settings=SETTINGS)
    assert not (tmp_path / "b.zarr").exists()
    away.rename(slide)
    tile(slide, tmp_path / "b.zarr", settings=SETTINGS)
    assert digest(tmp_path / "b.zarr") == digest(tmp_path / "a.zarr")


def test_a_lossy_store_is_small_close_and_deterministic(drawn_slides: Path, tmp_path: Path) -> None:
    slide = drawn_slides / "phantom_1.tiff"
    for codec, workers in (("zstd", 1), ("jpeg", 1), ("jpeg", 2)):
        settings = Tiling(mpp=0.25, tile_px=128, shard_tiles=2, codec=codec)
        tile(slide, tmp_path / f"{codec}{workers}.zarr", settings=settings, workers=workers)
    exact, lossy = (
        np.asarray(open_tiles(tmp_path / f"{name}.zarr").image) for name in ("zstd1", "jpeg1")
    )
    assert 0 < np.abs(exact.astype(int) - lossy).mean() < 3
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / f"{name}.zarr/0").rglob("*"))
        for name in ("jpeg1", "zstd1")
    ]
    assert sizes[0] < 0.35 * sizes[1]
    assert digest(tmp_path / "jpeg1.zarr") == digest(tmp_path / "jpeg2.zarr")
    name = json.loads((tmp_path / "jpeg1.zarr/0/zarr.json").read_text())["codecs"][0]
    assert name["configuration"]["codecs"][0]["name"] == "wsipsm.jpeg"
