"""TIFF and OME-TIFF: every way to store RGB, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.io.formats import draw, generic
from wsipsm.io import tiff_source
from wsipsm.io.ome_xml import ome_facts
from wsipsm.io.slide import Slide, open_slide
from wsipsm.io.tiff_level import TiffLevel
from wsipsm.types import Region

Refusal = Callable[..., str]
Whole = Callable[[Slide, float], NDArray[np.uint8]]
Write = Callable[..., Path]

TILED = {"photometric": "rgb", "tile": (128, 128)}
RGB = {"photometric": "rgb"}
GREY = {"photometric": "minisblack"}


def test_ome_tiff_shows_its_pyramid(
    ome_pyramid: Path, colour: NDArray[np.uint8], halve: Any, whole: Whole
) -> None:
    with open_slide(ome_pyramid) as slide:
        assert (slide.vendor, slide.mpp, slide.mpp_source) == ("ome-tiff", 0.25, "OME-XML")
        sizes = [(level.height_px, level.width_px) for level in slide.levels]
        assert sizes == [(600, 700), (300, 350), (150, 175)]
        np.testing.assert_array_equal(whole(slide, 0.25), colour.transpose(2, 0, 1))
        np.testing.assert_array_equal(whole(slide, 0.5), halve(colour).transpose(2, 0, 1))


@pytest.mark.parametrize(("unit", "size"), [("nm", 250.0), ("mm", 0.00025), ("µm", 0.25)])
def test_ome_units_are_microns(
    tmp_path: Path, colour: NDArray[np.uint8], write_ome: Write, unit: str, size: float
) -> None:
    path = write_ome(tmp_path / "a.ome.tif", colour, levels=1, unit=unit, size=size)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.25)


def test_ome_size_in_pixels_is_no_size(
    tmp_path: Path, colour: NDArray[np.uint8], write_ome: Write, refusal: Refusal
) -> None:
    path = write_ome(tmp_path / "a.ome.tif", colour, levels=1, unit="pixel", size=1)
    assert refusal(path) == "no mpp in the file; set the mpp column of the slide sheet"


def test_ome_facts_of_the_right_image() -> None:
    text = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument>
    <Objective ID="Objective:0" NominalMagnification="1.25"/>
    <Objective ID="Objective:1" NominalMagnification="40.0"/></Instrument>
    <Image><Pixels PhysicalSizeX="8"/></Image>
    <Image><ObjectiveSettings ID="Objective:1"/>
    <Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm"/></Image></OME>"""
    resolution, power = ome_facts(text, 1)
    assert resolution is not None
    assert (resolution.x, resolution.y, power) == (0.25, 0.25, 40)
    assert ome_facts(text, 2) == (None, None)
    assert ome_facts("<OME/>", 0) == (None, None)


@pytest.mark.parametrize(
    "options",
    [
        TILED,  # by OpenSlide
        {**RGB, "rowsperstrip": 16, "compression": "lzw"},
        RGB,  # one strip, not compressed
        {**RGB, "planarconfig": "separate", "compression": "zlib"},
        {**TILED, "compression": "zstd"},  # a compression that OpenSlide does not know
    ],
    ids=["tiles", "strips", "one strip", "planes", "zstd"],
)
@pytest.mark.parametrize("held", [True, False])
def test_tiffs_of_one_level(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    held: bool,
) -> None:
    if not held:
        monkeypatch.setattr(tiff_source, "HELD_BYTES", 0)
    colour = request.getfixturevalue("colour")
    image = colour.transpose(2, 0, 1) if "planarconfig" in options else colour
    path = request.getfixturevalue("write_tiff")(tmp_path / "a.tif", image, **options)
    with open_slide(path) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.25, "TIFF resolution")
        part = slide.read(Region(100, 200, 300, 400), mpp=0.25)
    np.testing.assert_array_equal(part, colour[100:400, 200:600].transpose(2, 0, 1))


