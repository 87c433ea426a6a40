"""One field cut into few and many tiles: the same cells, by the real stages."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

from wsipsm import cli
from wsipsm.config import Inference
from wsipsm.errors import SettingsError
from wsipsm.evaluation.agreement import compare_cells, count_on_seams
from wsipsm.invariance import evaluate_tiling


def boxes(*corners: tuple[float, float]) -> np.ndarray:
    return np.array([shapely.box(x, y, x + 10, y + 10) for x, y in corners], object)


def test_cells_are_equal_changed_gone_or_new() -> None:
    first = boxes((0, 0), (20, 0), (40, 0), (60, 0))
    second = boxes((60, 1), (21, 0), (0, 0), (80, 0), (100, 0))
    found = compare_cells(first, second)
    assert (found.cells, found.equal, found.changed, found.gone, found.new) == (5, 1, 2, 1, 2)
    assert found.lowest_iou == pytest.approx(9 / 11)
    assert found.equal_share == pytest.approx(1 / 6)
    assert compare_cells(first, first[::-1]).equal == 4
    assert compare_cells(first[:0], first[:0]).equal_share == 1


def test_a_cell_on_a_seam_lies_in_two_tiles() -> None:
    cells = boxes((2, 2), (25, 2), (2, 25), (65, 35))
    assert count_on_seams(cells, side_px=30, cut=4) == 2
    assert count_on_seams(cells, side_px=60, cut=1) == 0


@pytest.fixture(scope="module")
def cut(products, tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[dict]]:
    """Rows of a field as 1 and 16 tiles, by halo: that of the whole network, and next to none."""
    folder = tmp_path_factory.mktemp("cuts")
    found = {}
    for halo_um in (64, 1):
        target = folder / f"{halo_um}.json"
        settings = Inference(halo_um=halo_um)
        words = (products.tiles, products.unet, target)
        found[halo_um] = evaluate_tiling(*words, settings=settings, field_px=256, cuts=(1, 4))
        written = json.loads(target.read_text())
        assert written["rows"] == found[halo_um]
        assert written["field"]["side_px"] == 256
        assert [path.name for path in folder.glob("*.partial")] == []
    return found


def test_a_halo_as_wide_as_the_network_sees_hides_the_tiles(cut) -> None:
    whole, tiled = cut[64]
    assert (whole["tile_px"], tiled["tile_px"]) == (256, 64)
    assert whole["cells"] == tiled["cells"] > 10
    assert tiled["gone"] == tiled["new"] == 0
    assert tiled["equal_share"] > 0.9
    assert tiled["seam_cells"] > whole["seam_cells"] == 0


def test_a_halo_that_is_too_small_shows_them(cut) -> None:
    assert cut[1][1]["equal_share"] < 0.9 * cut[64][1]["equal_share"]


def test_the_command_prints_a_table(products, tmp_path: Path) -> None:
    words = ["evaluate-tiling", products.tiles, products.unet, tmp_path / "cuts.json"]
    options = ["--field-px", "128", "--cuts", "1", "--cuts", "2", "--halo-um", "4"]
    done = CliRunner().invoke(cli.main, [*map(str, words), *options])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()[-3:]
    assert lines[0].split()[:3] == ["tiles", "tile_px", "cells"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["1", "x", "1", "128"],
        ["2", "x", "2", "64"],
    ]


def test_a_field_too_small_for_its_tiles_is_one_sentence(products, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no field of 64 x 64 tiles"):
        evaluate_tiling(
            products.tiles, products.unet, tmp_path / "a.json", settings=Inference(), cuts=(1, 64)
        )
