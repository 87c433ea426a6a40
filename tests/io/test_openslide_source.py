"""OpenSlide: scanned areas, levels that are not a whole number smaller, opacity."""

from pathlib import Path

import numpy as np
import tifffile

from wsipsm.io.openslide_source import resolution_of
from wsipsm.io.slide import open_slide
from wsipsm.io.source import bounds_of, on_white
from wsipsm.types import Region


def test_bounds_from_properties() -> None:
    named = {"openslide.bounds-x": "10", "openslide.bounds-y": "20"}
    assert bounds_of(named, 100, 200) == (0, 0, 100, 200)
    named |= {"openslide.bounds-width": "50", "openslide.bounds-height": "500"}
    assert bounds_of(named, 100, 200) == (10, 20, 50, 180)
    assert bounds_of(named, 5, 5) == (0, 0, 5, 5)


def test_resolution_from_properties() -> None:
    vendor = {"openslide.vendor": "aperio", "openslide.mpp-x": "0.25", "openslide.mpp-y": "0.26"}
    found = resolution_of(vendor)
    assert found is not None
    assert (found.x, found.y, found.source) == (0.25, 0.26, "openslide.mpp-x")
    tags = {"openslide.vendor": "aperio", "tiff.ResolutionUnit": "centimeter"}
    found = resolution_of(tags | {"tiff.XResolution": "20000"})
    assert found is not None
    assert (found.x, found.y, found.source) == (0.5, 0.5, "TIFF resolution")
    assert resolution_of({"openslide.mpp-x": "nonsense", "tiff.ResolutionUnit": "none"}) is None


def test_odd_levels_stay_in_place(odd_levels: Path) -> None:
    stored = tifffile.imread(odd_levels, level=1).astype(float)
    with open_slide(odd_levels) as slide:
        assert (slide.vendor, slide.levels[1].downsample) == ("generic-tiff", 2)
        image = slide.read(Region(0, 0, 650, 700), mpp=0.5).transpose(1, 2, 0)
    assert np.abs(image - stored[:650, :700]).max() <= 2


def test_opacity_is_laid_on_white() -> None:
    half = np.asarray([[[100, 50, 0, 128]]], np.uint8)
    np.testing.assert_array_equal(on_white(half)[0, 0], [177, 152, 127])
    np.testing.assert_array_equal(on_white(half, premultiplied=True)[0, 0], [227, 177, 127])
