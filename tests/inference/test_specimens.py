"""Specimens of a slide: what parts them, what belongs to them, and the cells of each."""

from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from scipy import ndimage
from torch import nn

from wsipsm.config import Inference, Prompting, Stitching, Tiling
from wsipsm.evaluation.agreement import compare_cells
from wsipsm.inference import looks
from wsipsm.inference.joined import join
from wsipsm.inference.segment import segment
from wsipsm.io import specimens
from wsipsm.io.parquet import polygons_of, read_cells
from wsipsm.io.sample import sample_regions
from wsipsm.io.specimens import Specimens, find_specimens
from wsipsm.io.tiles import open_tiles
from wsipsm.models.sam_prompts import Grid
from wsipsm.models.sam_segmenter import SamSegmenter
from wsipsm.models.segmenter import Segmented
from wsipsm.stitching.stitch import stitch
from wsipsm.tiling.tile import tile
from wsipsm.types import Region

from ..tiling.test_tile import digest

MPP = 2.0
BIG = (slice(10, 130), slice(10, 130))
"""A square of 240 microns."""


def drawn(*pieces: tuple[slice, slice]) -> np.ndarray:
    tissue = np.zeros((200, 400), bool)
    for piece in pieces:
        tissue[piece] = True
    return tissue


def numbers_of(tissue: np.ndarray) -> np.ndarray:
    return find_specimens(tissue, tissue, mpp=MPP)


def test_a_slide_with_one_piece_or_none_is_one_specimen() -> None:
    for tissue in (drawn(), drawn(BIG), ~drawn(), drawn(BIG, (slice(10, 60), slice(200, 250)))):
        assert numbers_of(tissue).tolist() == [[0]]


@pytest.mark.parametrize(("gap_px", "count"), [(8, 1), (20, 2)])
def test_only_a_wide_gap_parts_two_pieces(gap_px: int, count: int) -> None:
    tissue = drawn(BIG, (slice(10, 130), slice(130 + gap_px, 300)))
    numbers = numbers_of(tissue)
    assert numbers.max() + 1 == count
    if count == 2:
        assert numbers.shape == tissue.shape
        border = 130 + gap_px // 2
        assert (numbers[10:130] == (np.arange(400) >= border)).all()


def test_a_small_piece_belongs_to_the_nearest_specimen_as_a_whole() -> None:
    crumb = (slice(150, 160), slice(150, 205))  # its right end is nearer to the other
    numbers = numbers_of(drawn(BIG, (slice(10, 130), slice(220, 390)), crumb))
    assert numbers[BIG].max() == 0
    assert (numbers[10:130, 220:390] == 1).all()
    assert len(np.unique(numbers[crumb])) == 1
    assert numbers[crumb].max() == 1


def test_tissue_that_is_not_used_is_no_specimen() -> None:
    tissue = drawn(BIG, (slice(10, 130), slice(220, 390)))
    assert find_specimens(tissue, drawn(BIG), mpp=MPP).tolist() == [[0]]


def test_places_beyond_the_slide_belong_to_what_is_nearest() -> None:
    known = Specimens(np.array([[0, 1], [2, 3]], np.uint16), (7, 9))
    around = known.around(Region(-1, -1, 9, 11))
    assert around[:, 0].tolist() == [0] * 5 + [2] * 4
    assert around[-1].tolist() == [2] * 6 + [3] * 5
    assert (known.as_one().around(Region(-1, -1, 9, 11)) == 0).all()


def seen(*places: tuple[slice, slice], score: float) -> Segmented:
    labels = np.zeros((20, 40), np.int32)
    for number, place in enumerate(places, start=1):
        labels[place] = number
    scores = np.full(len(places), score, np.float32)
    maps = np.full((2, 20, 40), round(100 * score), np.uint8)
    return Segmented(labels, np.arange(1, len(places) + 1, dtype=np.uint8), scores, scores, maps)


def test_each_cell_of_a_tile_is_that_of_the_specimen_in_which_its_centroid_lies() -> None:
    numbers = np.repeat([[4, 7]], 20, axis=1).repeat(20, axis=0).astype(np.uint16)
    rows = slice(2, 8)
    first = seen((rows, slice(2, 8)), (rows, slice(14, 24)), (rows, slice(30, 36)), score=0.25)
    second = seen((rows, slice(1, 7)), (rows, slice(17, 27)), (rows, slice(31, 37)), score=0.75)
    found = join({4: first, 7: second}, numbers)
    # the second one's cell at the border overlaps that of the first
    assert found.classes.tolist() == [1, 2, 3]
    assert found.scores.tolist() == [0.25, 0.25, 0.75]
    wanted = np.zeros((20, 40), int)
    for number, cols in enumerate((slice(2, 8), slice(14, 24), slice(31, 37)), start=1):
        wanted[rows, cols] = number
    np.testing.assert_array_equal(found.labels, wanted)
    assert found.maps is not None
    np.testing.assert_array_equal(found.maps[0], np.where(numbers == 4, 25, 75))


def test_a_tile_without_cells_joins_others() -> None:
    numbers = np.zeros((20, 40), np.uint16)
    assert len(join({0: seen(score=0.5), 1: seen(score=0.5)}, numbers).scores) == 0
    assert join({0: seen((slice(2, 5), slice(2, 5)), score=0.5)}, numbers).labels.max() == 1


LOOKS = ((1.0, 1.0, 1.0), (0.45, 0.9, 1.6))
"""Powers of red, green and blue: stains of two laboratories."""

RIGHT_PX = 1280
"""Left border of the second piece: 90 microns from the first, in the middle of a tile."""

TILING = Tiling(mpp=0.5, tile_px=256, shard_tiles=2, min_tissue_share=0)


