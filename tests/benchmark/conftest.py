"""Two small fields of a drawn slide with their truth, and a white one without."""

from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from wsipsm.io import ngff
from wsipsm.io.slide import open_slide
from wsipsm.types import Region


@pytest.fixture(scope="session")
def fields_folder(drawn_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fields of 256 px of a drawn slide with their truth, and a white one without."""
    folder = tmp_path_factory.mktemp("fields")
    for inside in ("images", "labels"):
        (folder / inside).mkdir()
    ids = np.asarray(ngff.open_group(drawn_slides / "phantom_1.labels.zarr")["0"])
    with open_slide(drawn_slides / "phantom_1.tiff") as slide:
        for name, at in (("a", 320), ("b", 448)):
            part = Region(at, at, 256, 256)
            image = slide.read(part, mpp=0.25).transpose(1, 2, 0)
            imsave(folder / "images" / f"{name}.png", image, check_contrast=False)
            labels = ids[part.slices].astype(np.uint16)
            imsave(folder / "labels" / f"{name}.png", labels, check_contrast=False)
    white = np.full((256, 256, 3), 255, np.uint8)
    imsave(folder / "images" / "white.png", white, check_contrast=False)
    return folder
