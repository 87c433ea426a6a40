"""The format matrix: each file, real or written here, and what is to come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.io import vendors
from tests.io.formats import (
    LABEL,
    Picture,
    aperio,
    draw,
    generic,
    jpeg,
    jpeg_2000,
    lost,
    luma_2000,
    ome,
    placed,
    shrunk,
    small_chroma_2000,
)
from wsipsm.io import tiff_source
from wsipsm.io.openslide_source import OpenSlideSource
from wsipsm.io.slide import Slide, open_slide
from wsipsm.types import Region

SCAN = draw(517, 701)
QUARTER = shrunk(SCAN, 129, 175)
SMALL = [SCAN[:250, :300], shrunk(SCAN[:250, :300], 62, 75)]
ODD = shrunk(SCAN, 139, 188)
SQUARE = draw(512, 512)
EIGHTH = [shrunk(SQUARE, 512 // n, 512 // n) for n in (1, 2, 4, 8)]
DIRECT = ("aperio", "generic-tiff")
PLAIN: dict[str, Any] = {"photometric": "rgb", "levels": SMALL}
JPEG: dict[str, Any] = {"compression": "jpeg", "encode": jpeg, "photometric": "ycbcr"}


def svs(**stored: Any) -> Callable[[Path], Path]:
    levels = stored.pop("levels", [SCAN, QUARTER])
    return lambda folder: aperio(folder / "a.svs", levels, **stored)


def tif(**options: Any) -> Callable[[Path], Path]:
    return lambda folder: generic(folder / "a.tif", [SCAN, QUARTER], **options)


def ome_tif(**options: Any) -> Callable[[Path], Path]:
    return lambda folder: ome(folder / "a.ome.tif", SMALL, **options)


def picture(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        Image.fromarray(SCAN).save(folder / name, quality=95, subsampling=0)
        return folder / name

    return write


@dataclass(frozen=True)
class Format:
    """A file and what is to come of it; `off` is the mean difference from what was drawn."""

    write: Callable[[Path], Path]
    vendor: str
    told_by: str
    mpp: float = 0.25
    levels: Sequence[Picture] = (SCAN, QUARTER)
    off: float = 4.0
    direct: bool = False
    objective: float | None = None
    bounds: tuple[int, int, int, int] | None = None
    associated: set[str] = field(default_factory=set)
    sheet: float | None = None


def of_aperio(write: Callable[[Path], Path], **expected: Any) -> Format:
    given = {"mpp": 0.2524, "direct": True, "objective": 40, **expected}
    given |= {"associated": {"thumbnail", "label"}}
    return Format(write, "aperio", "openslide.mpp-x", **given)


def of_tiff(write: Callable[[Path], Path], **expected: Any) -> Format:
    return Format(write, "generic-tiff", "TIFF resolution", **{"direct": True, **expected})


def of_ome(write: Callable[[Path], Path], **expected: Any) -> Format:
    return Format(write, "ome-tiff", "OME-XML", levels=SMALL, associated={"label"}, **expected)


def of_picture(name: str, **expected: Any) -> Format:
    given = {"levels": [SCAN], "sheet": 0.25, **expected}
    return Format(picture(name), "picture", "slide sheet", **given)


GAP = lost(SCAN, Region(0, 240, 240, 240))
UPPER = [Region(0, 0, 256 // n, 512 // n) for n in (1, 2)]

FORMATS = {
    "SVS, JPEG of RGB": of_aperio(
        svs(**JPEG | {"encode": partial(jpeg, ycbcr=False), "photometric": "rgb"})
    ),
    "SVS, JPEG of YCbCr": of_aperio(svs(**JPEG)),
    "SVS, JPEG 4:2:0": of_aperio(
        svs(**JPEG | {"encode": partial(jpeg, small_chroma=True), "subsampling": (2, 2)}), off=5
    ),
    "SVS, level 3.72 times smaller": of_aperio(svs(**JPEG, levels=[SCAN, ODD]), levels=[SCAN, ODD]),
    "SVS, one level, a tile missing": of_aperio(
        svs(**JPEG, levels=[SCAN], missing=[1]), levels=[GAP]
    ),
    "SVS, a tile missing": of_aperio(
        svs(**JPEG, missing=[1]), levels=[GAP, shrunk(GAP, 129, 175)], direct=False
    ),
    "SVS, JPEG 2000 33005": of_aperio(
        svs(compression=33005, encode=jpeg_2000, **PLAIN), levels=SMALL, off=0
    ),
    "SVS, JPEG 2000 33003": of_aperio(
        svs(compression=33003, encode=luma_2000, **PLAIN), levels=SMALL, off=1
    ),
    "SVS, JPEG 2000 33003, 4:2:2": of_aperio(
        svs(compression=33003, encode=small_chroma_2000, **PLAIN), levels=SMALL
    ),
    "TIFF": of_tiff(tif()),
    "TIFF, BigTIFF, big endian": of_tiff(tif(bigtiff=True, byteorder=">")),
    "TIFF, mpp 0.377": of_tiff(tif(resolution=(10000 / 0.377, 10000 / 0.377)), mpp=0.377),
    "TIFF, mpp 0.2524 x 0.2520": of_tiff(
        tif(resolution=(10000 / 0.2524, 10000 / 0.2520)), mpp=0.2522
    ),
    "TIFF, mpp of the sheet": Format(
        tif(resolutionunit=1), "generic-tiff", "slide sheet", direct=True, mpp=0.3, sheet=0.3
    ),
    "OME-TIFF, JPEG": of_ome(ome_tif(compression="jpeg", compressionargs={"level": 95})),
    "OME-TIFF, JPEG 2000": of_ome(ome_tif(compression="jpeg2000"), off=0),
    "OME-TIFF, JPEG 2000 33003": of_ome(ome_tif(compression=33003), off=0),
    "SCN": Format(
        lambda folder: vendors.leica(folder / "a.scn", SQUARE),
        "leica",
        "openslide.mpp-x",
        mpp=0.5,
        levels=[placed(SQUARE, 800, 1000, 200, 400)],
        off=0,
        objective=20,
        bounds=(400, 200, 512, 512),
        associated={"macro"},
    ),
    "NDPI": Format(
        lambda folder: vendors.ndpi(folder / "a.ndpi", SQUARE),
        "hamamatsu",
        "openslide.mpp-x",
        mpp=0.44,
        levels=EIGHTH,
        objective=40,
    ),
    "MRXS": Format(
        lambda folder: vendors.mirax(folder / "a.mrxs", SQUARE),
        "mirax",
        "openslide.mpp-x",
        levels=[lost(EIGHTH[n], UPPER[n]) for n in (0, 1)],
        objective=20,
        bounds=(0, 256, 512, 256),
    ),
    "DICOM, folder": Format(
        lambda folder: vendors.dicom(folder / "a", [SQUARE, EIGHTH[1]]),
        "dicom",
        "DICOM PixelSpacing",
        levels=EIGHTH[:2],
        objective=40,
    ),
    "DICOM, file": Format(
        lambda folder: vendors.dicom(folder / "a", [SQUARE, EIGHTH[1]]) / "1.2.3.1.dcm",
        "dicom",
        "DICOM PixelSpacing",
        levels=EIGHTH[:2],
        objective=40,
    ),
    "PNG": of_picture("a.png", off=0),
    "JPEG": of_picture("a.jpg"),
}


def read_level(slide: Slide, number: int) -> NDArray[np.int16]:
    """Read a whole level, (height, width, 3), by its own resolution."""
    level = slide.levels[number]
    everything = Region(0, 0, level.height_px, level.width_px)
    pixels = slide.read(everything, mpp=slide.mpp * level.downsample)
    return pixels.transpose(1, 2, 0).astype(np.int16)


def check_against_openslide(path: Path) -> bool:
    """Compare all that is decoded directly with OpenSlide's pixels; whether anything is."""
    other = OpenSlideSource(path)
    direct = tiff_source.open_tiles(path, other.facts)
    if direct is not None:
        for level, (height, width) in enumerate(other.facts.levels_px):
            everything = Region(0, 0, height, width)
            ours = direct.read(level, everything).astype(np.int16)
            assert np.abs(ours - other.read(level, everything)).max() <= 1
        direct.close()
    other.close()
    return direct is not None


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_its_facts_and_pixels(tmp_path: Path, name: str) -> None:
    expected = FORMATS[name]
    path = expected.write(tmp_path)
    height, width = expected.levels[0].shape[:2]
    with open_slide(path, mpp=expected.sheet) as slide:
        assert (slide.vendor, slide.mpp_source) == (expected.vendor, expected.told_by)
        assert slide.mpp == pytest.approx(expected.mpp, rel=1e-4)
        assert slide.objective == expected.objective
        assert slide.bounds == (expected.bounds or (0, 0, width, height))
        assert set(slide.associated) == expected.associated
        sizes = [(level.height_px, level.width_px) for level in slide.levels]
        assert sizes == [level.shape[:2] for level in expected.levels]
        for number, drawn in enumerate(expected.levels):
            off = np.abs(read_level(slide, number) - drawn)
            assert off.mean() <= expected.off
        assert slide.unreadable_reason is None
        for label in expected.associated & {"label"}:
            assert (slide.read_associated(label) == np.full((3, 40, 30), LABEL)).all()


