"""The choice of a labeller without truth."""

import numpy as np
import pytest

from wsipsm.pseudomasks.choice import AGREE, MARGIN, choose, kappa


def test_kappa_is_1_of_the_same_0_by_chance_and_0_of_a_constant() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 20_000)) < 0.3
    assert kappa(one, one) == pytest.approx(1)
    assert kappa(one, other) == pytest.approx(0, abs=0.03)
    assert kappa(np.ones(9, bool), np.ones(9, bool)) == 0
    assert kappa(one, ~one) < -0.5


def test_the_map_is_followed_only_where_it_agrees_and_its_objects_are_better() -> None:
    better = {"stain": 0.5, "cluster": 0.5 * (1 + MARGIN) + 0.01}
    assert choose(better, agreement=AGREE).method == "cluster"
    assert choose(better, agreement=AGREE - 0.01).method == "stain"
    assert choose({"stain": 0.5, "cluster": 0.51}, agreement=1).method == "stain"
    for agreement in (0, 1):
        chosen = choose(better, agreement=agreement)
        assert chosen.reason.startswith(f"{chosen.method}: ")
        assert chosen.reason.endswith(".")
