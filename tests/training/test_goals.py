"""What the heads are punished for."""

import numpy as np
import pytest
import torch

from wsipsm.models.heads import HEADS
from wsipsm.training.goals import GOALS, GRADIENT_WEIGHT
from wsipsm.training.targets import IGNORE

INSTANCES = np.zeros((32, 48), np.int64)
INSTANCES[8:24, 6:24], INSTANCES[8:24, 24:40] = 2**40, 7
CLASSES = torch.from_numpy((INSTANCES > 0).astype(np.int64))[None]


def wanted_of(head: str) -> torch.Tensor:
    """What a head is to say of two objects that touch, (1, channels, y, x)."""
    kept = torch.from_numpy(GOALS[head].keep(INSTANCES)).float()  # as a turn leaves it
    return GOALS[head].target(kept)[None]


def test_every_head_has_a_goal_of_as_many_maps() -> None:
    assert GOALS.keys() == HEADS.keys()
    for name, head in HEADS.items():
        assert wanted_of(name).shape == (1, head.channels, *INSTANCES.shape)
        assert wanted_of(name).dtype == torch.float32


@pytest.mark.parametrize("head", GOALS)
def test_the_truth_costs_nothing_and_what_is_unknown_does_not_matter(head: str) -> None:
    wanted = wanted_of(head)
    assert GOALS[head].loss(wanted, wanted, CLASSES) == 0
    wrong = wanted + 0.3
    assert GOALS[head].loss(wrong, wanted, CLASSES) > 0.01
    classes = CLASSES.clone()
    classes[:, :, 20:], wrong[..., :20] = IGNORE, wanted[..., :20]
    assert GOALS[head].loss(wrong, wanted, classes) == 0
    assert GOALS[head].loss(wrong, wanted, torch.full_like(classes, IGNORE)) == 0


def test_offsets_cost_the_squares_of_their_errors_and_of_their_gradients() -> None:
    wanted = wanted_of("hv")
    loss = GOALS["hv"].loss
    shifted = wanted + torch.tensor([0.3, 0.4])[:, None, None]  # gradients are right
    assert float(loss(shifted, wanted, CLASSES)) == pytest.approx(0.25)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    leaning = torch.stack([0.1 * x, 0.2 * y])
    plain = float((leaning**2).sum(dim=0).mean())
    steep = GRADIENT_WEIGHT * (0.1**2 + 0.2**2)
    assert float(loss(wanted + leaning, wanted, CLASSES)) == pytest.approx(plain + steep, rel=1e-5)
    across = torch.stack([0.1 * y, 0.2 * x])  # gradients count along the map's own axis alone
    plain = float((across**2).sum(dim=0).mean())
    assert float(loss(wanted + across, wanted, CLASSES)) == pytest.approx(plain, rel=1e-5)