@pytest.mark.parametrize("name", ["SCN", "NDPI", "MRXS", "DICOM, folder"])
def test_a_piece_is_the_same_as_in_the_whole(tmp_path: Path, name: str) -> None:
    with open_slide(FORMATS[name].write(tmp_path)) as slide:
        mpp = slide.mpp * 1.7
        height, width = slide.size_at(mpp)
        part = Region(height // 3, width // 4, height // 2, width // 2)
        whole = slide.read(Region(0, 0, height, width), mpp=mpp)
        np.testing.assert_array_equal(slide.read(part, mpp=mpp), whole[:, *part.slices])


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.vendor in DIRECT])
def test_tiles_decoded_directly_are_those_of_openslide(tmp_path: Path, name: str) -> None:
    path = FORMATS[name].write(tmp_path)
    assert check_against_openslide(path) == FORMATS[name].direct


# Real files

REAL: dict[str, tuple[str, float, int | None, int] | str] = {
    "CMU-1-Small-Region.svs": ("aperio", 0.499, 20, 1),
    "CMU-small.tiff": ("generic-tiff", 3.19488817, None, 3),
    "openslide_small.svs": ("aperio", 0.499, 20, 1),
    "openslide_unreadable.svs": ("aperio", 0.499, 20, 1),
    "openslide_boxes.tiff": "352.778 um per pixel (TIFF resolution) is not between 0.05 and 10; ",
    "openslide_unopenable.tiff": "cannot be opened (compression 52479 is not known); ",
    "histolab_broken.svs": "cannot be opened (neither a slide nor a picture of a known format); ",
    "monuseg_train4.tiff": ("generic-tiff", 0.25, None, 4),
}


