"""Parts of nuclei teach nothing, and neither does what may be the rest of them."""

import numpy as np
import pytest

from wsipsm.training.doubt import with_doubts
from wsipsm.training.targets import IGNORE

SIDE, RADIUS = 160, 12
WHOLE = [(30, 30), (30, 80), (30, 130), (80, 130)]
DOUBTFUL = (110, 50)


def disk(centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.indices((SIDE, SIDE))
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def scene(doubtful: np.ndarray, *, known: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Classes and instances of whole nuclei, and of one more object."""
    instances = np.zeros((SIDE, SIDE), np.int64)
    for number, centre in enumerate(WHOLE, start=2**40):
        instances[disk(centre, RADIUS)] = number
    instances[doubtful] = 7
    classes = np.where(instances > 0, 1, 0).astype(np.uint8)
    classes[doubtful] = known
    return classes, instances


SMALL = disk(DOUBTFUL, RADIUS / 2)
RAGGED = disk(DOUBTFUL, RADIUS) & ~disk((110, 58), RADIUS)
UNSURE = disk(DOUBTFUL, RADIUS)


@pytest.mark.parametrize(
    ("mask", "known"),
    [(SMALL, 1), (RAGGED, 1), (UNSURE, IGNORE)],
    ids=["small", "ragged", "unsure"],
)
def test_a_doubtful_object_is_ignored_as_far_as_the_rest_of_it_may_reach(
    mask: np.ndarray, known: int
) -> None:
    classes, instances = scene(mask, known=known)
    found = with_doubts(classes, instances)
    assert (found[mask] == IGNORE).all()
    beyond = ~disk(DOUBTFUL, 2 * RADIUS + 2)
    np.testing.assert_array_equal(found[beyond], classes[beyond])
    assert (found[SMALL] == IGNORE).all()
    edge = np.argwhere(mask)[0]
    assert found[edge[0] - RADIUS + 2, edge[1]] == IGNORE


def test_whole_objects_stay_beside_a_doubtful_one() -> None:
    classes, instances = scene(disk((80, 112), 4))
    found = with_doubts(classes, instances)
    np.testing.assert_array_equal(found[instances >= 2**40], 1)
    assert found[80, 112] == IGNORE


@pytest.mark.parametrize("known", [0, 1])
def test_whole_objects_and_none_change_nothing(known: int) -> None:
    classes, instances = scene(np.zeros((SIDE, SIDE), bool))
    classes, instances = classes * known, instances * known
    np.testing.assert_array_equal(with_doubts(classes, instances), classes)


def test_parts_hardly_move_what_is_typical() -> None:
    classes, instances = scene(SMALL)
    for number, x in enumerate(range(10, SIDE, 12), start=100):
        spot = disk((150, x), 4)
        classes[spot], instances[spot] = 1, number
    found = with_doubts(classes, instances)
    assert (found[instances >= 2**40] == 1).all()
    assert (found[(instances > 0) & (instances < 2**40)] == IGNORE).all()
