"""How far the outlines of labelled fields lie from the stain that they outline.

python -m tests.benchmarks.shift ihc_deepliif_train --stain ihc

The outlines of a field are moved over its image, up to 12 px each way. Where the nuclear stain
inside them is densest, compared with that outside, they fit. Stain + Otsu + watershed is scored
by the outlines as they are, and as they fit.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsipsm.benchmark.fields import Field, read_fields
from wsipsm.benchmark.plain import stain_otsu
from wsipsm.benchmark.score import score_field
from wsipsm.benchmark.table import Value, markdown
from wsipsm.evaluation.metrics import METRICS
from wsipsm.io.slide import open_slide
from wsipsm.models.stain import label_density
from wsipsm.types import Region

REACH_PX, STEP_PX = 12, 2
SMOOTHING_PX = 1.0

Shift = tuple[int, int]


def look(field: Field) -> dict[str, Value]:
    """One row: where the outlines of a field fit, and what moving them there changes."""
    with open_slide(field.image, mpp=field.mpp) as slide:
        image = slide.read(Region(0, 0, slide.height_px, slide.width_px), mpp=field.mpp)
    truth = field.true_labels()
    density = ndimage.gaussian_filter(label_density(image, field.stain), SMOOTHING_PX)
    way = range(-REACH_PX, REACH_PX + 1, STEP_PX)
    steps = {shift: _step(density, truth > 0, shift) for shift in itertools.product(way, way)}
    best = max(steps, key=lambda shift: steps[shift])
    found = stain_otsu(image, field.stain, field.mpp, seed=0)
    columns = [METRICS.index(name) for name in ("aji", "detection_f1")]
    as_is, moved = (
        score_field(_moved(truth, shift), _moved(found, (0, 0)), mpp=field.mpp)[columns]
        for shift in ((0, 0), best)
    )
    return {
        "field": field.name,
        "outlines fit, px right": best[1],
        "px down": best[0],
        "density step as they are": steps[0, 0],
        "where they fit": steps[best],
        "AJI of stain + Otsu as they are": float(as_is[0]),
        "AJI where they fit": float(moved[0]),
    }


def _step(density: NDArray[np.float32], nuclei: NDArray[np.bool_], shift: Shift) -> float:
    """Mean density in nuclei that are moved, above that outside them."""
    moved, seen = _moved(nuclei, shift), _moved(density, (0, 0))
    return float(seen[moved].mean() - seen[~moved].mean())


def _moved(values: NDArray[np.generic], shift: Shift) -> NDArray[np.generic]:
    """Values (y, x) moved by a shift (y, x), without the rim that it may leave empty."""
    return np.roll(values, shift, (0, 1))[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]


def main() -> None:
    """Print the table."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stain", choices=("he", "ihc"), default="he")
    parser.add_argument("--mpp", type=float, default=0.25)
    asked = parser.parse_args()
    fields = read_fields([asked.folder], mpp=asked.mpp, stain=asked.stain)
    print(markdown([look(field) for field in fields if field.truth]))


if __name__ == "__main__":
    main()
