"""Beer-Lambert and unmixing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb_from_hed

from wsipsm.models.stain import nuclear_density, optical_density, stain_density


def test_density_of_white_grey_and_black() -> None:
    image = np.array([255, 26, 0], np.uint8).reshape(1, 1, 3).repeat(3, axis=0)
    np.testing.assert_allclose(optical_density(image)[0, 0], [0, 0.9916, 2.4065], atol=1e-3)


@pytest.mark.parametrize(("stain", "second"), [("he", 1), ("ihc", 2)])
@given(h=st.floats(0, 0.8), other=st.floats(0, 0.8))
def test_a_known_mixture_is_unmixed(stain, second: int, h: float, other: float) -> None:
    vectors = rgb_from_hed / np.linalg.norm(rgb_from_hed, axis=1, keepdims=True)
    density = h * vectors[0] + other * vectors[second]
    image = np.round(255 * 10**-density).astype(np.uint8).reshape(3, 1, 1)
    found = stain_density(image, stain)[:, 0, 0]
    np.testing.assert_allclose(found, [h, other], atol=0.05)


def test_brown_counts_as_nuclear_stain_in_ihc() -> None:
    image = np.array([120, 80, 50], np.uint8).reshape(3, 1, 1)
    assert nuclear_density(image, "ihc")[0, 0] > 1.2 * nuclear_density(image, "he")[0, 0]