def write(path: Path, image: np.ndarray) -> Path:
    tags = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", **tags)
    return path


def cells_of(slide: Path, products, folder: Path) -> np.ndarray:
    """Polygons of the cells of a slide by stages 1, 6 and 7."""
    folder.mkdir()
    paths = [folder / name for name in ("tiles.zarr", "tile_cells", "cells.parquet")]
    tile(slide, paths[0], settings=TILING)
    segment(paths[0], products.unet, paths[1], settings=Inference(), workers=1)
    stitch(paths[1], paths[2], settings=Stitching())
    return polygons_of(read_cells(paths[2]))


@pytest.fixture(scope="module")
def pair(products, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products of a slide with two pieces of tissue that look different, and the slide."""
    folder = tmp_path_factory.mktemp("pair")
    drawn = np.asarray(tifffile.imread(products.slide, level=0)) / 255
    ((rows, cols),) = ndimage.find_objects(open_tiles(products.tiles).tissue().astype(int))
    piece = drawn[rows.start * 8 : rows.stop * 8, cols.start * 8 : cols.stop * 8]
    image = np.ones((len(piece), RIGHT_PX + piece.shape[1], 3))
    for left, powers in zip((0, RIGHT_PX), LOOKS, strict=True):
        image[:, left : left + piece.shape[1]] = piece ** np.array(powers)
    slide = write(folder / "slide.tiff", np.rint(255 * image).astype(np.uint8))
    cells_of(slide, products, folder / "products")
    return folder


@pytest.fixture(scope="module")
def alone(pair: Path, products) -> list[np.ndarray]:
    """Cells of the pieces, each as a slide of its own, in the places of the pair."""
    image = tifffile.imread(pair / "slide.tiff")
    found = []
    for left in (0, RIGHT_PX):
        part = image[:, left : left + image.shape[1] - RIGHT_PX]
        slide = write(pair / f"{left}.tiff", part)
        cells = cells_of(slide, products, pair / str(left))
        assert len(cells) > 50
        found.append(shapely.transform(cells, lambda at, by=left: at + np.array([by, 0])))
    return found


def test_specimens_have_the_cells_of_slides_of_their_own(
    alone, pair: Path, products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = polygons_of(read_cells(pair / "products/cells.parquet"))
    first = shapely.get_x(shapely.centroid(cells)) < RIGHT_PX
    assert compare_cells(alone[0], cells[first]).equal_share == 1
    found = compare_cells(alone[1], cells[~first])  # which lies otherwise in its tiles
    assert found.gone + found.new < 0.1 * found.cells
    monkeypatch.setattr(specimens, "LEAST_UM2", 1e9)
    as_one = cells_of(pair / "slide.tiff", products, tmp_path / "one")
    found = compare_cells(np.concatenate(alone), as_one)
    assert found.gone + found.new > 0.5 * found.cells


def test_a_tile_over_two_specimens_holds_no_cell_twice(pair: Path) -> None:
    slide = open_tiles(pair / "products/tiles.zarr")
    around = specimens.specimens_of(slide).around
    assert any(np.ptp(around(slide.grid.tile(*place))) for place in slide.kept_tiles())
    cells = polygons_of(read_cells(pair / "products/tile_cells"))
    owned = cells[read_cells(pair / "products/tile_cells")["owned"].to_numpy()]
    one, other = shapely.STRtree(owned).query(owned)
    shared = shapely.area(shapely.intersection(owned[one], owned[other]))[one < other]
    assert (shared < 5).all()  # smoothed outlines of neighbours touch


def test_workers_and_an_interruption_do_not_change_a_byte(
    pair: Path, products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    see = looks.OnOwnScale.__call__

    def dying(self, images, regions):
        if len(calls) == 2:
            raise RuntimeError("the machine dies here")
        calls.append(len(images))
        return see(self, images, regions)

    def work(workers: int) -> None:
        tiles, target = pair / "products/tiles.zarr", tmp_path / "out"
        segment(tiles, products.unet, target, settings=Inference(), workers=workers)

    with monkeypatch.context() as patch:
        patch.setattr(looks.OnOwnScale, "__call__", dying)
        with pytest.raises(RuntimeError):
            work(1)
    known = {path.name for path in (tmp_path / "out.partial").glob("look_*")}
    assert known == {"look_0.npz", "look_1.npz"}
    work(3)
    assert digest(tmp_path / "out") == digest(pair / "products/tile_cells")


def test_squares_of_a_specimen_lie_in_its_box_and_show_no_other(pair: Path, tmp_path: Path) -> None:
    slide = open_tiles(pair / "products/tiles.zarr")
    rows, cols = np.indices(slide.tissue().shape)
    numbers = (rows + cols > 110).astype(np.uint16)  # across the first piece
    known = looks.Looks(slide, Specimens(numbers, slide.image.shape[1:]), tmp_path)
    regions = sample_regions(slide, count=looks.SAMPLE_OF_SEVERAL, among=numbers == 0)
    assert all(max(region.y, region.x) + region.height <= 444 for region in regions)
    hidden = 0
    for region, square in zip(regions, known.squares(0), strict=True):
        image, other = slide.read(region), known.specimens.around(region) == 1
        assert (square[:, other] == 255).all()
        assert (square[:, ~other] == image[:, ~other]).all()
        hidden += int((image[:, other] < 200).any(axis=0).sum())
    assert hidden > 1000


def test_a_model_that_needs_to_know_nothing_sees_one_specimen(pair: Path, tmp_path: Path) -> None:
    slide = open_tiles(pair / "products/tiles.zarr")
    model = SamSegmenter(nn.Identity(), Grid(side=2), Prompting(), input_px=64, min_area_px=1)
    assert looks.look_at(slide, model, tmp_path).specimens.count == 1
