"""The Hilbert curve passes each square once, step by step; ids are those of the uuid module."""

import uuid

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.stitching.order import NAMESPACE, cell_ids, hilbert


def test_curve_goes_from_square_to_next_square() -> None:
    side = 32
    y, x = (axis.ravel() for axis in np.indices((side, side)))
    place = hilbert(x, y, bits=5)
    assert sorted(place) == list(range(side**2))
    steps = np.abs(np.diff(np.stack([x, y])[:, np.argsort(place)]))
    assert (steps.sum(axis=0) == 1).all()


@given(st.integers(0, 2**26 - 1), st.integers(0, 2**26 - 1), st.integers(0, 26))
def test_coarse_curve_orders_the_fine_one(x: int, y: int, k: int) -> None:
    fine = hilbert(np.array([x]), np.array([y]), bits=26)
    coarse = hilbert(np.array([x >> k]), np.array([y >> k]), bits=26 - k)
    assert coarse == fine >> 2 * k


def test_ids_are_uuid5_of_slide_model_tile_and_centroid() -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(50, dtype=np.int32)
    centres = rng.uniform(0, 1e5, (2, 50))
    names = ("tile_row", "tile_col", "centroid_y", "centroid_x")
    table = pa.table(dict(zip(names, (rows, rows + 7, *centres), strict=True)))
    space = uuid.uuid5(NAMESPACE, "größer/unet")
    keys = [
        row.tobytes() + (row + 7).tobytes() + y.tobytes() + x.tobytes()
        for row, y, x in zip(rows, *centres, strict=True)
    ]
    expected = [str(uuid.uuid5(space, key.hex())) for key in keys]
    assert cell_ids(table, slide="größer", model="unet").to_pylist() == expected
    assert cell_ids(table.slice(0, 0), slide="a", model="b").to_pylist() == []
