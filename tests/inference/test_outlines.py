"""Label images to polygons on the slide."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsipsm.inference.measure import measure
from wsipsm.inference.outlines import outlines
from wsipsm.types import MEASUREMENTS


def disk(radius: int, at: tuple[int, int] = (40, 50), shape: tuple[int, int] = (90, 110)):
    y, x = np.indices(shape)
    return ((y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2).astype(np.int32)


@given(
    st.tuples(st.integers(0, 10**5), st.integers(0, 10**5)), st.sampled_from([1.0, 0.5, 2.0, 0.377])
)
def test_a_pixel_lies_where_it_is_on_the_slide(origin: tuple[int, int], scale: float) -> None:
    labels = np.zeros((5, 7), np.int32)
    labels[1:4, 2:6] = 1
    (polygon,) = outlines(labels, origin=origin, scale=scale)
    x0, y0, x1, y1 = np.array(polygon.bounds) / scale
    wanted = [origin[1] + 2, origin[0] + 1, origin[1] + 6, origin[0] + 4]
    np.testing.assert_allclose([x0, y0, x1, y1], wanted, atol=0.1)


@pytest.mark.parametrize("radius", [4, 9, 20])
def test_area_and_centre_are_those_of_the_pixels(radius: int) -> None:
    labels = disk(radius)
    (polygon,) = outlines(labels, origin=(0, 0), scale=1.0)
    assert polygon.is_valid
    assert polygon.area == pytest.approx(labels.sum(), rel=0.3 / radius)
    assert (polygon.centroid.x, polygon.centroid.y) == pytest.approx((50.5, 40.5), abs=0.1)
    assert len(polygon.exterior.coords) < 14 * np.sqrt(radius)


def test_the_same_object_has_the_same_polygon_in_any_label_image() -> None:
    labels = disk(9)
    (whole,) = outlines(labels, origin=(1000, 2000), scale=0.377)
    (part,) = outlines(labels[20:70, 30:75], origin=(1020, 2030), scale=0.377)
    assert shapely.to_wkb(whole) == shapely.to_wkb(part)


def test_of_pieces_the_longest_outline_is_taken_and_nothing_gives_nothing() -> None:
    labels = disk(9)
    labels[80, 100] = 1
    (polygon,) = outlines(labels, origin=(0, 0), scale=1.0)
    assert polygon.bounds[2] < 70
    assert len(outlines(np.zeros((4, 4), np.int32), origin=(0, 0), scale=1.0)) == 0


def test_measurements_are_in_microns() -> None:
    labels = disk(20)
    labels[60:80, 90:94] = 2
    polygons = outlines(labels, origin=(0, 0), scale=2.0)
    density = np.zeros((2, *labels.shape), np.float32)
    density[0][labels == 1] = 0.7
    density[1][labels == 2] = 0.4
    found = measure(labels, polygons, density, mpp=0.5, slide_mpp=0.25, ring_um=2)
    assert list(found) == list(MEASUREMENTS)
    assert found["area_um2"][0] == pytest.approx(np.pi * 10**2, rel=0.03)
    assert found["perimeter_um"][0] == pytest.approx(2 * np.pi * 10, rel=0.02)
    assert found["major_axis_um"] == pytest.approx([20, 11.5], rel=0.03)
    assert found["circularity"][0] > 0.9 > 0.6 > found["circularity"][1]
    assert found["eccentricity"][1] > 0.9 > 0.2 > found["eccentricity"][0]
    assert (found["solidity"] > 0.95).all()
    assert found["haematoxylin_mean"] == pytest.approx([0.7, 0], abs=1e-3)
    assert found["counterstain_mean"] == pytest.approx([0, 0.4], abs=1e-3)


def test_ring_is_measured_around_each_cell_whatever_lies_there() -> None:
    labels = disk(9) + 2 * disk(6, at=(40, 67))
    y, x = np.indices(labels.shape)
    distance = np.hypot(y - 40, x - 50)
    density = np.zeros((2, *labels.shape), np.float32)
    density[0] = np.where(distance < 12, 0.2, 0.8)
    density[1] = x
    polygons = outlines(labels, origin=(0, 0), scale=1.0)
    known = {"mpp": 0.5, "slide_mpp": 0.5}
    near = measure(labels, polygons, density, ring_um=1, **known)
    assert near["haematoxylin_ring_mean"][0] == pytest.approx(0.2, abs=1e-6)
    assert near["haematoxylin_ring_std"][0] == pytest.approx(0, abs=1e-6)
    far = measure(labels, polygons, density, ring_um=3, **known)
    inside = (distance > 9) & (distance < 12)
    share = inside.sum() / ((distance > 9) & (distance <= 15)).sum()
    mean = 0.8 - 0.6 * share
    assert far["haematoxylin_ring_mean"][0] == pytest.approx(mean, abs=0.02)
    assert far["haematoxylin_ring_std"][0] == pytest.approx(
        0.6 * np.sqrt(share * (1 - share)), abs=0.02
    )
    assert far["counterstain_ring_mean"] == pytest.approx([50, 67], abs=0.5)
    alone = measure(disk(9), polygons[:1], density, ring_um=3, **known)
    assert all(alone[name][0] == far[name][0] for name in far)


def test_cell_that_fills_everything_has_no_ring() -> None:
    labels = np.ones((8, 8), np.int32)
    density = np.ones((2, 8, 8), np.float32)
    polygons = np.array([shapely.box(0, 0, 8, 8)])
    found = measure(labels, polygons, density, mpp=0.5, slide_mpp=0.5, ring_um=2)
    assert np.isnan(found["haematoxylin_ring_mean"]).all()
    assert found["haematoxylin_mean"] == pytest.approx([1])


def test_nothing_has_no_measurements() -> None:
    empty = np.zeros((8, 8), np.int32)
    density = np.ones((2, 8, 8), np.float32)
    found = measure(empty, np.empty(0, object), density, mpp=0.5, slide_mpp=0.5, ring_um=2)
    assert {len(values) for values in found.values()} == {0}
