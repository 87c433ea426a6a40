"""Polygons to pixels: the pixel-centre rule."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from wsipsm.io.raster import fill_polygons
from wsipsm.types import Region

from ..evaluation.conftest import outline_of

WHOLE = Region(0, 0, 40, 50)


@st.composite
def stars(draw):
    """Simple polygons around a point, in general position."""
    seed = draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    angle = np.sort(generator.uniform(0, 2 * np.pi, 9))
    radius = generator.uniform(3, 18, 9)
    centre = generator.uniform(5, 35, 2)
    points = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None] + centre
    return shapely.Polygon(points)


@given(stars(), st.sampled_from([1.0, 0.5, 1.7]))
def test_a_pixel_is_filled_when_its_centre_lies_inside(polygon, scale):
    filled = fill_polygons(np.array([polygon]), np.array([7]), WHOLE, scale=scale)
    y, x = np.mgrid[: WHOLE.height, : WHOLE.width] + 0.5
    assert np.array_equal(filled == 7, shapely.contains_xy(polygon, x * scale, y * scale))


@given(stars(), stars())
def test_a_region_shows_what_the_whole_shows(first, second):
    polygons, ids = np.array([first, second]), np.array([3, 9])
    whole = fill_polygons(polygons, ids, WHOLE)
    part = Region(7, 11, 20, 30)
    assert np.array_equal(fill_polygons(polygons, ids, part), whole[part.slices])


def test_the_later_of_two_polygons_wins():
    polygons = np.array([shapely.box(0, 0, 10, 10), shapely.box(5, 5, 15, 15)])
    filled = fill_polygons(polygons, np.array([1, 2]), WHOLE)
    assert filled[7, 7] == 2
    assert filled[2, 2] == 1


def test_pixels_on_a_shared_border_belong_to_one_of_both():
    halves = np.array([shapely.box(0, 0, 4.5, 10), shapely.box(4.5, 0, 10, 10)])
    filled = fill_polygons(halves, np.array([1, 2]), Region(0, 0, 10, 10))
    assert (filled[:, :4] == 1).all()
    assert (filled[:, 4:] == 2).all()


def test_no_polygons_fill_nothing():
    assert not fill_polygons(np.zeros(0, object), np.zeros(0, np.int64), WHOLE).any()


@settings(deadline=None)
@given(hnp.arrays(bool, (12, 14)))
def test_marching_squares_outlines_come_back_as_the_same_pixels(mask):
    # 4-connected objects: at a corner where two meet, the outlines stay apart
    objects = label(mask, connectivity=1)
    ids = np.arange(1, objects.max() + 1)
    polygons = np.array([outline_of(objects == one) for one in ids], object)
    filled = fill_polygons(polygons, ids, Region(0, 0, *mask.shape))
    assert np.array_equal(filled, objects)
