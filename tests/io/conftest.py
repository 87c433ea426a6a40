"""Slide files drawn for the tests, and ways to read them whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from wsipsm.errors import DataError
from wsipsm.io.slide import Slide, open_slide
from wsipsm.types import Region

TILED: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128)}


def halved(image: NDArray[Any]) -> NDArray[np.uint8]:
    rows, cols = image.shape[0] // 2, image.shape[1] // 2
    parts = image[: rows * 2, : cols * 2].reshape(rows, 2, cols, 2, 3)
    return np.asarray(np.rint(parts.mean(axis=(1, 3))), np.uint8)


def ome(
    path: Path, image: NDArray[Any], *, levels: int = 3, unit: str = "µm", size: float = 0.25
) -> Path:
    sizes = {"PhysicalSizeX": size, "PhysicalSizeY": size}
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    metadata: dict[str, Any] = {"axes": "YXS", **sizes, **units}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(image, subifds=levels - 1, metadata=metadata, compression="zlib", **TILED)
        for _ in range(levels - 1):
            image = halved(image)
            file.write(image, subfiletype=1, compression="zlib", **TILED)
    return path


def tiff(path: Path, image: NDArray[Any], **options: Any) -> Path:
    given = {"resolution": (40000, 40000), "resolutionunit": 3, "metadata": None, **options}
    tifffile.imwrite(path, image, **given)
    return path


def read_whole(slide: Slide, mpp: float) -> NDArray[np.uint8]:
    height, width = slide.size_at(mpp)
    return slide.read(Region(0, 0, height, width), mpp=mpp)


def refuse(path: Path, *, mpp: float | None = None) -> str:
    with pytest.raises(DataError) as caught, open_slide(path, mpp=mpp) as slide:
        read_whole(slide, slide.mpp)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "; " in message
    return message.removeprefix(f"{path}: ")


@pytest.fixture(scope="session")
def tiled() -> dict[str, Any]:
    """Options of tifffile that make a file OpenSlide opens: RGB in tiles of 128 pixels."""
    return TILED


@pytest.fixture(scope="session")
def colour() -> NDArray[np.uint8]:
    """Draw an image of chance colours, uint8 (600, 700, 3)."""
    return np.random.default_rng(1).integers(0, 256, (600, 700, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def halve() -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Means of 2 x 2 pixels; an odd border is dropped, as scanners do."""
    return halved


@pytest.fixture(scope="session")
def write_ome() -> Callable[..., Path]:
    """Write an OME-TIFF with a pyramid in sub-IFDs: (path, image, *, levels, unit, size)."""
    return ome


@pytest.fixture(scope="session")
def write_tiff() -> Callable[..., Path]:
    """Write a TIFF of 40,000 pixels in a centimetre, 0.25 µm per pixel: (path, image, ...)."""
    return tiff


@pytest.fixture(scope="session")
def whole() -> Callable[[Slide, float], NDArray[np.uint8]]:
    """Read a whole slide at some mpp."""
    return read_whole


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Open and read a file that must be refused; its sentence without the path."""
    return refuse


@pytest.fixture(scope="session")
def ome_pyramid(tmp_path_factory: pytest.TempPathFactory, colour: NDArray[np.uint8]) -> Path:
    """Draw an OME-TIFF of three levels, 600 x 700 pixels of 0.25 µm."""
    return ome(tmp_path_factory.mktemp("ome") / "pyramid.ome.tif", colour)


@pytest.fixture(scope="session")
def odd_levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a smooth pyramid whose second level OpenSlide calls 2.0011 times smaller, not 2."""
    y, x = np.mgrid[:1303, :1405]
    waves = 128 + 60 * np.sin(y / 23) + 60 * np.cos(x / 31)
    image = np.repeat(np.rint(waves).astype(np.uint8)[..., None], 3, axis=2)
    path = tmp_path_factory.mktemp("odd") / "odd.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(image, resolution=(40000, 40000), resolutionunit=3, metadata=None, **TILED)
        file.write(halved(image), subfiletype=1, metadata=None, **TILED)
    return path
