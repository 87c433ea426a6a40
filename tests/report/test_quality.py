"""Figures without truth, on cells whose answer is known, and what is doubted because of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.io.tiles import Tiles
from wsipsm.report import quality
from wsipsm.report.cells import CellColumns
from wsipsm.report.zooms import zooms
from wsipsm.types import TileGrid

SIDE = 4096


def cells_at(x: np.ndarray, y: np.ndarray, **columns: Any) -> CellColumns:
    """Cells with centres at x and y, and the same values otherwise."""
    same = np.ones(len(x), np.float32)
    filled = {name: np.asarray(value * same, np.float32) for name, value in columns.items()}
    values = {"score": same, "area_um2": same, "haematoxylin": same, "contrast": same, **filled}
    return CellColumns(x, y, np.zeros(len(x), np.int64), **values)


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """16 x 16 tiles of 256 px at half a micron, all kept; level 0 is the same."""
    every = np.ones((16, 16), bool)
    return Tiles(
        path=Path("none.zarr"), slide="a", stain="he", source="a.svs", mpp=0.5, scale=1.0,
        size_px=(SIDE, SIDE), bounds=(0, 0, SIDE, SIDE), grid=TileGrid(SIDE, SIDE, 256, 2),
        image=zarr.zeros((3, 1, 1), dtype="uint8"), tissue_share=every.astype(np.float32),
        kept=every, artefacts={}, excluded=~every, unreadable_share=0.0, id="",
    )  # fmt: skip


def scattered(count: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(0).uniform(0, SIDE, (2, count))
    return x, y


def test_even_cells_do_not_show_the_tiles(tiles: Tiles) -> None:
    x, y = scattered(20_000)
    ratio = quality.seam_ratio(x, y, tiles)
    assert ratio == pytest.approx(1, abs=0.06)
    assert not quality.doubts({"seams": ratio}, cells=len(x))


@pytest.mark.parametrize("twice", [True, False])
def test_cells_kept_twice_or_lost_at_borders_are_seen(tiles: Tiles, twice: bool) -> None:
    x, y = scattered(20_000)
    near = np.minimum(x % 256, -x % 256) < 6
    chosen = np.r_[np.arange(len(x)), np.flatnonzero(near)] if twice else np.flatnonzero(~near)
    ratio = quality.seam_ratio(x[chosen], y[chosen], tiles)
    assert quality.doubts({"seams": ratio}, cells=len(chosen))


def test_few_cells_say_nothing_of_borders(tiles: Tiles) -> None:
    assert quality.seam_ratio(*scattered(500), tiles) is None


def test_agreement_of_the_same_and_of_moved_cells() -> None:
    x, y = scattered(500)
    same, moved = cells_at(x, y), cells_at(x + 0.5, y)
    assert quality.agreement(same, same, radius_px=2) == 1
    assert quality.agreement(same, moved, radius_px=2) == pytest.approx(1, abs=0.01)
    assert quality.agreement(same, moved, radius_px=0.4) < 0.02
    half = cells_at(x[:250], y[:250])
    assert quality.agreement(same, half, radius_px=2) == pytest.approx(2 / 3)
    assert quality.agreement(half, same, radius_px=2) == pytest.approx(2 / 3)


def test_agreement_of_a_committee_is_a_median_and_needs_one(tiles: Tiles) -> None:
    x, y = scattered(3)
    agreement = np.array([0.5, 0.75, 1], np.float32)
    committee = replace(cells_at(x, y), agreement=agreement)
    assert quality.of_cells(committee, tiles)["committee"] == 0.75
    assert quality.of_cells(cells_at(x, y), tiles)["committee"] is None


@given(values=st.lists(st.floats(-10, 10), min_size=5, max_size=40))
def test_outliers_are_those_of_the_definition(values: list[float]) -> None:
    middle = np.median(values)
    spread = np.median(np.abs(np.array(values) - middle))
    found = quality.outliers([*values, None])
    assert found[-1] == 0
    if spread > 1e-9:
        np.testing.assert_allclose(found[:-1], 0.6745 * (np.array(values) - middle) / spread)


def test_the_slide_that_stands_out_is_found() -> None:
    slides = [{"contrast": 0.2 + i / 100, "score": None} for i in range(9)]
    slides[4] = {"contrast": 0.9, "score": 0.1}
    said = quality.standing_out(slides)
    assert said[4] == ["contrast unusually high in this cohort"]
    assert not any(said[:4] + said[5:])


@pytest.mark.parametrize(
    "figures",
    [{"contrast": -0.01}, {"agreement": 0.4}, {"excluded": 0.7},
     {"unreadable": 0.01}],
)  # fmt: skip
def test_natural_limits(figures: dict[str, float]) -> None:
    assert len(quality.doubts(figures, cells=10)) == 1
    assert quality.doubts(dict.fromkeys(figures), cells=10) == []
    assert quality.doubts({}, cells=0) == ["no cell was found"]


def test_zooms_show_where_cells_are_many_usual_and_unsure(tiles: Tiles) -> None:
    side = 200  # pixels of a place
    counts = {(1, 1): 90, (3, 5): 30, (5, 5): 30, (7, 2): 31, (9, 9): 40}
    x = np.concatenate([[col * side + 50.0] * n for (_, col), n in counts.items()])
    y = np.concatenate([[row * side + 50.0] * n for (row, _), n in counts.items()])
    score = np.concatenate([[0.3 if p == (9, 9) else 0.8] * n for p, n in counts.items()])
    score[:90] = 0.9
    found = zooms(tiles, cells_at(x, y, score=score), side_um=side * tiles.mpp)
    corners = [(zoom.title, zoom.box.y // side, zoom.box.x // side) for zoom in found]
    assert corners == [("Densest", 1, 1), ("Typical", 7, 2), ("Doubtful", 9, 9)]


def test_one_place_gives_one_zoom(tiles: Tiles) -> None:
    one = cells_at(np.full(5, 50.0), np.full(5, 50.0))
    assert [zoom.title for zoom in zooms(tiles, one, side_um=100)] == ["Densest"]
    assert [zoom.title for zoom in zooms(tiles, None, side_um=100)] == ["Densest"]
