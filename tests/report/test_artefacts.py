"""Tiles with artefacts: counted, tinted, crossed out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.report.artefacts import COLOURS, CROSS_COLOUR, flagged, with_artefacts

PX = 40


@pytest.fixture(scope="module")
def spoilt(products: Any) -> Tiles:
    """Tiles all with tissue: pen at the top left, a fold below, blur (excluded) at the right."""
    tiles = open_tiles(products.tiles)
    shape = tiles.kept.shape
    scores = {name: np.zeros(shape, np.float32) for name in COLOURS}
    excluded = np.zeros(shape, bool)
    scores["pen"][0, 0] = scores["fold"][1, 0] = 0.3
    scores["blur"][0, -1], excluded[0, -1] = 0.9, True
    return replace(tiles, artefacts=scores, kept=~excluded, excluded=excluded)


def middle(image: np.ndarray, tiles: Tiles, row: int, col: int) -> np.ndarray:
    """Mean colour of a tile on a picture of `PX` pixels a tile, beside its diagonals."""
    y, x = (at % tiles.grid.rows * PX for at in (row, col))
    return np.asarray(image[y + 17 : y + 23, x + 2 : x + 8].mean(axis=(0, 1)))


def test_tiles_are_flagged_by_what_they_show(spoilt: Tiles) -> None:
    found = {name: np.argwhere(here).tolist() for name, here in flagged(spoilt).items()}
    last = spoilt.grid.cols - 1
    assert found == {"pen": [[0, 0]], "fold": [[1, 0]], "bubble": [], "blur": [[0, last]]}


def test_glass_is_not_flagged(spoilt: Tiles) -> None:
    nothing = np.zeros_like(spoilt.kept)
    glass = replace(spoilt, kept=nothing, excluded=nothing)
    assert not any(here.any() for here in flagged(glass).values())


def test_tiles_are_tinted_and_crossed(spoilt: Tiles) -> None:
    size = (spoilt.grid.rows * PX, spoilt.grid.cols * PX)
    shown = with_artefacts(np.full((3, *size), 200, np.uint8), spoilt)
    assert shown.shape == (*size, 3)
    for name, (row, col) in {"pen": (0, 0), "fold": (1, 0), "blur": (0, -1)}.items():
        tint = middle(shown, spoilt, row, col) - 200
        towards = np.array(COLOURS[name]) - 200
        assert np.corrcoef(tint, towards)[0, 1] > 0.99
    assert (middle(shown, spoilt, 1, -1) == 200).all()
    crossed = (shown == CROSS_COLOUR).all(axis=-1)
    assert crossed[:PX, -PX:].sum() > PX
    assert not crossed[:, : -PX - 2].any()
    assert not crossed[PX + 2 :].any()
