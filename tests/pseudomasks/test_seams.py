"""Masks of a slide that is cut into tiles of one side and of another."""

from pathlib import Path

import pytest

from wsipsm.config import Tiling

from ..benchmarks.seams import compare, cut, opened


def test_neither_borders_nor_the_side_of_tiles_show_in_a_mask(products, tmp_path: Path) -> None:
    """The drawn slide, cut into tiles of 128 px and of 96."""
    plain = opened(products.tiles, products.activation, products.pseudomasks)
    tiling = products.tiling.model_copy(update={"tile_px": 96, "shard_tiles": 1})
    again = cut(products.slide, tmp_path / "again", tiling, products.encoder)
    found = compare(plain, again)
    assert found.classes < 0.01
    assert found.mask_jump == pytest.approx(1, abs=0.02)
    assert found.map_jump == pytest.approx(1, abs=0.02)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_side_of_tiles_does_not_show_on_real_tissue(test_data: Path, tmp_path: Path) -> None:
    slide = test_data / "wsi_mosaic" / "monuseg_train4.tiff"
    cuts = [
        cut(slide, tmp_path / str(side), Tiling(tile_px=side), tmp_path / "encoder.pt")
        for side in (512, 384)
    ]
    found = compare(*cuts)
    assert found.classes < 0.01
    assert found.mask_jump == pytest.approx(1, abs=0.02)
    assert found.map_jump == pytest.approx(1, abs=0.02)
