"""Segment Anything behind the seam: points on a tile, and the cells that stand there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsipsm.config import Inference, Prompting
from wsipsm.models.sam import build_sam
from wsipsm.models.sam_prompts import Centres, Grid, PseudomaskCentres, centres_of_labels
from wsipsm.models.sam_segmenter import SamSegmenter, SegmenterCentres
from wsipsm.models.segmenter import UNetSegmenter
from wsipsm.models.unet import Committee
from wsipsm.types import Region

from .sam_files import published, shake, vit_sam

CELLS = {(30.5, 41.0): 9, (90.0, 30.0): 7, (100.0, 101.5): 11}
"""Row and column of the centre of each disk on the tile, and its radius."""


class Knowing(nn.Module):
    """A model that answers what is right: the dark disk at a point, and whether there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))
        self.image_encoder = nn.AvgPool2d(4)
        self.prompt_encoder = Asked()
        self.mask_decoder = Answer()


class Asked(nn.Module):
    def get_dense_pe(self) -> None:
        return None

    def forward(self, points: tuple[Tensor, Tensor], **_: None) -> tuple[Tensor, None]:
        return points[0][:, 0] + 0.5, None


class Answer(nn.Module):
    steep = 1.0

    def forward(self, image_embeddings: Tensor, sparse_prompt_embeddings: Tensor, **_: object):
        dark = (150 - image_embeddings[0, 0]) / 30
        rows, cols = torch.meshgrid(*map(torch.arange, dark.shape), indexing="ij")
        masks, scores = [], []
        for x, y in sparse_prompt_embeddings / 4:
            near = torch.hypot(rows + 0.5 - y, cols + 0.5 - x) < 9
            masks.append(self.steep * torch.where(near, dark, -3.0))
            scores.append(dark[int(y), int(x)] > 0)
        return torch.stack(masks)[:, None], torch.tensor(scores).float()[:, None] * 0.9


@pytest.fixture
def tile() -> np.ndarray:
    y, x = np.indices((128, 128)) + 0.5
    image = np.full((3, 128, 128), 240, np.uint8)
    for (row, col), radius in CELLS.items():
        image[:, np.hypot(y - row, x - col) < radius] = 60
    return image


def known(classes: list[int], *, off: float = 0.0):
    """A source of centres that knows all cells, and one point where there is none."""
    points = np.array([*CELLS, (60.0, 64.0)]) + off
    return lambda images, _: [(points, np.array([*classes, 1], np.uint8)) for _ in images]


def segmenter(prompter, **changes: float) -> SamSegmenter:
    return SamSegmenter(
        Knowing(), prompter, Prompting(batch=2, **changes), input_px=128, min_area_px=20
    )


def areas(labels: np.ndarray) -> list[int]:
    return np.bincount(labels.ravel())[1:].tolist()


@pytest.mark.parametrize("view_px", [128, 64, 160])
def test_a_point_gives_its_cell_with_class_and_score(tile: np.ndarray, view_px: int) -> None:
    prompter = Centres(known([2, 1, 3]), view_px=view_px)
    (found,) = segmenter(prompter, min_stability=0.4)(tile[None], [])
    centres = {
        found.labels[int(y), int(x)]: (kind, np.pi * radius**2)
        for ((y, x), radius), kind in zip(CELLS.items(), (2, 1, 3), strict=True)
    }
    assert sorted(centres) == [1, 2, 3]
    for number, area in enumerate(areas(found.labels), start=1):
        kind, wanted = centres[number]
        assert found.classes[number - 1] == kind
        assert abs(area / wanted - 1) < 0.25
    np.testing.assert_allclose(found.scores, 0.9, rtol=1e-5)


def test_a_grid_of_points_gives_each_cell_once(tile: np.ndarray) -> None:
    (found,) = segmenter(Grid(side=12))(tile[None], [])
    (wanted,) = segmenter(Centres(known([1, 1, 1]), view_px=128))(tile[None], [])
    assert len(found.scores) == 3
    assert abs(np.subtract(sorted(areas(found.labels)), sorted(areas(wanted.labels)))).max() < 30


