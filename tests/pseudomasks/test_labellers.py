"""Labellers of a slide, and the features that they are fitted in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.pseudomasks.features import (
    ACTIVATION,
    ACTIVATION_NEAR,
    CLASS_STAIN,
    DENSITY,
    FAR,
    FEATURES,
    NEAR,
    pixel_features,
    upsample_map,
)
from wsipsm.pseudomasks.labellers import fit_cluster, fit_psm, fit_stain
from wsipsm.types import Region


def sample(
    share: float = 0.2, *, flip: bool = False, n: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    nuclei = rng.random(n) < share
    out = np.zeros((FEATURES, n), np.float32)
    out[DENSITY] = np.where(nuclei, 0.6, 0.2) + rng.normal(0, 0.05, n)
    out[NEAR] = out[DENSITY] - 0.28
    out[FAR] = out[NEAR] / 0.2
    out[ACTIVATION] = np.where(nuclei != flip, 0.7, 0.3) + rng.normal(0, 0.05, n)
    out[ACTIVATION_NEAR] = out[ACTIVATION] - out[ACTIVATION].mean()
    return out, nuclei


@pytest.mark.parametrize("flip", [False, True])
def test_foreground_is_what_is_stained_whatever_the_map_says(flip: bool) -> None:
    points, nuclei = sample(flip=flip)
    for labeller in (fit_stain(points, stain="he"), fit_cluster(points, psm_weight=1, seed=0)):
        assert ((labeller.nearness(points) > 0.5) == nuclei).mean() > 0.98
        assert labeller.separation > 2


def test_the_map_alone_labels_what_is_bright_in_it_whatever_the_stain_says() -> None:
    points, nuclei = sample(flip=True)
    assert ((fit_psm(points).nearness(points) > 0.5) == ~nuclei).mean() > 0.98


def test_stain_follows_the_near_surroundings() -> None:
    points, _ = sample()
    labeller = fit_stain(points, stain="he")
    place = np.zeros((FEATURES, 2), np.float32)
    place[DENSITY] = 0.4
    place[NEAR] = [0.2, -0.2]  # over pale, and over dense surroundings
    assert (labeller.nearness(place) > 0.5).tolist() == [True, False]


def test_positive_nuclei_do_not_hide_pale_negative_ones() -> None:
    rng = np.random.default_rng(0)
    points = np.zeros((FEATURES, 9000), np.float32)
    points[DENSITY] = np.repeat([0.1, 0.25, 0.6], 3000) + rng.normal(0, 0.02, 9000)
    points[CLASS_STAIN, 6000:] = 0.5
    pale = points[:, 3000:6000]
    assert (fit_stain(points, stain="ihc").nearness(pale) > 0.5).mean() > 0.98
    assert (fit_stain(points, stain="he").nearness(pale) > 0.5).mean() < 0.1


def test_a_constant_sample_gives_finite_labellers() -> None:
    points = np.zeros((FEATURES, 50), np.float32)
    for labeller in (fit_stain(points, stain="he"), fit_psm(points)):
        assert np.isfinite(labeller.nearness(points)).all()
        assert np.isfinite([*labeller.weights, labeller.offset, labeller.separation]).all()


def test_the_same_seed_gives_the_same_labeller() -> None:
    points, _ = sample()
    first, second = (fit_cluster(points, psm_weight=0.5, seed=3) for _ in range(2))
    assert first == second


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
    lit = np.zeros((60, 60), np.float32)
    lit[20:40, 20:40] = 1
    features = pixel_features(image, lit, stain="ihc", smoothing_px=1, near_px=10, far_px=20)
    assert features.shape == (FEATURES, 60, 60)
    assert features.dtype == np.float32
    assert (features[:, 30, 30] > features[:, 5, 5]).all()
    assert features[CLASS_STAIN, 30, 30] > 0.2


def test_a_pale_blue_nucleus_rises_as_much_beside_brown_ones_as_alone() -> None:
    alone = np.full((3, 120, 120), 235, np.uint8)
    alone[:, 50:70, 50:70] = np.array([160, 160, 200], np.uint8)[:, None, None]
    beside = alone.copy()
    beside[:, 50:70, 75:95] = np.array([90, 55, 35], np.uint8)[:, None, None]
    lit = np.zeros((120, 120), np.float32)

    def rise(image: np.ndarray) -> float:
        found = pixel_features(image, lit, stain="ihc", smoothing_px=1, near_px=20, far_px=40)
        return float(found[NEAR, 60, 60])

    assert rise(beside) == pytest.approx(rise(alone), rel=0.05)
