"""The maps of stage 6 on a drawn slide: their pixels, their bytes, and who can open them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from wsipsm import cli
from wsipsm.config import Inference, Tiling
from wsipsm.inference.looks import SAMPLE
from wsipsm.inference.segment import segment
from wsipsm.io import ngff
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.parquet import parts_of
from wsipsm.io.sample import sample_regions
from wsipsm.io.shard import Shard
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.models.segmenter import UNetSegmenter, load_segmenter
from wsipsm.tiling.tile import tile
from wsipsm.types import Region

from ..documents import REPOSITORY
from ..tiling.test_tile import digest

SETTINGS = Inference(maps=True)
HALO_PX = 48
"""24 microns at 0.5 microns per pixel."""


@pytest.fixture(scope="module")
def mapped(products, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("mapped") / "tile_cells"
    segment(products.tiles, products.unet, target, settings=SETTINGS, workers=1)
    return target


def knowing(products, tiles: Tiles) -> UNetSegmenter:
    """The segmenter of stage 6, with the statistics of the slide."""
    network, _ = load_segmenter(
        products.unet, settings=SETTINGS, mpp=tiles.mpp, device=torch.device("cpu")
    )
    assert isinstance(network, UNetSegmenter)
    squares = sample_regions(tiles, count=SAMPLE)
    return network.knowing(network.look(np.stack([tiles.read(square) for square in squares])))


def compare(maps: np.ndarray, tiles: Tiles, segmenter: UNetSegmenter) -> None:
    """Compare the maps of every tile with what the network says of it."""
    for place in tiles.kept_tiles():
        region = tiles.grid.tile(*place)
        square = Region(region.y, region.x, tiles.grid.tile_px, tiles.grid.tile_px)
        chances, height, _ = segmenter.maps(tiles.read(square.grown(HALO_PX))[None])
        said = np.stack([chances[0, 1], height[0]]).clip(0, 1)
        inner = Region(HALO_PX, HALO_PX, region.height, region.width)
        wanted = said[(slice(None), *inner.slices)]
        assert np.abs(maps[(slice(None), *region.slices)] - 255 * wanted).max() < 0.51


def test_they_are_what_the_network_says_of_the_centre_of_each_tile(products, mapped) -> None:
    tiles = open_tiles(products.tiles)
    maps = np.asarray(ngff.open_group(mapped / "maps.zarr")["0"])
    assert maps.shape == (2, *tiles.image.shape[1:])
    assert maps.dtype == np.uint8
    compare(maps, tiles, knowing(products, tiles))
    assert maps[0].max() > 200
    assert maps[1].max() > 50


def test_borders_cut_tiles_and_those_without_tissue_have_none(products, tmp_path: Path) -> None:
    given = Tiling(mpp=0.5, tile_px=96, shard_tiles=2, min_tissue_share=0.15)
    tile(products.slide, tmp_path / "tiles.zarr", settings=given)
    segment(tmp_path / "tiles.zarr", products.unet, tmp_path / "out", settings=SETTINGS)
    tiles = open_tiles(tmp_path / "tiles.zarr")
    without = [place for place in np.ndindex(tiles.kept.shape) if not tiles.kept[place]]
    assert without
    assert tiles.kept[-1].any()
    maps = np.asarray(ngff.open_group(tmp_path / "out/maps.zarr")["0"])
    compare(maps, tiles, knowing(products, tiles))
    for place in without:
        assert not maps[(slice(None), *tiles.grid.tile(*place).slices)].any()


def test_cells_and_maps_come_of_one_look(products) -> None:
    tiles = open_tiles(products.tiles)
    region = tiles.grid.tile(*tiles.kept_tiles()[0]).grown(HALO_PX)
    (cells,) = knowing(products, tiles)(tiles.read(region)[None])
    assert cells.maps is not None
    inside = cells.labels > 0
    assert inside.any()
    assert cells.maps[0][inside].mean() == pytest.approx(
        255 * np.average(cells.scores, weights=np.bincount(cells.labels.ravel())[1:]), abs=1
    )


def test_another_library_reads_their_names_and_levels(products, mapped) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(mapped / "maps.zarr")
    assert location is not None
    node = next(iter(Reader(location)()))
    assert node.metadata["channel_names"] == ["nucleus", "height"]
    assert node.metadata["visible"] == [True, False]
    assert node.metadata["contrast_limits"] == [[0, 255], [0, 255]]
    first, second = (np.asarray(level) for level in node.data)
    np.testing.assert_array_equal(second, ngff.quarter(first))
    scale = node.metadata["coordinateTransformations"][0][0]["scale"]
    assert scale == [1, open_tiles(products.tiles).mpp, open_tiles(products.tiles).mpp]


def test_the_lines_of_the_documents_open_them(mapped) -> None:
    page = (REPOSITORY / "docs/outputs.md").read_text()
    (lines,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    lines += "assert probability.shape == (512, 512) and 0.7 < probability.max() <= 1\n"
    subprocess.run([sys.executable, "-c", lines], cwd=mapped, check=True)


def test_without_the_setting_there_are_none_and_the_cells_are_the_same(products, mapped) -> None:
    plain, other = parts_of(products.tile_cells), parts_of(mapped)
    assert {path.name for path in products.tile_cells.iterdir()} == {
        "product.json",
        *(path.name for path in plain.values()),
    }
    assert plain.keys() == other.keys()
    assert all(plain[shard].read_bytes() == other[shard].read_bytes() for shard in plain)


def test_workers_an_interruption_and_a_torn_file_do_not_change_a_byte(
    products, mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path | None] = []
    write = Shard.write

    def dying(self: Shard) -> Path | None:
        if len(written) == 5:  # two levels a shard: within the third
            raise RuntimeError("the machine dies here")
        written.append(write(self))
        return written[-1]

    def work(workers: int) -> None:
        target = tmp_path / "out"
        segment(products.tiles, products.unet, target, settings=SETTINGS, workers=workers)

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "write", dying)
        with pytest.raises(RuntimeError):
            work(1)
    assert not (tmp_path / "out").exists()
    done = list((tmp_path / "out.partial/done").iterdir())
    assert len(done) == 2
    assert written[0] is not None
    written[0].write_bytes(written[0].read_bytes()[:-20])
    work(2)
    assert digest(tmp_path / "out") == digest(mapped)


def test_segment_anything_has_none_and_says_so_before_it_begins(products, tmp_path: Path) -> None:
    model = tmp_path / "sam.pt"
    save_checkpoint(model, {}, {"model": "sam_lora"})
    words = ["segment", products.tiles, model, tmp_path / "out", "--maps=true"]
    done = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert done.exit_code == 2
    assert done.output.startswith("wsipsm: inference.maps: sam_lora draws cells one by one and has")
    assert done.output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sam.pt"]
