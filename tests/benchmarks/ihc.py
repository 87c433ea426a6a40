"""Ki-67 on drawn slides: the nuclei and the labelling index of stage 4 beside those drawn.

python -m tests.benchmarks.ihc --seeds 5

What lies on drawn artefacts (pen, fold, bubble, blur) is left out on both sides. The table is
that of docs/method.md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wsipsm import compute

compute.one_thread_each()

import numpy as np  # noqa: E402
import shapely  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402

from wsipsm.activation.activate import activate  # noqa: E402
from wsipsm.benchmark.points import CLASSES, centres  # noqa: E402
from wsipsm.config import Activation, Pretraining, Pseudomasks, Tiling  # noqa: E402
from wsipsm.evaluation.matching import best_pairs  # noqa: E402
from wsipsm.io import ngff  # noqa: E402
from wsipsm.io.geojson import read_annotations  # noqa: E402
from wsipsm.io.tiles import open_tiles  # noqa: E402
from wsipsm.phantom.phantom import draw_slides  # noqa: E402
from wsipsm.pretraining.pretrain import pretrain  # noqa: E402
from wsipsm.pseudomasks.pseudomask import pseudomask  # noqa: E402
from wsipsm.tiling.tile import tile  # noqa: E402

MPP = 0.25
RADIUS_PX, BORDER_PX = 10, 24
"""Of a detection (2.5 µm); and around an artefact, in which its edge spoils nuclei (6 µm)."""


@dataclass(frozen=True)
class Nuclei:
    """Centres (n, 2) as (y, x) in pixels, and class (n,), 1 negative and 2 positive."""

    places: NDArray[np.float64]
    classes: NDArray[np.int64]

    def only(self, keep: NDArray[np.bool_]) -> Nuclei:
        """The nuclei to `keep`."""
        return Nuclei(self.places[keep], self.classes[keep])

    @property
    def index(self) -> float:
        """Share of positive nuclei."""
        return float((self.classes == 2).mean())


def labelled(work: Path, *, seed: int, size_px: int) -> tuple[Nuclei, Nuclei]:
    """True and found nuclei of a drawn slide, each with its class whatever its confidence."""
    draw_slides(work, count=1, size_px=size_px, mpp=MPP, stain="ihc", seed=seed)
    paths = {name: work / f"{name}.zarr" for name in ("tiles", "activation", "masks")}
    tile(work / "phantom_ihc_1.tiff", paths["tiles"], settings=Tiling(), stain="ihc", workers=1)
    pretrain([paths["tiles"]], work / "encoder.pt", settings=Pretraining(steps=0), seed=0)
    activate(paths["tiles"], work / "encoder.pt", paths["activation"], settings=Activation())
    settings = Pseudomasks(method="stain", classes=CLASSES, min_confidence=0)
    pseudomask(paths["tiles"], paths["activation"], paths["masks"], settings=settings, seed=0)
    labels = ngff.open_group(paths["masks"])["labels"]
    classes, instances = (np.asarray(labels[f"{name}/0"]) for name in ("classes", "instances"))
    found = Nuclei(*centres(instances, classes))
    return _clear(work, _drawn(work)), _clear(work, found)


def _drawn(work: Path) -> Nuclei:
    polygons, names = read_annotations(work / "phantom_ihc_1.cells.geojson")
    points = shapely.get_coordinates(shapely.centroid(polygons))[:, ::-1]
    return Nuclei(points, np.array([1 + CLASSES.index(name) for name in names]))


def _clear(work: Path, nuclei: Nuclei) -> Nuclei:
    """Those in tiles that are used, and beside no artefact."""
    spoilt, _ = read_annotations(work / "phantom_ihc_1.artefacts.geojson")
    around = shapely.union_all(shapely.buffer(spoilt, BORDER_PX))
    y, x = nuclei.places.T
    slide = open_tiles(work / "tiles.zarr")
    used = slide.kept[(y // slide.grid.tile_px).astype(int), (x // slide.grid.tile_px).astype(int)]
    return nuclei.only(used & ~shapely.contains_xy(around, x, y))


def scores(true: Nuclei, found: Nuclei) -> dict[str, float]:
    """F1 of each class: of nuclei found and drawn (`class`), and of all (`found`)."""
    near = cKDTree(true.places).sparse_distance_matrix(
        cKDTree(found.places), RADIUS_PX, output_type="ndarray"
    )
    rows, cols = near["i"].astype(np.int64), near["j"].astype(np.int64)
    chosen = best_pairs(rows, cols, 2 - near["v"] / RADIUS_PX)
    here, there = true.classes[rows[chosen]], found.classes[cols[chosen]]
    out = {}
    for number, name in enumerate(CLASSES, start=1):
        both = 2 * float(((here == number) & (there == number)).sum())
        out[f"class {name}"] = both / float((here == number).sum() + (there == number).sum())
        every = (true.classes == number).sum() + (found.classes == number).sum()
        out[f"found {name}"] = both / float(every)
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size-px", type=int, default=2048)
    chosen = parser.parse_args()
    names = [f"{what} {name}" for what in ("class", "found") for name in CLASSES]
    header = ["seed", "nuclei", "index", "found", "points off", *(f"F1, {name}" for name in names)]
    print(f"| {' | '.join(header)} |\n{'| --: ' * len(header)}|")
    for seed in range(chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            true, found = labelled(Path(folder), seed=seed, size_px=chosen.size_px)
        values = scores(true, found)
        row = [f"{seed}", f"{len(true.places)}", f"{true.index:.3f}", f"{found.index:.3f}"]
        row += [f"{100 * (found.index - true.index):+.1f}", *(f"{values[n]:.3f}" for n in names)]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
