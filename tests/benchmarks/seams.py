"""Whether tiles show in maps and pseudo masks: slides cut into tiles of one side and of another.

python -m tests.benchmarks.seams      the mosaic of WSIPSM_TEST_DATA, and a drawn slide

The table is that of docs/method.md.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from wsipsm import compute

compute.one_thread_each()

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from wsipsm.activation.activate import activate  # noqa: E402
from wsipsm.activation.seams import measure_seams  # noqa: E402
from wsipsm.config import Activation, Pretraining, Pseudomasks, Tiling  # noqa: E402
from wsipsm.io import ngff  # noqa: E402
from wsipsm.io.tiles import open_tiles  # noqa: E402
from wsipsm.phantom.phantom import draw_slides  # noqa: E402
from wsipsm.pretraining.pretrain import pretrain  # noqa: E402
from wsipsm.pseudomasks.pseudomask import pseudomask  # noqa: E402
from wsipsm.tiling.tile import tile  # noqa: E402

STRIDE = 4
SIDES_PX = (512, 384, 256)


@dataclass(frozen=True)
class Cut:
    """A slide cut into tiles: its classes and map (y, x), and the pixels of tiles that are used."""

    tile_px: int
    classes: NDArray[np.uint8]
    activation: NDArray[np.float32]
    used: NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """What changes with the tiles, over what both cuts use.

    `classes` is the share of pixels that change, `activation` the largest change. `mask_jump` and
    `map_jump` are the mean jumps across the first cut's borders over those at the same places of
    the other, where the tissue is the same and borders are few. `mask_ratio` and `map_ratio` are
    those of `measure_seams`.
    """

    classes: float
    activation: float
    mask_jump: float
    map_jump: float
    mask_ratio: float
    map_ratio: float


def cut(slide: Path, folder: Path, tiling: Tiling, encoder: Path) -> Cut:
    """Stages 1, 3 and 4; the encoder is trained briefly where it is missing."""
    folder.mkdir()
    paths = [folder / f"{name}.zarr" for name in ("tiles", "activation", "masks")]
    tile(slide, paths[0], settings=tiling)
    if not encoder.exists():
        pretrain(paths[:1], encoder, settings=Pretraining(steps=10), seed=0)
    activate(paths[0], encoder, paths[1], settings=Activation())
    pseudomask(*paths, settings=Pseudomasks(), seed=0)
    return opened(*paths)


def opened(tiles: Path, activation: Path, masks: Path) -> Cut:
    """What the stages made."""
    slide = open_tiles(tiles)
    classes = np.asarray(ngff.open_group(masks)["labels/classes/0"])
    found = np.asarray(ngff.open_group(activation)["0"]).astype(np.float32)
    used = np.kron(slide.kept, np.ones((slide.grid.tile_px,) * 2, bool))
    return Cut(slide.grid.tile_px, classes, found, used[: classes.shape[0], : classes.shape[1]])


def compare(one: Cut, other: Cut) -> Difference:
    """How a cut differs from another, whose borders lie elsewhere."""
    used = one.used & other.used
    coarse = used[::STRIDE, ::STRIDE]
    masks = [
        measure_seams(each.classes == 1, tile_px=one.tile_px, used=used) for each in (one, other)
    ]
    maps = [
        measure_seams(each.activation, tile_px=one.tile_px // STRIDE, used=coarse)
        for each in (one, other)
    ]
    return Difference(
        classes=float((one.classes != other.classes)[used].mean()),
        activation=float(np.abs(one.activation - other.activation)[coarse].max()),
        mask_jump=masks[0].border / masks[1].border,
        map_jump=maps[0].border / maps[1].border,
        mask_ratio=masks[0].ratio,
        map_ratio=maps[0].ratio,
    )


def main() -> None:
    """Print the table."""
    data = Path(os.environ.get("WSIPSM_TEST_DATA", "../shared/data"))
    print("| slide | tiles, px | beside | mask, % changed | map, largest change |", end="")
    print(" mask, jump | map, jump | mask, ratio | map, ratio |")
    print("| --- " + "| --: " * 8 + "|")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        draw_slides(work, count=1, size_px=2048, mpp=0.25, stain="he", seed=0)
        for slide in (data / "wsi_mosaic" / "monuseg_train4.tiff", work / "phantom_1.tiff"):
            cuts = [
                cut(slide, work / f"{slide.stem}_{side}", Tiling(tile_px=side), work / slide.stem)
                for side in SIDES_PX
            ]
            for one, other in permutations(cuts, 2):
                _print(slide.stem, one, other)


def _print(name: str, one: Cut, other: Cut) -> None:
    found = compare(one, other)
    print(
        f"| {name} | {one.tile_px} | {other.tile_px} | {100 * found.classes:.3f}"
        f" | {found.activation:.4f} | {found.mask_jump:.3f} | {found.map_jump:.3f}"
        f" | {found.mask_ratio:.2f} | {found.map_ratio:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
