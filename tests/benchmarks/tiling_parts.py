"""CPU seconds of `wsipsm tile` by part, on the slide of `tests.benchmarks.tiling`.

python -m tests.benchmarks.tiling_parts [--size-px 20000]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.slides import large_slide
from tests.benchmarks.tiling import SETTINGS
from wsipsm import compute
from wsipsm.io import pyramid, resample, runs, shard, tiff_level
from wsipsm.tiling import tile as stage

PARTS: dict[str, list[tuple[Any, str]]] = {
    "decoding": [(tiff_level.TiffLevel, "_block")],
    "red, green and blue apart": [(resample, "planes")],
    "focus of tiles": [(stage, "focus")],
    "means for the pyramid": [(pyramid.ngff, "quarter")],
    "zstd, all levels": [(shard._Coder, "__call__")],
    "writing files": [(shard.Shard, "write")],
    "waiting for the disk": [(pyramid, "to_disk"), (runs, "to_disk")],
    "tissue mask": [(stage, "look")],
    "artefacts": [(stage, "_write_artefacts")],
}


@contextmanager
def timed(parts: dict[str, list[tuple[Any, str]]]) -> Iterator[Counter[str]]:
    """Count the CPU seconds that threads spend in functions, without what those call of others."""
    spent: Counter[str] = Counter()
    inside, lock = threading.local(), threading.Lock()

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            outer, inside.others = getattr(inside, "others", 0.0), 0.0
            start = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                took = time.thread_time() - start
                with lock:
                    spent[name] += took - inside.others
                inside.others = outer + took

        return call

    places = [(name, *place) for name, found in parts.items() for place in found]
    before = [(owner, name, getattr(owner, name)) for _, owner, name in places]
    for (part, owner, name), (_, _, function) in zip(places, before, strict=True):
        setattr(owner, name, watched(part, function))
    yield spent
    for owner, name, function in before:
        setattr(owner, name, function)


def main() -> None:
    """Run the stage twice, so that nothing is imported in the second, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-px", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="keep the slide here")
    chosen = parser.parse_args()
    compute.keep_memory()
    with tempfile.TemporaryDirectory() as private:
        folder = chosen.folder or Path(private)
        folder.mkdir(exist_ok=True)
        slide, target = large_slide(folder, size_px=chosen.size_px), folder / "parts.zarr"
        for _ in range(2):
            shutil.rmtree(target, ignore_errors=True)
            with timed(PARTS) as spent:
                start = time.process_time()
                stage.tile(slide, target, settings=SETTINGS)
                total = time.process_time() - start
        shutil.rmtree(target)
    spent["all else"] = total - spent.total()
    print("| part | CPU s | of all |\n| --- | --: | --: |")
    for name in [*PARTS, "all else"]:
        print(f"| {name} | {spent[name]:.2f} | {spent[name] / total:.0%} |")
    print(f"| all | {total:.2f} | |")


if __name__ == "__main__":
    compute.one_thread_each()
    main()
