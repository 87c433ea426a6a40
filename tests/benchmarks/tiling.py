"""Time `wsipsm tile` beside OpenSlide, tiatoolbox and the floor on one JPEG slide; or its memory.

python -m tests.benchmarks.tiling speed     the table of docs/performance.md
python -m tests.benchmarks.tiling memory    peak memory of a small and a large slide

`tests.benchmarks.tiling_parts` tells what the stage spends its time on.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import imagecodecs
import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tests.benchmarks.slides import MPP, TILE_PX, large_slide
from wsipsm import compute
from wsipsm.config import Tiling
from wsipsm.io import ngff
from wsipsm.io.pyramid import PyramidShard, create_levels
from wsipsm.io.resample import planes
from wsipsm.io.tiles import WHITE, Tiles, open_tiles
from wsipsm.tiling.tile import tile
from wsipsm.types import Region

SETTINGS = Tiling(mpp=MPP)
OURS = "`wsipsm tile`"

T = TypeVar("T")
Shard = tuple[int, int]
Peer = Callable[[Path, Path, Tiles, int], None]


def wsipsm_tile(slide: Path, target: Path, workers: int) -> Tiles:
    """Run the whole stage: masks, artefacts, tiles, pyramid."""
    tile(slide, target, settings=SETTINGS, workers=workers)
    return open_tiles(target)


def openslide_regions(slide: Path, target: Path, tiles: Tiles, workers: int) -> None:
    """Read the same tiles by `read_region`, and write them into a store of the same kind."""
    source = openslide.OpenSlide(slide)

    def read(tile: Region) -> NDArray[np.uint8]:
        image = source.read_region((tile.x, tile.y), 0, (tile.width, tile.height))
        return planes(np.asarray(image)[..., :3])

    _write(target, tiles, workers, lambda: read)


def tiatoolbox_extractor(slide: Path, target: Path, tiles: Tiles, workers: int) -> None:
    """Cut the same tiles with the sliding-window extractor, one for each shard."""
    from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor
    from tiatoolbox.wsicore.wsireader import WSIReader

    def open_slide() -> Callable[[Region], NDArray[np.uint8]]:
        extractor = SlidingWindowPatchExtractor(
            WSIReader.open(slide), (TILE_PX, TILE_PX), resolution=0, units="level"
        )
        places = {(int(y), int(x)): at for at, (x, y, *_) in enumerate(extractor.coordinate_list)}

        def read(tile: Region) -> NDArray[np.uint8]:
            cut = extractor[places[tile.y, tile.x]]
            return planes(cut[: tile.height, : tile.width])

        return read

    _write(target, tiles, workers, open_slide)


def floor(slide: Path, _target: Path, tiles: Tiles, workers: int) -> None:
    """Decode the JPEG tiles that the stage wrote and compress their bytes, nothing else."""
    _squeeze(slide, tiles, workers, lambda _shard, _tiles: None)


def floor_on_disk(slide: Path, target: Path, tiles: Tiles, workers: int) -> None:
    """Do what the floor does, and write what is compressed to a file a shard."""
    target.mkdir(exist_ok=True)

    def write(shard: Shard, squeezed: list[bytes]) -> None:
        with (target / f"{shard[0]}_{shard[1]}").open("wb") as file:
            file.writelines(squeezed)

    _squeeze(slide, tiles, workers, write)


def floor_of_store(slide: Path, target: Path, tiles: Tiles, workers: int) -> None:
    """Decode as the floor does, and write what the stage writes, but no mask and no score."""
    with decoder(slide) as decode:

        def read(tile: Region) -> NDArray[np.uint8]:
            pixels = decode(tile.y // TILE_PX, tile.x // TILE_PX)
            return planes(pixels[: tile.height, : tile.width])

        _write(target, tiles, workers, lambda: read)


def _squeeze(
    slide: Path, tiles: Tiles, workers: int, write: Callable[[Shard, list[bytes]], None]
) -> None:
    written = written_tiles(tiles)
    with decoder(slide) as decode:

        def squeeze(shard: Shard) -> None:
            squeezed = [
                bytes(imagecodecs.zstd_encode(decode(*place), level=ngff.ZSTD_LEVEL))
                for place in filter(written.__getitem__, tiles.grid.tiles_of_shard(*shard))
            ]
            write(shard, squeezed)

        _each(squeeze, _shards(tiles), workers)


@contextmanager
def decoder(slide: Path) -> Iterator[Callable[[int, int], Any]]:
    """Gives what decodes the JPEG tile (row, col) of a slide to RGB, uint8 (y, x, 3)."""
    with tifffile.TiffFile(slide) as file, slide.open("rb") as opened:
        page = file.pages.first
        columns = -(-page.imagewidth // TILE_PX)

        def decode(row: int, col: int) -> Any:
            at = row * columns + col
            data = os.pread(opened.fileno(), page.databytecounts[at], page.dataoffsets[at])
            return imagecodecs.jpeg8_decode(data)

        yield decode


def written_tiles(tiles: Tiles) -> NDArray[np.bool_]:
    """Tiles that the stage wrote, bool (rows, cols): those with tissue and those beside them."""
    return np.asarray(binary_dilation(tiles.kept | tiles.excluded, np.ones((3, 3), bool)))


def _write(
    target: Path,
    tiles: Tiles,
    workers: int,
    open_slide: Callable[[], Callable[[Region], NDArray[np.uint8]]],
) -> None:
    """Write tiles with their pyramid as the stage does, into a store of the same kind."""
    group = ngff.open_group(target, "w")
    levels = create_levels(group, tiles.grid, fill=WHITE, codec=SETTINGS.codec)
    written = written_tiles(tiles)

    def write(shard: Shard) -> None:
        read, pyramid = open_slide(), PyramidShard(levels, tiles.grid, shard)
        for place in filter(written.__getitem__, tiles.grid.tiles_of_shard(*shard)):
            tile = tiles.grid.tile(*place)
            pyramid.put(tile, read(tile))
        pyramid.write()

    _each(write, _shards(tiles), workers)


def _shards(tiles: Tiles) -> list[Shard]:
    """Shards that the stage wrote: those of which a file exists."""
    root = tiles.path / "0" / "c" / "0"
    return [(row, col) for row, col in tiles.grid.shards() if (root / f"{row}/{col}").exists()]


def _each(work: Callable[[Shard], None], shards: list[Shard], workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, shards))


def speed(folder: Path, *, size_px: int, rounds: int, workers: int) -> None:
    """Print the table: the best of some rounds, in which each takes its turn."""
    slide = large_slide(folder, size_px=size_px)
    peers: dict[str, Peer] = {
        "floor: decoding and zstd": floor,
        "floor, written to disk": floor_on_disk,
        "floor, as the same store": floor_of_store,
        "OpenSlide `read_region`": openslide_regions,
        "tiatoolbox extractor": tiatoolbox_extractor,
    }
    times: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds):
        shutil.rmtree(folder / "ours.zarr", ignore_errors=True)
        tiles = _timed(times, OURS, partial(wsipsm_tile, slide, folder / "ours.zarr", workers))
        for name, peer in peers.items():
            if turn == 0 or peer is not tiatoolbox_extractor:  # it is long
                shutil.rmtree(folder / "peer", ignore_errors=True)
                _timed(times, name, partial(peer, slide, folder / "peer", tiles, workers))
    written = [tiles.grid.tile(*place) for place in np.argwhere(written_tiles(tiles)).tolist()]
    pixels = sum(tile.height * tile.width for tile in written) / 1e6
    wall, cpu = (min(pair[at] for pair in times[OURS]) for at in (0, 1))
    print(f"{size_px} px, {pixels:.0f} MP in tiles that are written, {workers} threads")
    print(
        f"{tiles.tissue().mean():.0%} tissue, {slide.stat().st_size / size_px**2:.2f} bytes a pixel"
    )
    stored = sum(
        path.stat().st_size for path in (tiles.path / "0" / "c").rglob("*") if path.is_file()
    )
    print(f"zstd leaves {stored / pixels / 3e6:.0%} of the bytes of level 0\n")
    print("| what | s | CPU s | MP/s | of wsipsm's time | of its CPU time |")
    print("| --- | --: | --: | --: | --: | --: |")
    for name, found in times.items():
        best = [min(pair[at] for pair in found) for at in (0, 1)]
        row = f"{best[0]:.1f} | {best[1]:.1f} | {pixels / best[0]:.0f} "
        print(f"| {name} | {row}| {best[0] / wall:.2f} | {best[1] / cpu:.2f} |")


def _timed(times: dict[str, list[tuple[float, float]]], name: str, work: Callable[[], T]) -> T:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    return result


def memory(folder: Path, *, sizes_px: list[int], workers: int) -> None:
    """Print the peak memory of `wsipsm tile` on slides of several sizes."""
    first = 0.0
    print("| size, px | peak memory, MB | of the first |\n| --- | --- | --- |")
    for size_px in sizes_px:
        slide = large_slide(folder, size_px=size_px)
        command = [
            sys.executable,
            __file__,
            "one",
            str(slide),
            str(folder / "m.zarr"),
            str(workers),
        ]
        shutil.rmtree(folder / "m.zarr", ignore_errors=True)
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        first = first or peak
        print(f"| {size_px} | {peak:.0f} | {peak / first:.2f} |")


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "memory", "one"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--size-px", type=int, default=20_000)
    parser.add_argument("--large-px", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the slides here")
    chosen = parser.parse_args()
    workers = compute.allotted_cores()
    compute.keep_memory()
    if chosen.what == "one":
        slide, target, threads = chosen.rest
        wsipsm_tile(Path(slide), Path(target), int(threads))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
        return
    with tempfile.TemporaryDirectory() as private:
        folder = chosen.folder or Path(private)
        folder.mkdir(exist_ok=True)
        if chosen.what == "speed":
            speed(folder, size_px=chosen.size_px, rounds=chosen.rounds, workers=workers)
        else:
            memory(folder, sizes_px=[chosen.size_px, chosen.large_px], workers=workers)


if __name__ == "__main__":
    compute.one_thread_each()
    main()
