"""The pool covers the cohort evenly, and gives back what was laid into it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wsipsm.io.specimens import Specimens
from wsipsm.training.cohort import open_cohort
from wsipsm.training.doubt import with_doubts
from wsipsm.training.goals import FULL, GOALS
from wsipsm.training.pool import Pool
from wsipsm.training.samples import Samples
from wsipsm.training.targets import IGNORE


def draw(products, folder: Path, head: str) -> Pool:
    cohort = open_cohort([(products.tiles, products.pseudomasks)] * 2)
    pool = Pool(
        cohort, folder, count=9, side_px=128, annotated_share=0.5, seed=3, goal=GOALS[head]
    )  # fmt: skip
    for place in pool.places:
        pool.fill(place)
    return pool


@pytest.fixture
def drawn(products, tmp_path: Path) -> Pool:
    return draw(products, tmp_path, "distance")


def test_slides_count_alike_and_no_tile_comes_twice_early(drawn) -> None:
    counts = Counter(place.slide for place in drawn.places)
    assert sorted(counts.values()) == [4, 5]
    assert not any(place.annotated for place in drawn.places)
    assert len({(place.slide, place.region) for place in drawn.places}) == 9
    for place in drawn.places:
        grid = drawn.cohort[place.slide].tiles.grid
        assert 0 <= place.region.y <= grid.height_px - 128
        assert 0 <= place.region.x <= grid.width_px - 128


def test_labels_of_a_round_come_back(drawn) -> None:
    place = drawn.places[4]
    classes, instances = drawn.cohort[place.slide].labels(place.region)
    first = drawn.labels(0, place)
    doubted = with_doubts(classes, instances)
    rims = first[0] != doubted
    assert (first[0][rims] == 0).all()
    assert (doubted[rims] == IGNORE).all()
    assert 0 < rims.mean() < 0.2
    assert ((first[1] > 0) == (instances > 0)).all()
    assert first[1].max() == FULL
    assert not drawn.has(1, place)
    drawn.write(1, place, np.full((128, 128), 255), np.zeros((128, 128), int))
    assert drawn.has(1, place)
    assert (drawn.labels(1, place)[0] == 255).all()


def test_later_rounds_keep_some_of_the_first_labels(drawn) -> None:
    for place in drawn.places:
        drawn.write(1, place, np.full((128, 128), 255), np.zeros((128, 128), int))
    samples = Samples(drawn, labels=1, side_px=64, batch=8, seed=0)
    ignored = [bool((samples(0, index)[1] == 255).all()) for index in range(60)]
    assert 0.6 < np.mean(ignored) < 0.9


def test_the_tiles_of_a_part_of_a_batch_come_from_one_slide(drawn) -> None:
    def slide_of(step: int, index: int) -> int:
        return drawn.draw(np.random.default_rng(index), np.random.default_rng(step)).slide

    slides = [{slide_of(step, index) for index in range(6)} for step in range(20)]
    assert all(len(found) == 1 for found in slides)
    assert len(set.union(*slides)) == 2
    assert {len(found) for found in drawn.of_specimens(drawn.places)} == {4, 5}


def test_each_half_of_a_slide_that_is_a_specimen_is_learnt_on_its_own(
    products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = np.array([[0, 1]], np.uint16)
    monkeypatch.setattr(
        "wsipsm.training.pool.specimens_of",
        lambda slide: Specimens(halves, slide.image.shape[1:]),
    )
    cohort = open_cohort([(products.tiles, products.pseudomasks)] * 2)
    pool = Pool(
        cohort, tmp_path, count=16, side_px=128, annotated_share=0.5, seed=3, goal=GOALS["distance"]
    )
    width = cohort[0].tiles.grid.width_px
    for place in pool.places:
        pool.fill(place)
        assert place.specimen == (place.region.x + 64 >= width / 2)
    groups = pool.of_specimens(pool.places)
    known = [{(place.slide, place.specimen) for place in group} for group in groups]
    assert all(len(each) == 1 for each in known)
    assert set.union(*known) == {(slide, half) for slide in range(2) for half in range(2)}
    assert len(groups) == 4  # though the halves took turns
    for step in range(20):
        drawn = [pool.draw(np.random.default_rng(index), np.random.default_rng(step))
                 for index in range(6)]  # fmt: skip
        assert all(place.beside(drawn[0]) for place in drawn)
    seen = []
    see = SimpleNamespace(look=seen.append, knowing=lambda known: known)
    pool.met(see, groups[0])
    np.testing.assert_array_equal(seen[0], np.stack([pool.image(place) for place in groups[0]]))
    lonely = replace(pool.places[0], specimen=7)  # annotated, and drawn for nothing else
    pool.met(see, [lonely])
    np.testing.assert_array_equal(seen[1], pool.image(lonely)[None])


def test_a_sample_is_the_same_in_every_process(drawn) -> None:
    samples = Samples(drawn, labels=0, side_px=64, batch=8, seed=0)
    for first, second in zip(samples(3, 1), samples(3, 1), strict=True):
        assert torch.equal(first, second)
    image, classes, distance = samples(3, 1)
    assert image.shape == (3, 64, 64)
    assert classes.dtype == torch.int64
    assert ((distance > 0) <= (classes > 0)).all()
    assert float(distance.max()) <= 1


def test_offsets_are_those_of_the_objects_as_they_lie_in_a_sample(products, tmp_path: Path) -> None:
    pool = draw(products, tmp_path, "hv")
    place = pool.places[0]
    classes, pieces = pool.labels(0, place)
    assert ((pieces > 0) == (pool.cohort[place.slide].labels(place.region)[1] > 0)).all()
    assert classes.max() == IGNORE
    samples = Samples(pool, labels=0, side_px=64, batch=8, seed=0)
    rises = []
    for index in range(12):
        _, classes, maps = samples(0, index)
        assert maps.shape == (2, 64, 64)
        assert maps.abs().max() <= 1
        inside = (maps != 0).any(dim=0)
        assert (inside <= (classes > 0)).all()
        for offsets, own in ((maps[0], inside), (maps[1].T, inside.T)):
            rises.append((offsets[:, 2:] - offsets[:, :-2])[own[:, 2:] & own[:, :-2]])
    rise = torch.cat(rises)
    assert len(rise) > 500
    assert (rise > 0).float().mean() > 0.9  # to the right and downwards, whatever the turn
