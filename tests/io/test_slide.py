"""Slides: real files, the mpp decision, and pixels that stay in place on one grid."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsipsm.io.slide import Slide, level_ratio, open_slide
from wsipsm.types import Region

Whole = Callable[[Slide, float], NDArray[np.uint8]]

DATA = Path(os.environ.get("WSIPSM_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
SLIDES = DATA / "wsi/slides"


@pytest.fixture(scope="module")
def real_slides() -> Path:
    if not SLIDES.is_dir():
        pytest.skip(f"no test data in {DATA}: set WSIPSM_TEST_DATA")
    return SLIDES


@pytest.mark.real_data
def test_what_cannot_be_decoded_is_white_and_told(real_slides: Path, whole: Whole) -> None:
    with open_slide(real_slides / "openslide_unreadable.svs") as slide:
        assert (whole(slide, slide.mpp) == 255).all()
        everything = Region(0, 0, slide.height_px, slide.width_px)
        assert slide.unreadable_share(everything, mpp=slide.mpp) == 1
        assert slide.unreadable_reason


@pytest.mark.real_data
def test_the_sheet_rescues_an_absurd_mpp(real_slides: Path) -> None:
    with open_slide(real_slides / "openslide_boxes.tiff", mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.25, "slide sheet")
        assert slide.size_at(0.5) == (125, 150)


@pytest.mark.real_data
def test_levels_of_a_real_pyramid_lie_on_each_other(real_slides: Path, whole: Whole) -> None:
    with open_slide(real_slides / "CMU-small.tiff") as slide:
        assert [level.downsample for level in slide.levels] == [1, 2, 4]
        coarse = whole(slide, slide.mpp * 4).astype(float)
        fine = whole(slide, slide.mpp).astype(float)[:, :512, :716]
    means = fine.reshape(3, 128, 4, 179, 4).mean(axis=(2, 4))
    assert np.abs(means - coarse[:, :128, :179]).mean() < 3


# One image, whatever region is asked for


def check_a_piece(path: Path, ratio: float, data: st.DataObject, whole: Whole) -> None:
    with open_slide(path) as slide:
        mpp = slide.mpp * ratio
        height, width = slide.size_at(mpp)
        y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        h, w = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
        piece = slide.read(Region(y, x, h, w), mpp=mpp)
        np.testing.assert_array_equal(piece, whole(slide, mpp)[:, y : y + h, x : x + w])


@pytest.mark.real_data
@given(st.sampled_from([1.0, 1.7, 2.0, 4.0, 4.3, 6.5]), st.data())
@settings(deadline=None, max_examples=25)
def test_pieces_of_a_real_slide(
    real_slides: Path, whole: Whole, ratio: float, data: st.DataObject
) -> None:
    check_a_piece(real_slides / "CMU-small.tiff", ratio, data, whole)


@given(st.floats(0.6, 12), st.data())
@settings(deadline=None, max_examples=25)
def test_pieces_of_an_ome_tiff(
    ome_pyramid: Path, whole: Whole, ratio: float, data: st.DataObject
) -> None:
    check_a_piece(ome_pyramid, ratio, data, whole)


@given(st.sampled_from([2.0, 2.4]), st.data())
@settings(deadline=None, max_examples=15)
def test_pieces_of_odd_levels(
    odd_levels: Path, whole: Whole, ratio: float, data: st.DataObject
) -> None:
    check_a_piece(odd_levels, ratio, data, whole)


@pytest.mark.parametrize("kind", ["ome_pyramid", "odd_levels"])
def test_threads_read_what_one_reads(kind: str, request: pytest.FixtureRequest) -> None:
    regions = [Region(y, x, 90, 80) for y in range(0, 200, 31) for x in range(0, 200, 29)]
    with open_slide(request.getfixturevalue(kind)) as slide, ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda part: slide.read(part, mpp=0.3), regions))
        alone = [slide.read(part, mpp=0.3) for part in regions]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))


def test_a_region_outside_the_grid_is_an_error(ome_pyramid: Path) -> None:
    with open_slide(ome_pyramid) as slide:
        for region in (Region(-1, 0, 5, 5), Region(0, 696, 5, 5), Region(0, 0, 0, 5)):
            with pytest.raises(ValueError, match="not inside 600 x 700 pixels"):
                slide.read(region, mpp=0.25)


# Places


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.377, 1.0, 0.2])
@pytest.mark.parametrize("kind", ["pyramid", "one level"])
def test_a_nucleus_keeps_its_place(
    tmp_path: Path, request: pytest.FixtureRequest, whole: Whole, kind: str, mpp: float
) -> None:
    y, x = np.mgrid[:901, :1003]
    centre = (841.3, 905.8)  # where pixel i covers [i, i + 1)
    far = ((y + 0.5 - centre[0]) ** 2 + (x + 0.5 - centre[1]) ** 2) / (2 * 9.0**2)
    image = np.repeat(np.rint(255 - 200 * np.exp(-far)).astype(np.uint8)[..., None], 3, axis=2)
    if kind == "pyramid":
        path = request.getfixturevalue("write_ome")(tmp_path / "a.ome.tif", image)
    else:
        tiled = request.getfixturevalue("tiled")
        path = request.getfixturevalue("write_tiff")(tmp_path / "a.tif", image, **tiled)
    with open_slide(path) as slide:
        dark = 255 - whole(slide, mpp)[0].astype(float)
        scale = mpp / slide.mpp
    rows, cols = np.indices(dark.shape) + 0.5
    found = np.asarray([(dark * rows).sum(), (dark * cols).sum()]) / dark.sum() * scale
    assert np.abs(found - centre).max() < 0.25


@pytest.mark.parametrize(
    ("full", "level", "ratio"),
    [(2220, 555, 4), (46000, 2875, 16), (32914, 2057, 16), (257, 129, 2), (700, 467, 700 / 467)],
)
def test_ratio_of_a_level(full: int, level: int, ratio: float) -> None:
    assert level_ratio(full, level) == ratio


# The decision about mpp


def test_inches_and_the_sheet(
    tmp_path: Path, colour: NDArray[np.uint8], tiled: dict[str, Any], write_tiff: Any
) -> None:
    inches = {"resolution": (50800, 50800), "resolutionunit": 2}
    path = write_tiff(tmp_path / "a.tif", colour, **inches, **tiled)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.5)
    with open_slide(path, mpp=0.2527) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.2527, "slide sheet")
        assert slide.size_at(0.25) == (round(600 * 0.2527 / 0.25), round(700 * 0.2527 / 0.25))
        assert slide.size_at(10) == (15, 18)
        assert slide.size_at(1000) == (1, 1)


@pytest.mark.parametrize(
    ("resolution", "unit", "why"),
    [
        ((40000, 30000), 3, "mpp 0.25 along x and 0.333333 along y differ by more than 2 %"),
        ((28, 28), 3, "357.143 um per pixel (TIFF resolution) is not between 0.05 and 10"),
        ((1e6, 1e6), 3, "0.01 um per pixel (TIFF resolution) is not between 0.05 and 10"),
        ((1, 1), 1, "no mpp in the file"),
    ],
)
@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_odd_resolutions_are_refused(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    reader: str,
    resolution: Any,
    unit: int,
    why: str,
) -> None:
    write_tiff, colour = (request.getfixturevalue(name) for name in ("write_tiff", "colour"))
    options = request.getfixturevalue("tiled") if reader == "openslide" else {"photometric": "rgb"}
    path = write_tiff(
        tmp_path / "a.tif", colour, resolution=resolution, resolutionunit=unit, **options
    )
    message = request.getfixturevalue("refusal")(path)
    assert message.startswith(why)
    assert "set the mpp column of the slide sheet" in message
    with open_slide(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25


def test_an_absurd_sheet_is_refused_too(ome_pyramid: Path, refusal: Callable[..., str]) -> None:
    assert refusal(ome_pyramid, mpp=40).startswith("40 um per pixel (slide sheet)")


def test_nearly_square_pixels_are_square(
    tmp_path: Path, colour: NDArray[np.uint8], tiled: dict[str, Any], write_tiff: Any
) -> None:
    path = write_tiff(tmp_path / "a.tif", colour, resolution=(40000, 40400), **tiled)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.25 + 0.25 / 1.01) / 2)


def test_no_file_and_a_folder(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert refusal(tmp_path / "none.svs").startswith("no such file; ")
    assert refusal(tmp_path).startswith("a folder without a DICOM slide; ")
