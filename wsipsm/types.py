"""Values that every layer shares: regions, the tile grid, the columns of a cell table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MEASUREMENTS = {
    "area_um2": "Area µm^2",
    "perimeter_um": "Perimeter µm",
    "circularity": "Circularity",
    "eccentricity": "Eccentricity",
    "solidity": "Solidity",
    "major_axis_um": "Max diameter µm",
    "minor_axis_um": "Min diameter µm",
    "haematoxylin_mean": "Hematoxylin OD mean",
    "haematoxylin_std": "Hematoxylin OD std dev",
    "counterstain_mean": "{counterstain} OD mean",
    "counterstain_std": "{counterstain} OD std dev",
    "haematoxylin_ring_mean": "Ring: Hematoxylin OD mean",
    "haematoxylin_ring_std": "Ring: Hematoxylin OD std dev",
    "counterstain_ring_mean": "Ring: {counterstain} OD mean",
    "counterstain_ring_std": "Ring: {counterstain} OD std dev",
}
"""Column of a cell table: its name in QuPath. `{counterstain}` is Eosin or DAB."""

COUNTERSTAIN = {"he": "Eosin", "ihc": "DAB"}
"""Stain of the slide sheet: the second stain beside haematoxylin."""

CLASS_COLOURS = (
    (0, 158, 115),
    (230, 159, 0),
    (0, 114, 178),
    (240, 228, 66),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
    (0, 0, 0),
)
"""Red, green, blue of a class by its index: the palette of Okabe and Ito, fit for colour-blind."""


def palette(chosen: Sequence[str] = ()) -> tuple[tuple[int, int, int], ...]:
    """Red, green, blue of classes by their index: those chosen (#rrggbb), then `CLASS_COLOURS`."""
    own = [bytes.fromhex(text.removeprefix("#")) for text in chosen]
    return (*((red, green, blue) for red, green, blue in own), *CLASS_COLOURS[len(chosen) :])


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels: top row, left column, height, width."""

    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this region in an array (y, x)."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def grown(self, halo_px: int) -> Region:
        """The region with a border of `halo_px` on each side; it may leave the image."""
        return Region(
            self.y - halo_px, self.x - halo_px, self.height + 2 * halo_px, self.width + 2 * halo_px
        )

    def within(self, other: Region) -> Region:
        """The same pixels, counted from the first pixel of `other`."""
        return Region(self.y - other.y, self.x - other.x, self.height, self.width)

    def scaled_down(self, factor: int) -> Region:
        """The same region on a grid `factor` times coarser, rounded outwards."""
        y, x = self.y // factor, self.x // factor
        bottom = -(-(self.y + self.height) // factor)
        right = -(-(self.x + self.width) // factor)
        return Region(y, x, bottom - y, right - x)


@dataclass(frozen=True)
class TileGrid:
    """Square tiles over an image of (height_px, width_px) at the working mpp; row, col from 0.

    Tiles at the right and bottom border are cut by the image. A shard is a block of
    `shard_tiles` x `shard_tiles` tiles, and the unit of parallel work.
    """

    height_px: int
    width_px: int
    tile_px: int
    shard_tiles: int

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.height_px // self.tile_px)

    @property
    def cols(self) -> int:
        """Number of columns of tiles."""
        return -(-self.width_px // self.tile_px)

    @property
    def shard_px(self) -> int:
        """Side of a shard in pixels."""
        return self.tile_px * self.shard_tiles

    def _region(self, row: int, col: int, side: int) -> Region:
        y, x = row * side, col * side
        return Region(y, x, min(side, self.height_px - y), min(side, self.width_px - x))

    def tile(self, row: int, col: int) -> Region:
        """Pixels of one tile."""
        return self._region(row, col, self.tile_px)

    def shard(self, row: int, col: int) -> Region:
        """Pixels of one shard."""
        return self._region(row, col, self.shard_px)

    def shards(self) -> Iterator[tuple[int, int]]:
        """Row and column of every shard, row by row."""
        for row in range(-(-self.rows // self.shard_tiles)):
            for col in range(-(-self.cols // self.shard_tiles)):
                yield row, col

    def tiles_of_shard(self, row: int, col: int) -> Iterator[tuple[int, int]]:
        """Row and column of every tile of one shard, row by row."""
        side = self.shard_tiles
        for tile_row in range(row * side, min((row + 1) * side, self.rows)):
            for tile_col in range(col * side, min((col + 1) * side, self.cols)):
                yield tile_row, tile_col
