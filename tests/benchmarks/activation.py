"""Activation maps: how fast beside a plain loop, and how well they show nuclei.

python -m tests.benchmarks.activation speed    time a tile, beside the loop of the paper
python -m tests.benchmarks.activation auc      the 8 labelled fields of WSIPSM_TEST_DATA

`speed` is the table of docs/performance.md, `auc` that of docs/method.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsipsm import compute

compute.one_thread_each()
compute.keep_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402
from skimage.io import imread  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from torch.nn import functional  # noqa: E402

from wsipsm.activation.activate import Mapper, activate  # noqa: E402
from wsipsm.config import Activation, Pretraining, Tiling  # noqa: E402
from wsipsm.io import ngff  # noqa: E402
from wsipsm.io.checkpoint import save_checkpoint  # noqa: E402
from wsipsm.io.product import Provenance, read_record  # noqa: E402
from wsipsm.io.tiles import Tiles, open_tiles  # noqa: E402
from wsipsm.models.encoder import Encoder, frozen  # noqa: E402
from wsipsm.models.input import to_input  # noqa: E402
from wsipsm.models.stain import nuclear_density  # noqa: E402
from wsipsm.phantom.phantom import draw_slides  # noqa: E402
from wsipsm.pretraining.pretrain import pretrain  # noqa: E402
from wsipsm.tiling.tile import tile  # noqa: E402

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Field:
    """A field cut into tiles, and its nuclei; None where they are not known."""

    tiles: Path
    truth: Path | None


def paper_map(network: Encoder, image: NDArray[np.uint8]) -> Map:
    """The map of one tile as the paper describes it: every gradient, then the whole backward."""
    taken: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        taken.append(output)

    hooks = [block.register_forward_hook(keep) for block in network.backbone.layer1]
    network.zero_grad()
    network(to_input(image[None]))[0, 0].backward()
    for hook in hooks:
        hook.remove()
    maps = []
    for block in taken:
        assert block.grad is not None
        raw = (block.grad.mean((2, 3), keepdim=True) * block.detach()).sum(1, keepdim=True)
        maps.append(functional.interpolate(_unit(raw), image.shape[1:], mode="bilinear"))
    return np.asarray(_unit(torch.stack(maps).mean(0))[0, 0])


def _unit(values: torch.Tensor) -> torch.Tensor:
    return (values - values.min()) / (values.max() - values.min())


def speed(work: Path, *, count: int) -> None:
    """CPU time of a tile of 512 px: the loop, and the stage by both kinds of weights."""
    draw_slides(work, count=1, size_px=1024, mpp=0.25, stain="he", seed=0)
    tile(work / "phantom_1.tiff", work / "tiles.zarr", settings=Tiling())
    slide = open_tiles(work / "tiles.zarr")
    chosen = slide.kept_tiles()[:count]
    print("| network | maps | CPU ms a tile | faster | correlation | once a slide, CPU s |")
    print("| --- | --- | --: | --: | --: | --: |")
    for backbone in ("resnet18", "res2net101_26w_4s"):
        torch.manual_seed(0)
        encoder = work / f"{backbone}.pt"
        network = Encoder(backbone).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # at first they switch most blocks off
                torch.nn.init.uniform_(module.weight, 0.5, 1)
        provenance = Provenance("pretrain", {"backbone": backbone}, {}).as_dict()
        record = {"architecture": network.architecture, "provenance": provenance}
        save_checkpoint(encoder, network.state_dict(), record)
        _rows(backbone, slide, encoder, network, chosen)


def _rows(
    backbone: str, slide: Tiles, encoder: Path, network: Encoder, chosen: list[tuple[int, int]]
) -> None:
    images = [slide.read(slide.grid.tile(*place)) for place in chosen]
    plain, slow = _timed(lambda: [paper_map(network, image) for image in images])
    print(
        f"| {backbone} | loop of the paper | {slow / len(chosen) * 1e3:.0f} | 1.0 | | |", flush=True
    )
    frozen(network)
    for weights in ("tile", "slide"):
        halo_um = 0.0 if weights == "tile" else 8.0
        settings = Activation(weights=weights, smoothing_um=0, halo_um=halo_um, sample_tiles=2)
        mapper = Mapper(slide, encoder, settings)
        tuning, once = _timed(mapper.tune)
        found, fast = _timed(lambda m=mapper, t=tuning: m.maps(chosen, t))
        alike = _likeness(found, plain)
        print(
            f"| {backbone} | weights of the {weights} | {fast / len(chosen) * 1e3:.0f}"
            f" | {slow / fast:.1f} | {alike:.3f} | {once:.1f} |",
            flush=True,
        )


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    begun = time.process_time()
    return work(), time.process_time() - begun


def _likeness(ours: list[Map], plain: list[Map]) -> float:
    """Mean over tiles of the correlation without its sign, which the plain map lacks."""
    pairs = zip(ours, plain, strict=True)
    return float(
        np.mean([abs(np.corrcoef(a.ravel(), b[::4, ::4].ravel())[0, 1]) for a, b in pairs])
    )


def auc(work: Path, *, data: Path, seeds: int, settings: Activation) -> None:
    """Pixel AUC of oriented maps against true nuclei, and the share of flipped tiles."""
    fields = _fields(work, data)
    known = [field for field in fields if field.truth]
    print("| map | AUC, mean of fields | lowest | flipped tiles, % | training, CPU s |")
    print("| --- | --: | --: | --: | --: |")
    for sigma_um in (0.375, 0.75):
        found = [_auc(field, _stain(field, sigma_um), 4) for field in known]
        print(f"| haematoxylin, blurred by {sigma_um} µm | {_row(found)} | | |", flush=True)
    plain = Pretraining()
    for steps, name in ((0, "untrained"), (plain.steps, "default")):
        for seed in range(seeds):
            encoder = work / f"{name}_{seed}.pt"
            paths = [field.tiles for field in fields]
            chosen = Pretraining(steps=steps)
            _, seconds = _timed(
                lambda e=encoder, p=paths, c=chosen, s=seed: pretrain(p, e, settings=c, seed=s)
            )
            aucs, flipped = _scores(known, encoder, work / f"{name}_{seed}", settings)
            words = f"{_row(aucs)} | {100 * flipped:.1f} | {seconds:.0f}"
            print(f"| {name}, seed {seed} | {words} |", flush=True)


def _scores(
    known: list[Field], encoder: Path, folder: Path, settings: Activation
) -> tuple[list[float], float]:
    folder.mkdir(exist_ok=True)
    aucs, flipped = [], []
    for field in known:
        target = folder / field.tiles.name
        activate(field.tiles, encoder, target, settings=settings, workers=1)
        record = read_record(target)
        aucs.append(_auc(field, np.asarray(ngff.open_group(target)["0"]), record["stride"]))
        flipped.append(record["orientation"]["flipped_share"])
    return aucs, float(np.mean(flipped))


def _fields(work: Path, data: Path) -> list[Field]:
    fields = []
    for folder in ("monuseg_train", "monuseg_train_unlabelled"):
        for image in sorted((data / folder / "images").iterdir()):
            tiles = work / f"{image.stem}.zarr"
            tile(image, tiles, settings=Tiling(exclude=()), slide_mpp=0.25, workers=1)
            truth = data / folder / "labels" / f"{image.stem}.png"
            fields.append(Field(tiles, truth if truth.exists() else None))
    return fields


def _stain(field: Field, sigma_um: float) -> Map:
    slide = open_tiles(field.tiles)
    density = nuclear_density(np.asarray(slide.image), slide.stain)
    return np.asarray(ndimage.gaussian_filter(density, sigma_um / slide.mpp)[::4, ::4])


def _auc(field: Field, found: Map, stride: int) -> float:
    assert field.truth
    truth = imread(field.truth)[::stride, ::stride] > 0
    return float(roc_auc_score(truth.ravel(), found.ravel().astype(np.float32)))


def _row(aucs: list[float]) -> str:
    return f"{np.mean(aucs):.3f} | {min(aucs):.3f}"


def main() -> None:
    """Run one of the comparisons, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "auc"))
    parser.add_argument("--tiles", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", nargs="+", default=["layer1"])
    parser.add_argument("--smoothing-um", type=float, default=Activation().smoothing_um)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.what == "speed":
            speed(Path(folder), count=chosen.tiles)
        else:
            data = Path(os.environ.get("WSIPSM_TEST_DATA", "../shared/data"))
            settings = Activation(layers=tuple(chosen.layers), smoothing_um=chosen.smoothing_um)
            auc(Path(folder), data=data, seeds=chosen.seeds, settings=settings)


if __name__ == "__main__":
    main()
