"""The plain controls, on drawn and on real nuclei."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.color import rgb2hed
from skimage.io import imread

from wsipsm.evaluation import controls
from wsipsm.evaluation.metrics import score_labels
from wsipsm.models.encoder import Encoder, activation_maps, frozen
from wsipsm.models.input import to_input

DATA = Path(os.environ.get("WSIPSM_TEST_DATA", "../shared/data")) / "monuseg_train"
MPP = 0.25

real_data = pytest.mark.real_data
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no test data: set WSIPSM_TEST_DATA")


def drawn(seed=0, size=160):
    """RGB (3, y, x) with dark purple disks on pink, and their label image."""
    generator = np.random.default_rng(seed)
    image = np.full((3, size, size), 0, float) + np.array([230, 190, 215])[:, None, None]
    labels = np.zeros((size, size), int)
    y, x = np.mgrid[:size, :size]
    for index, (row, col) in enumerate(np.ndindex(4, 4), start=1):
        disk = (y - 20 - 40 * row) ** 2 + (x - 20 - 40 * col) ** 2 < 11**2
        image[:, disk] = np.array([90, 60, 150])[:, None]
        labels[disk] = index
    return np.clip(image + generator.normal(0, 4, image.shape), 0, 255).astype(np.uint8), labels


def fields():
    for path in sorted((DATA / "images").glob("*.tif")):
        image = np.ascontiguousarray(np.moveaxis(imread(path)[..., :3], -1, 0))
        yield image, imread(DATA / "labels" / f"{path.stem}.png").astype(np.int64)


def stain_otsu(image):
    density = controls.plain_density(image, "he", mpp=MPP)
    return controls.split(density > controls.otsu(density[::4, ::4]), mpp=MPP)


def rgb_kmeans(image):
    density = controls.plain_density(image, "he", mpp=MPP)
    pixels = image[:, ::8, ::8].reshape(3, -1).T
    centres = controls.rgb_clusters(pixels, density[::8, ::8].ravel(), seed=0)
    return controls.split(controls.nearest_first(image, centres), mpp=MPP)


def untrained_psm(image):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = frozen(Encoder("resnet18"))
    size = 32 * (min(image.shape[1:]) // 32)
    maps = activation_maps(network, to_input(image[None, :, :size, :size]))[0].numpy()
    density = controls.plain_density(image, "he", mpp=MPP)[:size:4, :size:4]
    fit = controls.fit_maps(maps.reshape(len(maps), -1), density.ravel())
    mask = np.zeros(image.shape[1:], bool)
    mask[:size, :size] = controls.enlarge(fit.apply(maps), 4) > fit.threshold
    return controls.split(mask, mpp=MPP)


@pytest.mark.parametrize(("stain", "columns"), [("he", [0]), ("ihc", [0, 2])])
def test_density_is_that_of_scikit_image(stain, columns):
    image, _ = drawn()
    stains = rgb2hed(np.moveaxis(image, 0, -1))[..., columns].sum(axis=-1)
    density = controls.plain_density(image, stain, mpp=0.5)
    assert np.allclose(density, gaussian_filter(stains, 0.75), atol=1e-5)


@pytest.mark.parametrize("control", [stain_otsu, rgb_kmeans])
def test_drawn_nuclei_are_found(control):
    image, truth = drawn()
    scores = score_labels(truth, control(image))
    assert scores["f1"] == 1
    assert scores["aji"] > 0.85


def test_the_untrained_map_is_oriented_by_stain():
    image, truth = drawn()
    assert score_labels(truth, untrained_psm(image))["dice"] > 0.3


def test_the_first_cluster_is_the_densest_whatever_the_seed():
    image, truth = drawn()
    density = controls.plain_density(image, "he", mpp=MPP)
    pixels = image.reshape(3, -1).T
    for seed in range(3):
        centres = controls.rgb_clusters(pixels, density.ravel(), seed=seed)
        mask = controls.nearest_first(image, centres)
        assert (mask == (truth > 0)).mean() > 0.95


def test_a_blank_tile_has_no_objects():
    image = np.full((3, 64, 64), 255, np.uint8)
    assert not stain_otsu(image).any()
    assert not rgb_kmeans(image).any()


def test_a_constant_map_has_no_objects():
    fit = controls.fit_maps(np.ones((2, 50), np.float32), np.arange(50, dtype=np.float32))
    assert not (fit.apply(np.ones((2, 5), np.float32)) > fit.threshold).any()


@given(st.integers(0, 1000))
def test_enlarging_is_linear_interpolation_at_the_strides(seed):
    coarse = np.random.default_rng(seed).random((5, 6)).astype(np.float32)
    y, x = np.mgrid[:20, :24] / 4
    expected = map_coordinates(coarse, [y, x], order=1, mode="nearest")
    assert np.allclose(controls.enlarge(coarse, 4), expected, atol=1e-6)


@real_data
@needs_data
@pytest.mark.slow
def test_stain_otsu_reaches_its_known_aji_on_real_fields():
    aji = [score_labels(truth, stain_otsu(image))["aji"] for image, truth in fields()]
    assert len(aji) == 8
    assert 0.35 <= np.mean(aji) <= 0.45


@real_data
@needs_data
def test_the_order_of_the_controls_on_a_real_field():
    image, truth = next(fields())
    stain, rgb, psm = (
        score_labels(truth, control(image))["aji"]
        for control in (stain_otsu, rgb_kmeans, untrained_psm)
    )
    assert stain > 0.3
    assert rgb > 0.2
    assert psm < stain
