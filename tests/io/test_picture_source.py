"""Plain pictures as slides of one level."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsipsm.io.slide import Slide, open_slide

Refusal = Callable[..., str]
Whole = Callable[[Slide, float], NDArray[np.uint8]]


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_a_picture_needs_the_sheet(
    tmp_path: Path, colour: NDArray[np.uint8], refusal: Refusal, whole: Whole, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colour).save(path, dpi=(72, 72))
    assert refusal(path) == "no mpp in the file; set the mpp column of the slide sheet"
    with open_slide(path, mpp=0.25) as slide:
        assert (slide.vendor, slide.mpp_source) == ("picture", "slide sheet")
        np.testing.assert_array_equal(whole(slide, 0.25), colour.transpose(2, 0, 1))


def test_transparent_is_white(tmp_path: Path, whole: Whole) -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:20, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", mpp=0.25) as slide:
        image = whole(slide, 0.25)
    assert (image[:, :20] == 0).all()
    assert (image[:, 20:] == 255).all()


@pytest.mark.parametrize("shape", [(20, 20), (20, 20, 3)])
def test_deep_pictures_are_refused(
    tmp_path: Path, refusal: Refusal, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(np.zeros(shape, np.uint16)))
    assert refusal(path, mpp=0.25).startswith("pixels of more than 8 bits")


def test_grey_pictures_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "grey.png")
    assert refusal(tmp_path / "grey.png", mpp=0.25).startswith("colours of mode L")


def test_huge_and_cut_pictures_are_refused(
    tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch, colour: NDArray[np.uint8]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colour).save(path)
    content = path.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    assert refusal(tmp_path / "cut.png", mpp=0.25).startswith("cannot be opened (")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert refusal(path, mpp=0.25) == "too large for a plain picture; save it as a tiled TIFF"