@pytest.mark.real_data
def test_no_real_file_is_forgotten(test_data: Path) -> None:
    slides = {path.name for path in (test_data / "wsi/slides").iterdir()}
    assert slides == set(REAL) - {"monuseg_train4.tiff"}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_files(test_data: Path, refusal: Callable[..., str], name: str) -> None:
    path = test_data / ("wsi_mosaic" if name.startswith("monuseg") else "wsi/slides") / name
    expected = REAL[name]
    if isinstance(expected, str):
        assert refusal(path).startswith(expected)
        return
    vendor, mpp, objective, levels = expected
    with open_slide(path) as slide:
        assert (slide.vendor, slide.objective, len(slide.levels)) == (vendor, objective, levels)
        assert slide.mpp == pytest.approx(mpp)
        assert slide.bounds == (0, 0, slide.width_px, slide.height_px)
    assert check_against_openslide(path)


def test_an_associated_image_that_is_not_there(tmp_path: Path) -> None:
    with (
        open_slide(generic(tmp_path / "a.tif", [SCAN])) as slide,
        pytest.raises(ValueError, match="no associated image 'macro'"),
    ):
        slide.read_associated("macro")


def test_a_large_plain_tiff_is_mapped(tmp_path: Path) -> None:
    path, shape = tmp_path / "large.tif", (30_000, 40_000, 3)
    options: dict[str, Any] = {"photometric": "rgb", "resolution": (40000, 40000)}
    pixels = tifffile.memmap(path, shape=shape, dtype="uint8", resolutionunit=3, **options)
    pixels[-512:, -512:] = SQUARE
    del pixels
    with open_slide(path) as slide:
        part = slide.read(Region(29_488, 39_488, 512, 512), mpp=0.25)
    np.testing.assert_array_equal(part, SQUARE.transpose(2, 0, 1))
