"""OpenSlide: scanned areas, levels that are not a whole number smaller, opacity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from wsipsm.io.openslide_source import resolution_of
from wsipsm.io.slide import Slide, open_slide
from wsipsm.io.source import bounds_of, on_white
from wsipsm.types import Region

SCN_IMAGE = """<image name="i" uuid="urn:uuid:{ifd}">
<creationDate>2020-01-01T00:00:00Z</creationDate>
<device model="Leica SCN400" version="1"/><pixels sizeX="{width}" sizeY="{height}">
<dimension sizeX="{width}" sizeY="{height}" r="0" ifd="{ifd}"/></pixels><view {view} spacingZ="0"/>
<scanSettings><objectiveSettings><objective>{power}</objective></objectiveSettings>
<illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"""


@pytest.fixture
def scanned(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(colour[:512].repeat(2, axis=1)[:, :1024])


@pytest.fixture
def leica(tmp_path: Path, tiled: dict[str, Any], scanned: NDArray[np.uint8]) -> Path:
    """Draw a Leica SCN of 2000 x 1600 pixels, of which 1024 x 512 at (400, 600) are scanned."""
    macro = 'sizeX="1000000" sizeY="800000" offsetX="0" offsetY="0"'
    scan = 'sizeX="512000" sizeY="256000" offsetX="200000" offsetY="300000"'
    images = SCN_IMAGE.format(ifd=0, width=100, height=80, view=macro, power=1)
    images += SCN_IMAGE.format(ifd=1, width=1024, height=512, view=scan, power=20)
    text = f"""<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"
    uuid="urn:uuid:8"><collection name="c" uuid="urn:uuid:9" sizeX="1000000" sizeY="800000">
    {images}</collection></scn>"""
    with tifffile.TiffWriter(tmp_path / "a.scn", bigtiff=True) as file:
        options = {**tiled, "metadata": None, "resolutionunit": 3}
        small = np.full((80, 100, 3), 200, np.uint8)
        file.write(small, description=text, resolution=(1000, 1000), **options)
        file.write(scanned, resolution=(20000, 20000), **options)
    return tmp_path / "a.scn"


def test_bounds_of_a_scanned_area(
    leica: Path, scanned: NDArray[np.uint8], whole: Callable[[Slide, float], NDArray[np.uint8]]
) -> None:
    with open_slide(leica) as slide:
        assert (slide.vendor, slide.mpp, slide.objective) == ("leica", 0.5, 20)
        assert (slide.height_px, slide.width_px) == (1600, 2000)
        assert slide.bounds == (400, 600, 1024, 512)
        image = whole(slide, 0.5)
    np.testing.assert_array_equal(image[:, 600:1112, 400:1424], scanned.transpose(2, 0, 1))
    outside = np.ones((1600, 2000), bool)
    outside[600:1112, 400:1424] = False
    assert (image[:, outside] == 255).all()


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
