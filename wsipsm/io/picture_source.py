"""Plain pictures (PNG, JPEG, BMP ...) as slides of one level, held in memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsipsm.errors import DataError
from wsipsm.io.source import Facts, on_white, unfit, unopenable
from wsipsm.types import Region

COLOUR_MODES = ("RGB", "RGBA", "P", "PA")


class PictureSource:
    """A picture decoded by Pillow; it is read whole when it is opened.

    Raises
    ------
    DataError
        The file cannot be opened, is too large to be held, or is not 8-bit RGB.
    """

    def __init__(self, path: Path) -> None:
        self._pixels = _decode(path)
        self.unreadable: dict[tuple[int, Region], str] = {}
        height, width = self._pixels.shape[:2]
        self.facts = Facts(
            levels_px=((height, width),),
            tile_px=((height, width),),
            vendor="picture",
            objective=None,
            bounds=(0, 0, width, height),
            resolution=None,  # the dots per inch of a picture speak of paper
        )

    def read(self, level: int, region: Region) -> NDArray[np.uint8]:
        """Pixels uint8 (height, width, 3) of a region; there is only level 0."""
        assert level == 0
        return self._pixels[region.slices]

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = np.empty((0, 0, 3), np.uint8)


def _decode(path: Path) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check(path, image)
                opaque = "transparency" not in image.info and "A" not in image.mode
                return on_white(np.asarray(image.convert("RGB" if opaque else "RGBA")))
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{path}: too large for a plain picture; save it as a tiled TIFF") from None
    except UnidentifiedImageError:
        raise unopenable(path, "neither a slide nor a picture of a known format") from None
    except Exception as error:  # a damaged file fails in any of Pillow's ways
        raise unopenable(path, error) from None


def _check(path: Path, image: Image.Image) -> None:
    tiles = getattr(image, "tile", None)  # how the file stores its samples
    stored = str(tiles[0][3]) if tiles else ""
    if "16" in stored or image.mode.startswith(("I", "F")):
        raise unfit(path, f"pixels of more than 8 bits ({stored or image.mode})")
    if image.mode not in COLOUR_MODES:
        raise unfit(path, f"colours of mode {image.mode}, not red, green and blue")
