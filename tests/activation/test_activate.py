"""Stage 3 on a drawn slide: range, registration, seams, repeatability."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from wsipsm.activation.activate import activate
from wsipsm.config import Activation
from wsipsm.errors import QuarantinedError
from wsipsm.io import ngff
from wsipsm.io.product import quarantine, read_record
from wsipsm.io.tiles import open_tiles
from wsipsm.models.stain import nuclear_density

from ..tiling.test_tile import digest


def map_of(product: Path) -> np.ndarray:
    return np.asarray(ngff.open_group(product)["0"]).astype(np.float32)


def test_the_map_is_in_range_and_rises_with_stain(products) -> None:
    found = map_of(products.activation)
    tiles = open_tiles(products.tiles)
    assert found.shape == (128, 128)
    assert found.min() >= 0
    assert found.max() <= 1
    density = nuclear_density(np.asarray(tiles.image), tiles.stain)
    smooth = ndimage.gaussian_filter(density, 1)[::4, ::4]
    kept = np.kron(tiles.kept, np.ones((32, 32), bool))
    assert np.corrcoef(found[kept], smooth[kept])[0, 1] > 0  # flipped maps fall with it
    assert (found[~kept] == 0).all()


@pytest.mark.parametrize("weights", ["slide", "tile"])
def test_neither_workers_nor_batches_change_a_byte(
    products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    settings = Activation(weights=weights, sample_tiles=2)
    for workers, batch in ((1, 4), (3, 3)):
        monkeypatch.setattr("wsipsm.activation.activate.BATCH", batch)
        target = tmp_path / f"{workers}.zarr"
        activate(products.tiles, products.encoder, target, settings=settings, workers=workers)
    assert digest(tmp_path / "1.zarr") == digest(tmp_path / "3.zarr")


def test_a_deeper_stage_has_its_own_stride(products, tmp_path: Path) -> None:
    target = tmp_path / "deep.zarr"
    activate(products.tiles, products.encoder, target, settings=Activation(layers=("layer2",)))
    assert map_of(target).shape == (64, 64)
    assert read_record(target)["stride"] == 8


def test_a_slide_that_was_set_aside_stays_aside(products, tmp_path: Path) -> None:
    quarantine(tmp_path / "bad.zarr", stage="tile", reason="no tissue found")
    with pytest.raises(QuarantinedError, match="no tissue found"):
        activate(
            tmp_path / "bad.zarr", products.encoder, tmp_path / "a.zarr", settings=Activation()
        )
