"""The paper's arithmetic on pictures made by hand."""

import numpy as np
import torch

from wsipsm.benchmark import paper
from wsipsm.models.encoder import Encoder, frozen

MPP = 0.25
PINK, PURPLE, BROWN, WHITE = (235, 190, 215), (90, 60, 150), (120, 70, 30), (250, 250, 250)


def picture(*spots: tuple[int, int, tuple[int, int, int]], size: int = 96) -> np.ndarray:
    image = np.full((size, size, 3), PINK, np.uint8)
    y, x = np.mgrid[:size, :size]
    for row, col, colour in spots:
        image[(y - row) ** 2 + (x - col) ** 2 <= 64] = colour
    return image.transpose(2, 0, 1).copy()


def darkness(image: np.ndarray) -> np.ndarray:
    dark = 255 - image.mean(axis=0)
    return ((dark - dark.min()) / max(float(np.ptp(dark)), 1)).astype(np.float32)


def test_nuclei_are_dark_and_hot() -> None:
    image = picture((20, 20, PURPLE), (60, 60, PURPLE))
    classes = paper.jet_classes(image, darkness(image), clusters=3, classes=1, seed=0)
    assert (classes == (image[0] == PURPLE[0])).all()


def test_of_two_classes_the_browner_is_the_second() -> None:
    image = picture((20, 20, PURPLE), (60, 60, BROWN))
    classes = paper.jet_classes(image, darkness(image), clusters=3, classes=2, seed=0)
    assert classes[20, 20] == 1
    assert classes[60, 60] == 2
    assert classes[40, 20] == 0


def test_an_empty_tile_stays_empty() -> None:
    noise = np.random.default_rng(0).integers(245, 255, (3, 64, 64)).astype(np.uint8)
    assert not paper.jet_classes(noise, darkness(noise), clusters=3, classes=1, seed=0).any()


def test_small_objects_go_and_holes_are_filled() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[10:30, 10:30] = 1
    mask[18:22, 18:22] = 0
    mask[50:53, 50:53] = 1  # 0.6 square microns
    tidy = paper.tidy_classes(mask, mpp=MPP)
    assert tidy[20, 20] == 1
    assert not tidy[45:].any()


def test_touching_nuclei_are_one_component_and_classes_are_not() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[10:30, 10:30] = 1
    mask[10:30, 30:50] = 2
    mask[40:55, 10:50] = 1
    assert paper.components(mask, mpp=MPP).max() == 3


def test_peaks_within_twenty_pixels_are_one_point() -> None:
    y, x = np.mgrid[:120, :120]
    height = np.zeros((120, 120), np.float32)
    for row, col in ((20, 20), (20, 34), (90, 90)):
        height = np.maximum(height, np.exp(-((y - row) ** 2 + (x - col) ** 2) / 30))
    points = paper.peaks(height.astype(np.float32), mpp=MPP)
    assert sorted(map(tuple, points)) == [(20, 27), (90, 90)]
    assert paper.peaks(np.zeros((20, 20), np.float32), mpp=MPP).shape == (0, 2)


def test_points_teach_borders_and_disks() -> None:
    classes = np.ones((40, 80), np.uint8)
    found = paper.voronoi(np.array([[20, 20], [20, 60]]), classes, mpp=MPP)
    assert (found[:, 20][18:23] == 1).all()
    assert (found == 1).sum() == 2 * 13  # a disk of radius 2 px
    assert np.unique(np.nonzero(found == 0)[1]).tolist() in ([39, 40], [40, 41])
    assert found[20, 30] == paper.IGNORE
    assert (paper.voronoi(np.zeros((0, 2), int), classes, mpp=MPP) == paper.IGNORE).all()


def test_a_map_of_a_tile_uses_its_own_range() -> None:
    torch.manual_seed(0)
    encoder = frozen(Encoder("resnet18"))
    values = paper.own_map(encoder, picture((40, 40, PURPLE), size=64))
    assert values.shape == (64, 64)
    assert (values.min(), values.max()) == (0, 1)