def test_colours_and_missing_tiles_of_jpeg(
    tmp_path: Path, colour: NDArray[np.uint8], whole: Whole
) -> None:
    smooth = np.asarray(Image.fromarray(colour[:8, :8]).resize((256, 256)))
    tiles = iter([bytes(imagecodecs.jpeg8_encode(smooth, level=95)), b""])
    options: dict[str, Any] = {"photometric": "ycbcr", "tile": (256, 256), "compression": "jpeg"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(tiles, shape=(256, 512, 3), dtype="uint8", **options)
    with open_slide(tmp_path / "a.ome.tif", mpp=0.25) as slide:
        image = whole(slide, 0.25).transpose(1, 2, 0)
    assert np.abs(image[:, :256].astype(float) - smooth).mean() < 3
    assert (image[:, 256:] == 255).all()


def test_one_huge_compressed_strip_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    colour: NDArray[np.uint8],
    write_tiff: Write,
    refusal: Refusal,
) -> None:
    monkeypatch.setattr(tiff_source, "BLOCK_BYTES", 1000)
    options = {**RGB, "rowsperstrip": 600, "compression": "lzw"}
    assert "one compressed block" in refusal(write_tiff(tmp_path / "a.tif", colour, **options))


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "why"),
    [
        ((200, 200, 3), np.uint16, TILED, "16-bit pixels"),
        ((200, 200, 3), np.uint16, RGB, "16-bit pixels"),
        ((200, 200), np.uint8, {**GREY, "tile": (128, 128)}, "1 sample(s)"),
        ((200, 200), np.uint8, GREY, "1 sample(s)"),
        ((4, 200, 200, 3), np.uint8, TILED, "a stack of images"),
        ((200, 200, 4), np.uint8, {"photometric": "separated"}, "colours are not"),
    ],
)
def test_tiffs_of_other_pixels_are_refused(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    shape: tuple[int, ...],
    dtype: type,
    options: dict[str, Any],
    why: str,
) -> None:
    write_tiff, refusal = (request.getfixturevalue(name) for name in ("write_tiff", "refusal"))
    path = write_tiff(tmp_path / "a.tif", np.zeros(shape, dtype), **options)
    assert refusal(path, mpp=0.25).startswith(why)


@pytest.mark.parametrize(
    ("axes", "shape", "why"),
    [
        ("CYX", (4, 200, 200), "4 separate channels"),
        ("ZYXS", (5, 200, 200, 3), "a z-stack of 5 planes"),
        ("TYXS", (2, 200, 200, 3), "a time series of 2 frames"),
        ("YX", (200, 200), "1 sample(s)"),
    ],
)
def test_ome_tiffs_of_many_planes_are_refused(
    tmp_path: Path, refusal: Refusal, axes: str, shape: tuple[int, ...], why: str
) -> None:
    path = tmp_path / "a.ome.tif"
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    image = np.zeros(shape, np.uint8)
    tifffile.imwrite(path, image, photometric=photometric, metadata={"axes": axes}, ome=True)
    assert refusal(path, mpp=0.25).startswith(why)


@pytest.mark.parametrize("kind", ["empty", "text"])
def test_damaged_files_are_refused(tmp_path: Path, refusal: Refusal, kind: str) -> None:
    path = tmp_path / "bad.tif"
    path.write_bytes({"empty": b"", "text": b"II*\0 but no TIFF"}[kind])
    assert refusal(path, mpp=0.25).startswith("cannot be opened")


def test_pixels_lost_in_the_middle_are_white_and_counted(
    tmp_path: Path, colour: NDArray[np.uint8], write_ome: Write, whole: Whole
) -> None:
    path = write_ome(tmp_path / "a.ome.tif", colour, levels=1)
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[7]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(content)
    expected = colour.copy()
    expected[128:256, 128:256] = 255  # the eighth tile of 128 px
    with open_slide(path) as slide:
        np.testing.assert_array_equal(whole(slide, 0.25), expected.transpose(2, 0, 1))
        assert slide.unreadable_share(Region(100, 128, 100, 256), mpp=0.25) == 0.36
        assert slide.unreadable_share(Region(0, 0, 128, 700), mpp=0.25) == 0


def test_a_file_that_ends_too_early_lacks_its_end(
    tmp_path: Path, ome_pyramid: Path, whole: Whole
) -> None:
    path = tmp_path / "cut.ome.tif"
    path.write_bytes(ome_pyramid.read_bytes()[:300_000])
    with open_slide(path, mpp=0.25) as slide:
        whole(slide, 0.25)
        everything = Region(0, 0, 600, 700)
        assert 0.5 < slide.unreadable_share(everything, mpp=0.25) < 1
        assert slide.unreadable_reason == "the file ends too early"


def test_blocks_that_regions_share_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Whole
) -> None:
    path = generic(tmp_path / "a.tif", [draw(600, 700)], side=240)
    decoded = []
    block = TiffLevel._block

    def counted(self: TiffLevel, index: int) -> NDArray[np.uint8] | None:
        decoded.append(index)
        return block(self, index)

    with open_slide(path) as slide:
        image = whole(slide, 0.25)
        monkeypatch.setattr(TiffLevel, "_block", counted)
        for top in range(0, 600, 128):
            for left in range(0, 700, 128):
                region = Region(top, left, min(128, 600 - top), min(128, 700 - left))
                np.testing.assert_array_equal(
                    slide.read(region, mpp=0.25), image[(slice(None), *region.slices)]
                )
    assert sorted(decoded) == list(range(9))