def test_the_network_that_says_where_to_ask_sees_a_specimen_by_its_own_statistics(
    tile: np.ndarray,
) -> None:
    alone = segmenter(Grid(side=2))
    assert alone.look(tile[None]) == {}
    assert alone.knowing({}) is alone
    finder = UNetSegmenter(
        Committee.of("small", classes=1, members=1).eval(), settings=Inference(), mpp=0.5
    )
    plain = replace(segmenter(Centres(SegmenterCentres(finder), view_px=64)), finder=finder)
    known = plain.look(tile[None])
    other = plain.knowing(known)
    assert other.sam is plain.sam
    assert isinstance(other.prompter, Centres)
    assert other.prompter.view_px == 64
    assert other.prompter.source.segmenter is other.finder
    buffers = dict(other.finder.network.named_buffers())
    assert all(np.array_equal(buffers[name].numpy(), value) for name, value in known.items())


def test_unsure_and_unstable_masks_are_no_cells(tile: np.ndarray) -> None:
    unsure = segmenter(Centres(known([1, 1, 1]), view_px=128), min_score=0.95)
    unstable = segmenter(Centres(known([1, 1, 1]), view_px=128))
    unstable.sam.mask_decoder.steep = 0.4
    for each in (unsure, unstable):
        (found,) = each(tile[None], [])
        assert len(found.scores) == len(found.classes) == found.labels.max() == 0


def test_a_tile_without_points_has_no_cells(tile: np.ndarray) -> None:
    nothing = Centres(
        lambda images, _: [(np.zeros((0, 2)), np.zeros(0, np.uint8)) for _ in images], view_px=64
    )
    found = segmenter(nothing)(np.stack([tile, tile]), [])
    assert [each.labels.max() for each in found] == [0, 0]


def test_points_asked_in_other_batches_give_the_same(tile: np.ndarray) -> None:
    sam = build_sam(published(shake(vit_sam(), seed=3)), input_px=128)
    made = SamSegmenter(
        sam, Grid(side=4), Prompting(min_score=0, min_stability=0, max_overlap=1), 128, 1
    )
    first = made(tile[None], [])
    other = replace(made, settings=made.settings.model_copy(update={"batch": 5}))
    np.testing.assert_array_equal(first[0].labels, other(tile[None], [])[0].labels)


def test_every_point_lies_well_inside_its_view() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 704, (300, 2))
    source = lambda images, _: [(points, np.ones(300, np.uint8)) for _ in images]  # noqa: E731
    (views,) = Centres(source, view_px=256)(np.zeros((1, 3, 704, 704), np.uint8), [])
    assert sum(len(each.points) for each in views) == 300
    for each in views:
        low, high = (each.view.y, each.view.x), (each.view.y + 256, each.view.x + 256)
        inner = (each.points > np.maximum(np.array(low) + 30, 0) * (np.array(low) > 0)).all()
        outer = (each.points < np.where(np.array(high) < 704, np.array(high) - 30, 704)).all()
        assert inner
        assert outer


def test_pseudo_masks_give_their_centres_wherever_they_are_cut(products) -> None:
    source = PseudomaskCentres(products.pseudomasks)
    whole = Region(0, 0, 512, 512)
    ((points, classes),) = source(np.zeros(1), [whole])
    assert len(points) > 50
    assert (classes == 1).all()
    part = Region(100, 130, 150, 200)
    ((some, _),) = source(np.zeros(1), [part])
    inside = ((points >= (100, 130)) & (points < (250, 330))).all(axis=1)
    assert len(some) > 5
    moved = {tuple(point) for point in some + np.array([100, 130])}
    # an object that only touches the part with its centre is known too
    assert moved <= {tuple(point) for point in points[inside]}
    assert len(moved) > 0.95 * inside.sum()


def test_the_centre_of_a_bent_object_lies_on_it() -> None:
    labels = np.zeros((40, 40), np.int32)
    y, x = np.indices((40, 40))
    away = np.hypot(y - 20, x - 20)
    labels[(away < 14) & (away > 9) & (x > 14)] = 1
    labels[2:4, 2:9] = 2
    points = centres_of_labels(labels)
    assert [labels[int(row), int(col)] for row, col in points] == [1, 2]
    assert centres_of_labels(np.zeros((5, 5), np.int32)).shape == (0, 2)
