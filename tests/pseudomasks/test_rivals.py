"""Rival outlines: the roundest and sharpest stay."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.pseudomasks.test_objects import MPP, disks
from wsipsm.config import Pseudomasks
from wsipsm.pseudomasks.features import DENSITY, FAR, FEATURES
from wsipsm.pseudomasks.objects import separate
from wsipsm.pseudomasks.rivals import TAKEN, best_of

DARK, PALE, TISSUE = 1.0, 0.62, 0.35


def drawn(*nuclei: tuple[np.ndarray, float]) -> np.ndarray:
    """Density of tissue with nuclei, blurred as a scanner does."""
    density = np.full((120, 120), TISSUE, np.float32)
    for mask, value in nuclei:
        density[mask] = value
    return ndimage.gaussian_filter(density, 1)


def cells_of(density: np.ndarray) -> np.ndarray:
    features = np.zeros((FEATURES, *density.shape), np.float32)
    features[DENSITY], features[FAR] = density, (density - TISSUE) / density.std()
    return separate(density, features, settings=Pseudomasks(), mpp=MPP)


def test_pale_and_dark_nuclei_each_get_the_threshold_that_fits() -> None:
    pale, dark = disks((60, 40, 12)), disks((60, 70, 12))
    haze = disks((60, 70, 19)) & ~dark  # around the dark one as dense as the pale one is
    labels = cells_of(drawn((pale, PALE), (haze, 0.55), (dark, DARK)))
    for nucleus in (pale, dark):
        name = np.bincount(labels[nucleus]).argmax()
        assert name > 0
        found = labels == name
        assert (found & nucleus).sum() > 0.85 * (found | nucleus).sum()


def test_a_pale_inside_belongs_to_its_nucleus() -> None:
    whole, hole = disks((60, 60, 13)), disks((60, 60, 6))
    labels = cells_of(drawn((whole, DARK), (hole, TISSUE)))
    assert labels.max() == 1
    assert labels[60, 60] == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_wins_is_one_of_the_rivals_less_what_better_ones_have(seed: int) -> None:
    rng = np.random.default_rng(seed)
    density = rng.random((60, 60)).astype(np.float32)
    rivals = [
        ndimage.label(ndimage.gaussian_filter(rng.random((60, 60)), 3) > at)[0].astype(np.int32)
        for at in (0.49, 0.5, 0.51)
    ]
    best = best_of(rivals, density)
    for number in np.unique(best[best > 0]):
        mine = best == number
        kept = [
            (mine & (one == name)).sum() / (one == name).sum()
            for one in rivals
            for name in np.unique(one[mine])
            if name and not (mine & (one != name)).any()
        ]
        assert kept
        assert max(kept) >= 1 - TAKEN


def test_without_objects_there_is_no_winner() -> None:
    nothing = np.zeros((20, 20), np.int32)
    assert not best_of([nothing, nothing], nothing.astype(np.float32)).any()
