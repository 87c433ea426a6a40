"""The choice of a labeller without truth."""

import numpy as np
import pytest

from wsipsm.pseudomasks.choice import AGREE, MARGIN, choose, kappa, score
from wsipsm.pseudomasks.features import FAR, FEATURES


def test_kappa_is_1_of_the_same_0_by_chance_and_0_of_a_constant() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 20_000)) < 0.3
    assert kappa(one, one) == pytest.approx(1)
    assert kappa(one, other) == pytest.approx(0, abs=0.03)
    assert kappa(np.ones(9, bool), np.ones(9, bool)) == 0
    assert kappa(one, ~one) < -0.5


def test_the_map_is_followed_only_where_it_agrees_and_its_objects_are_better() -> None:
    much = 0.5 * (1 + MARGIN) + 0.01
    better = {"stain": 0.5, "cluster": much, "contrast": 0.5}
    assert choose(better, agreement=AGREE).method == "cluster"
    assert choose(better, agreement=AGREE - 0.01).method == "stain"
    for rival in ("stain", "contrast"):
        assert choose({**better, rival: much}, agreement=1).method == "stain"
    for agreement in (0, 1):
        chosen = choose(better, agreement=agreement)
        assert chosen.reason.startswith(f"{chosen.method}: ")
        assert chosen.reason.endswith(".")


def disks(radius: int) -> np.ndarray:
    y, x = np.mgrid[:200, :200]
    return (y % 50 - 25) ** 2 + (x % 50 - 25) ** 2 <= radius**2


def test_score_is_best_on_the_edges_and_falls_beside_them_and_where_objects_are_missed() -> None:
    features = np.zeros((FEATURES, 200, 200), np.float32)
    features[FAR] = disks(14)
    half = disks(14)
    half[:, 100:] = False
    sizes = [score([disks(r).astype(np.int32)], [features], mpp=0.25) for r in (14, 10, 18)]
    missed = score([half.astype(np.int32)], [features], mpp=0.25)
    assert sizes[0] == max(sizes)
    assert sizes[0] > missed
    assert score([np.zeros((200, 200), np.int32)], [features], mpp=0.25) == 0
