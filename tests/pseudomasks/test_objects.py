"""Objects of a mask, and the confidence in each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsipsm.config import Pseudomasks
from wsipsm.pseudomasks.features import DENSITY, FAR, FEATURES
from wsipsm.pseudomasks.objects import separate, weigh

MPP = 0.25


def disks(*places: tuple[int, int, int], side: int = 120) -> np.ndarray:
    """Mask of disks (row, column, radius)."""
    y, x = np.ogrid[:side, :side]
    return np.any([(y - r) ** 2 + (x - c) ** 2 <= size**2 for r, c, size in places], axis=0)


def features_of(mask: np.ndarray) -> np.ndarray:
    out = np.zeros((FEATURES, *mask.shape), np.float32)
    out[DENSITY], out[FAR] = mask, 2 * mask
    return out


def separated(mask: np.ndarray, **changes: float) -> np.ndarray:
    loose = Pseudomasks(min_area_um2=2)
    near = mask.astype(np.float32)
    return separate(near, features_of(mask), settings=loose, mpp=MPP, **changes)


def test_touching_disks_are_parted_and_dust_is_dropped() -> None:
    labels = separated(disks((40, 40, 12), (40, 62, 12), (90, 90, 2)))
    assert labels.max() == 2
    assert labels[40, 40] != labels[40, 62]
    assert labels[90, 90] == 0


def test_what_is_small_beside_the_median_of_the_slide_is_dropped() -> None:
    mask = disks((40, 40, 14), (90, 90, 6))
    assert separated(mask).max() == 2
    assert separated(mask, median_area_um2=38).max() == 1


def test_what_is_hardly_darker_than_its_ring_is_dropped() -> None:
    mask = disks((40, 40, 12), (90, 90, 12))
    features = features_of(mask)
    features[FAR, 70:] *= 0.1
    labels = separate(mask.astype(np.float32), features, settings=Pseudomasks(), mpp=MPP)
    assert labels.max() == 1
    assert labels[40, 40] == 1


def test_confidence_is_lost_with_agreement_contrast_shape_and_size() -> None:
    labels = disks((30, 30, 12)).astype(np.int32)
    mask = labels > 0
    bar = np.zeros_like(mask)
    bar[20:22, 20:60] = bar[20:60, 20:22] = True

    def confidence(objects: np.ndarray, seen: np.ndarray, other: np.ndarray, um2: float) -> float:
        found = weigh(
            objects.astype(np.int32), features_of(seen), other, mpp=MPP, median_area_um2=um2
        )
        return float(found.confidence(trust=0.5)[0])

    sure = confidence(mask, mask, mask, 28)
    assert sure > 0.9
    assert confidence(mask, mask, ~mask, 28) == 0
    assert confidence(mask, np.zeros_like(mask), mask, 28) == 0
    assert confidence(bar, bar, bar, 28) < 0.1
    assert confidence(mask, mask, mask, 280) < 0.7 * sure


def test_without_trust_the_other_labeller_does_not_count() -> None:
    mask = disks((30, 30, 12))
    found = weigh(mask.astype(np.int32), features_of(mask), ~mask, mpp=MPP, median_area_um2=28)
    assert found.confidence(trust=0)[0] > 0.9


@settings(max_examples=30, deadline=None)
@given(
    st.floats(4, 15), st.floats(4, 15), st.floats(0, 3.14), st.sampled_from(["ellipse", "cross"])
)
def test_shape_is_1_of_every_ellipse_and_not_of_a_cross(
    a: float, b: float, angle: float, form: str
) -> None:
    y, x = np.mgrid[-40:41, -40:41]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if form == "ellipse":
        mask = (u / a) ** 2 + (v / b) ** 2 <= 1
    else:
        mask = ((abs(u) < 30) & (abs(v) < 3)) | ((abs(v) < 30) & (abs(u) < 3))
    found = weigh(mask.astype(np.int32), features_of(mask), mask, mpp=MPP, median_area_um2=28)
    assert found.shape[0] == pytest.approx(float(form == "ellipse"), abs=0.05)


def test_a_region_without_objects_has_no_evidence() -> None:
    nothing = np.zeros((20, 20), bool)
    found = weigh(nothing.astype(np.int32), features_of(nothing), nothing, mpp=1, median_area_um2=9)
    assert len(found.confidence(trust=1)) == 0
