"""The codebook of a slide, and the features that it is fitted in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.pseudomasks.codebook import Codebook, fit_codebook
from wsipsm.pseudomasks.features import (
    ACTIVATION,
    CLASS_STAIN,
    CLUSTERED,
    DENSITY,
    FAR,
    NEAR,
    pixel_features,
    upsample_map,
)
from wsipsm.types import Region


def sample(
    share: float = 0.2, *, flip: bool = False, n: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    nuclei = rng.random(n) < share
    out = np.zeros((5, n), np.float32)
    out[DENSITY] = np.where(nuclei, 0.6, 0.2) + rng.normal(0, 0.05, n)
    out[NEAR] = out[DENSITY] - 0.28
    out[FAR] = out[NEAR] / 0.2
    out[ACTIVATION] = np.where(nuclei != flip, 0.7, 0.3) + rng.normal(0, 0.1, n)
    out[CLASS_STAIN] = np.where(nuclei, rng.choice([0.1, 0.5], n), 0) + rng.normal(0, 0.02, n)
    return out, nuclei


def fitted(points: np.ndarray, *, classes: int = 1, psm_weight: float = 0.25) -> Codebook:
    return fit_codebook(points, classes=classes, psm_weight=psm_weight, seed=0)


@pytest.mark.parametrize("flip", [False, True])
def test_foreground_is_what_is_stained_whatever_the_map_says(flip: bool) -> None:
    points, nuclei = sample(flip=flip)
    found = fitted(points, psm_weight=1.0).nearness(points) > 0.5
    assert (found == nuclei).mean() > 0.98


def test_nearness_is_0_and_1_at_the_centres() -> None:
    points, _ = sample()
    book = fitted(points)
    weights = np.array(book.weights)
    for centre, wanted in ((book.background, 0), (book.nuclei, 1)):
        features = np.zeros(5, np.float32)
        features[CLUSTERED] = np.array(centre) / weights
        assert book.nearness(features) == pytest.approx(wanted, abs=1e-4)
    assert book.separation > 2


def test_classes_are_numbered_by_rising_stain() -> None:
    points, nuclei = sample()
    book = fitted(points, classes=2)
    assert list(book.class_centres) == sorted(book.class_centres)
    assert book.classes_of(np.array([0.1, 0.5, 0.29, 0.31])).tolist() == [1, 2, 1, 2]
    assert fitted(points, classes=1).classes_of(np.array([0.0, 9.0])).tolist() == [1, 1]
    assert nuclei.any()


def test_the_same_seed_gives_the_same_codebook() -> None:
    points, _ = sample()
    assert fitted(points) == fitted(points)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 30), st.sampled_from([4, 8]))
def test_a_map_read_in_pieces_is_the_map_read_whole(y: int, x: int, side: int, stride: int) -> None:
    coarse = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    whole = upsample_map(coarse, (0, 0), Region(0, 0, 90, 90), stride=stride)
    region = Region(y, x, min(side, 90 - y), min(side, 90 - x))
    around = region.grown(stride).scaled_down(stride)
    top, left = max(around.y, 0), max(around.x, 0)
    part = coarse[top : around.y + around.height, left : around.x + around.width]
    found = upsample_map(part, (top, left), region, stride=stride)
    np.testing.assert_allclose(found, whole[region.slices], atol=1e-6)
    np.testing.assert_allclose(
        whole[::stride, ::stride], coarse[: len(whole[::stride]), : len(whole[::stride])]
    )


def test_features_show_a_nucleus_and_the_brown_of_a_positive_one() -> None:
    image = np.full((3, 60, 60), 235, np.uint8)
    image[:, 20:40, 20:40] = np.array([120, 85, 60], np.uint8)[:, None, None]
    features = pixel_features(
        image, np.zeros((60, 60), np.float32), stain="ihc", smoothing_px=1, near_px=10, far_px=20
    )
    assert features.dtype == np.float32
    assert (features[:, 30, 30] > features[:, 5, 5])[[DENSITY, NEAR, FAR, CLASS_STAIN]].all()
