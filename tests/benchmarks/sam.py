"""What adapters bring on drawn slides, and what prompts save: `base`, `adapt`, `speed`.

`python -m tests.benchmarks.sam base FILE FOLDER` trains a small model in full on H&E phantoms,
which it draws into a folder (`draw FOLDER` does that alone), and writes it under the published
names; `adapt FILE FOLDER` adapts it to another look, IHC at a lower resolution, and prints a table;
`speed` times prompts against the grid, and suppression against the matrix of all pairs; `device`
times models of the published sizes, random, on a GPU or whatever there is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks import sam_adapt, sam_base, sam_slides, sam_speed
from wsipsm import compute

if __name__ == "__main__":
    compute.keep_memory()
    match sys.argv[1:]:
        case ["draw", folder]:
            for look in (sam_slides.HOME, sam_slides.ABROAD):
                sam_slides.slides_of(look, Path(folder))
        case ["base", target, folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            sam_base.base(Path(target), Path(folder))
        case ["adapt", target, folder]:
            sam_adapt.adapt_to(Path(target), Path(folder))
        case ["speed"]:
            sam_speed.speed()
        case ["device", *names]:
            sam_speed.on_device(names or ["vit_b", "vit_h"])
        case _:
            sys.exit(__doc__)
