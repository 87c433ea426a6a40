"""Slides that are refused, each with its reason, and slides of several files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray

from tests.io import vendors
from tests.io.formats import APERIO, draw, shrunk
from wsipsm.io.product import fingerprint
from wsipsm.io.slide import open_slide
from wsipsm.sheet import read_slide_sheet
from wsipsm.types import Region

SCAN = draw(512, 512)
SMALL = shrunk(SCAN, 256, 256)
TILE = SCAN[:240, :240]


def two_slides(folder: Path) -> Path:
    for series in ("1.2.3", "1.2.4"):
        vendors.dicom(folder / "two", [SMALL], series=series)
    return folder / "two"


def dicom_with(**attributes: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (path,) = vendors.dicom(folder / "a", [SMALL]).iterdir()
        data = pydicom.dcmread(path)
        for name, value in attributes.items():
            setattr(data, name, value)
        data.save_as(path)
        return path

    return write


def svs_with(
    mpp: str = "0.25", *, image: NDArray[Any] = TILE, planes: int = 1
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        options: dict[str, Any] = {"tile": (240, 240), "compression": "lzw", "metadata": None}
        options["description"] = APERIO.format("240x240").replace("0.2524", mpp)
        with tifffile.TiffWriter(folder / "a.svs") as file:
            for _ in range(planes):
                file.write(image, software=False, **options)
        return folder / "a.svs"

    return write


def mirax_alone(folder: Path) -> Path:
    (folder / "a.mrxs").touch()
    return folder / "a.mrxs"


REFUSED = {
    "SVS, mpp 0": (svs_with("0"), "no mpp in the file; "),
    "SVS, no mpp": (svs_with(""), "no mpp in the file; "),
    "SVS, mpp not a number": (svs_with("nan"), "no mpp in the file; "),
    "SVS, mpp a million": (
        svs_with("1e6"),
        "1e+06 um per pixel (openslide.mpp-x) is not between 0.05 and 10; ",
    ),
    "SVS, 16 bits": (svs_with(image=TILE.astype(np.uint16)), "16-bit pixels (uint16); "),
    "SVS, grey": (svs_with(image=TILE[..., 0]), "1 sample(s) in a pixel, "),
    "SVS, z-stack": (svs_with(planes=4), "a z-stack of "),
    "MRXS of fluorescence": (
        lambda folder: vendors.mirax(folder / "a.mrxs", SCAN, kind="FLUORESCENCE"),
        "channels of fluorescence; ",
    ),
    "MRXS without its folder": (mirax_alone, "its folder a is not beside it; "),
    "DICOM, two slides": (two_slides, "a folder of several DICOM slides; name a file of one"),
    "DICOM, z-stack": (dicom_with(TotalPixelMatrixFocalPlanes=3), "a z-stack; "),
    "DICOM, grey": (dicom_with(SamplesPerPixel=1, PlanarConfiguration=None), "grey pixels, "),
    "DICOM, 16 bits": (dicom_with(BitsAllocated=16), "pixels of more than 8 bits; "),
}
"""Others are refused in test_tiff_source (16 bits, grey, stacks, series, channels), in
test_picture_source (16 bits, grey, damaged, huge) and in test_slide (mpp of TIFF)."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_why(tmp_path: Path, refusal: Callable[..., str], name: str) -> None:
    write, sentence = REFUSED[name]
    assert refusal(write(tmp_path)).startswith(sentence)


# Slides of several files


def test_the_files_of_a_dicom_slide_are_one_slide(tmp_path: Path) -> None:
    folder = vendors.dicom(tmp_path / "a", [SCAN, SMALL])
    with open_slide(folder) as whole, open_slide(folder / "1.2.3.1.dcm") as part:
        everything = Region(0, 0, 256, 256)
        for mpp in (0.25, 0.5):
            pixels = whole.read(everything, mpp=mpp)
            np.testing.assert_array_equal(pixels, part.read(everything, mpp=mpp))


def test_the_sheet_takes_a_folder(tmp_path: Path) -> None:
    vendors.dicom(tmp_path / "a", [SMALL])
    sheet = tmp_path / "slides.tsv"
    sheet.write_text(f"slide\tpath\na\t{tmp_path / 'a'}\n")
    assert [row.path for row in read_slide_sheet(sheet)] == [str(tmp_path / "a")]


def test_a_mirax_slide_is_another_if_its_folder_is(tmp_path: Path) -> None:
    path = vendors.mirax(tmp_path / "a.mrxs", SCAN)
    before = fingerprint(path)
    assert before == fingerprint(path)
    with (tmp_path / "a" / "Data0000.dat").open("r+b") as data:
        data.write(b"other")
    assert before != fingerprint(path)
