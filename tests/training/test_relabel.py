"""Objects that a network finds are trusted, ignored or dropped by what can be seen of them."""

import numpy as np
import pytest

from wsipsm.models.segmenter import Segmented
from wsipsm.models.shape import solidities
from wsipsm.training.relabel import relabel
from wsipsm.training.targets import IGNORE

SIDE, RADIUS = 96, 10
CENTRES = {"trusted": (24, 24), "pale": (24, 70), "unsure": (70, 24), "odd": (70, 70)}


def disk(centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.indices((SIDE, SIDE))
    return np.hypot(y - centre[0], x - centre[1]) <= radius


@pytest.fixture
def judged() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    masks = {name: disk(centre, RADIUS) for name, centre in CENTRES.items()}
    masks["odd"] &= ~disk((70, 76), RADIUS)
    labels = np.zeros((SIDE, SIDE), np.int32)
    density = np.random.default_rng(0).normal(0.2, 0.02, (SIDE, SIDE)).astype(np.float32)
    for index, (name, mask) in enumerate(masks.items(), start=1):
        labels[mask] = index
        density[mask] += 0.0 if name == "pale" else 0.5
    foreground = np.where(labels > 0, 0.95, 0.01).astype(np.float32)
    foreground[40:56, 40:56] = 0.4
    foreground[36:38, 20:28] = 0.4
    scores = np.array([0.95, 0.95, 0.6, 0.95], np.float32)
    found = Segmented(labels, np.array([2, 1, 1, 1], np.uint8), scores, np.ones_like(scores))
    return *relabel(found, foreground, density, mpp=0.25, threshold=0.5), masks


def test_a_sure_round_dark_object_is_trusted_and_its_rim_is_background(judged) -> None:
    classes, instances, masks = judged
    assert (classes[masks["trusted"]] == 2).all()
    assert len(np.unique(instances[masks["trusted"]])) == 1
    rim = disk(CENTRES["trusted"], RADIUS + 3) & ~masks["trusted"]
    assert (classes[rim] == 0).all()
    assert (instances[~masks["trusted"]] == 0).all()


@pytest.mark.parametrize(("name", "wanted"), [("pale", 0), ("unsure", IGNORE), ("odd", IGNORE)])
def test_what_is_not_dark_is_background_and_what_is_doubtful_is_ignored(
    judged, name: str, wanted: int
) -> None:
    classes, _, masks = judged
    assert (classes[masks[name]] == wanted).all()


def test_pixels_that_are_half_sure_are_ignored(judged) -> None:
    classes = judged[0]
    assert (classes[40:56, 40:56] == IGNORE).all()
    assert (classes[:10, :10] == 0).all()


def test_disks_are_solid_and_halves_of_rings_are_not() -> None:
    ring = disk((40, 40), 20) & ~disk((40, 40), 14)
    ring[:, 44:] = False
    labels = np.where(ring, 2, 0) + np.where(disk((80, 80), 10), 1, 0)
    whole, half = solidities(labels.astype(np.int32))
    assert whole > 0.9
    assert half < 0.6
