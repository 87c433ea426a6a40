"""A slide's tiles as the later stages see them: one image on one grid, read with a halo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsipsm.config import Stain
from wsipsm.errors import DataError, QuarantinedError
from wsipsm.io import ngff
from wsipsm.io.product import read_record
from wsipsm.types import Region, TileGrid

WHITE = 255
ARTEFACTS = ("pen", "fold", "bubble", "blur")


@dataclass(frozen=True)
class Tiles:
    """The product of stage 1, open for reading.

    Attributes
    ----------
    slide, stain
        As in the slide sheet.
    mpp
        Working resolution in microns per pixel.
    scale
        Level-0 pixels in one working pixel.
    size_px
        Level-0 height and width of the slide.
    bounds
        Level-0 x, y, width, height of the scanned area, as QuPath crops to it; (0, 0, w, h)
        where the file names none.
    image
        uint8 (3, y, x) at the working mpp; white (255) where nothing was written.
    tissue_share
        float32 (rows, cols): share of tissue in each tile.
    kept
        bool (rows, cols): tiles that are written and used.
    artefacts
        float32 (rows, cols) for each of `ARTEFACTS`, 0 to 1: the share of a tile that is under
        pen, fold or bubble; how blurred its tissue is.
    excluded
        bool (rows, cols): tiles with tissue that are left out because of an artefact.
    unreadable_share
        Share of the tissue, or of the whole slide where that is more, that could not be read and
        is white.
    """

    path: Path
    slide: str
    stain: Stain
    source: str
    mpp: float
    scale: float
    size_px: tuple[int, int]
    bounds: tuple[int, int, int, int]
    grid: TileGrid
    image: zarr.Array[Any]
    tissue_share: NDArray[np.float32]
    kept: NDArray[np.bool_]
    artefacts: dict[str, NDArray[np.float32]]
    excluded: NDArray[np.bool_]
    unreadable_share: float
    id: str

    def read(self, region: Region) -> NDArray[np.uint8]:
        """Pixels uint8 (3, height, width) of a region that may leave the image (white there)."""
        return ngff.read_padded(self.image, region, fill=WHITE)

    def read_mirrored(self, region: Region) -> NDArray[np.uint8]:
        """The same, but what lies outside mirrors the image: the tissue of a field goes on."""
        return ngff.read_mirrored(self.image, region)

    def kept_tiles(self) -> list[tuple[int, int]]:
        """Row and column of every tile with tissue, row by row."""
        return [(int(row), int(col)) for row, col in np.argwhere(self.kept)]

    def kept_shards(self) -> list[tuple[int, int]]:
        """Row and column of every shard that holds a tile with tissue."""
        side = self.grid.shard_tiles
        return [
            (row, col)
            for row, col in self.grid.shards()
            if self.kept[row * side : (row + 1) * side, col * side : (col + 1) * side].any()
        ]

    def kept_tiles_of(self, shard: tuple[int, int]) -> list[tuple[int, int]]:
        """Row and column of every tile with tissue in one shard."""
        return [tile for tile in self.grid.tiles_of_shard(*shard) if self.kept[tile]]

    def excludes(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether places (n,), in working pixels, lie in tiles that an artefact excludes."""
        last = self.grid.rows - 1, self.grid.cols - 1
        row, col = (
            np.clip((place // self.grid.tile_px).astype(np.int64), 0, end)
            for place, end in zip((y, x), last, strict=True)
        )
        return self.excluded[row, col]

    def overview(self) -> NDArray[np.uint8]:
        """Overview of the whole slide, uint8 (3, y, x): at most 2,048 px on a side."""
        return np.asarray(ngff.open_group(self.path)["overview"])

    def tissue(self) -> NDArray[np.bool_]:
        """Tissue mask, bool (y, x), on the grid of `overview`."""
        mask: NDArray[np.bool_] = np.asarray(ngff.open_group(self.path)["labels/tissue/0"]) > 0
        return mask

    def used_tissue(self) -> NDArray[np.bool_]:
        """The tissue in tiles that are used, bool (y, x), on the grid of `overview`."""
        tissue, grid = self.tissue(), self.grid
        row, col = (
            ((np.arange(size) + 0.5) * full / size // grid.tile_px).astype(int)
            for size, full in zip(tissue.shape, (grid.height_px, grid.width_px), strict=True)
        )
        return np.asarray(tissue & self.kept[row][:, col], bool)


def open_tiles(path: Path) -> Tiles:
    """Open the product of stage 1.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    """
    record = read_record(path)
    group = ngff.open_group(path)
    image = group["0"]
    assert isinstance(image, zarr.Array)
    facts = record["slide"]
    grid = TileGrid(image.shape[1], image.shape[2], record["tile_px"], record["shard_tiles"])
    return Tiles(
        path=path,
        slide=facts["slide"],
        stain=facts["stain"],
        source=facts["source"],
        mpp=record["mpp"],
        scale=record["scale"],
        size_px=(facts["height_px"], facts["width_px"]),
        bounds=tuple(facts["bounds"]),
        grid=grid,
        image=image,
        tissue_share=np.asarray(group["tissue_share"]),
        kept=np.asarray(group["kept"]).astype(bool),
        artefacts={name: np.asarray(group[f"artefacts/{name}"]) for name in ARTEFACTS},
        excluded=np.asarray(group["excluded"]).astype(bool),
        unreadable_share=record["unreadable_share"],
        id=record["provenance"]["id"],
    )


def open_usable(paths: list[Path]) -> list[Tiles]:
    """Open the tiles of a cohort without the slides that were set aside.

    Raises
    ------
    DataError
        No slide is left.
    """
    usable, reasons = [], []
    for path in paths:
        try:
            usable.append(open_tiles(path))
        except QuarantinedError as error:
            reasons.append(str(error))
    if not usable:
        raise DataError(f"every slide of the cohort was set aside; the first: {reasons[0]}")
    return usable
