"""The paper's recipe on fields: pseudo masks per tile, points, and two U-Nets in turn.

Each function makes one product, as a stage does: a Zarr group with the label images `classes`
(0 background, 1 ... k, 255 ignore), `instances` and, for what is learnt from points, `voronoi`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from wsipsm import compute
from wsipsm.benchmark import paper
from wsipsm.benchmark.recipe import CENTRE_UM, NOTHING, Loss, Recipe, Samples, centre_of
from wsipsm.evaluation import controls
from wsipsm.io import ngff
from wsipsm.io.checkpoint import load_checkpoint, save_checkpoint
from wsipsm.io.product import Partial, Provenance, identity, making, read_record, write_record
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.encoder import load_encoder
from wsipsm.models.input import to_input
from wsipsm.models.stain import nuclear_density
from wsipsm.models.unet import UNet
from wsipsm.types import Region

MULTIPLE_PX = 32


def paper_masks(
    tiles: Path,
    source: Path,
    target: Path,
    *,
    settings: Recipe,
    seed: int,
    centre_only: bool = False,
    workers: int = 1,
) -> None:
    """Pseudo masks of one field, tile by tile, and the map that they are from (`0`).

    `source` is an encoder, whose own maps each tile has, or the product of stage 3. The centre
    tile, which the paper trains on and scores, is whole; the others are laid out around it, or
    left 0 with `centre_only`.
    """
    del workers
    slide = open_tiles(tiles)
    inputs = {"tiles": slide.id, "source": identity(source)}
    known = {**settings.model_dump(), "seed": seed, "centre_only": centre_only}
    provenance = Provenance("paper_masks", known, inputs)
    with making(target, provenance) as partial:
        map_of = _OwnMaps(slide, source, settings) if source.suffix == ".pt" else _maps(source)
        size = slide.grid.height_px, slide.grid.width_px
        whole, classes = np.zeros(size, np.float32), np.zeros(size, np.uint8)
        for region in [centre_of(slide)] if centre_only else dict.fromkeys(_cut(slide)):
            image = slide.read(region)
            whole[region.slices] = values = map_of(image, region)
            classes[region.slices] = paper.jet_classes(
                image, values, clusters=settings.clusters, classes=settings.classes, seed=seed
            )
        classes = paper.tidy_classes(classes, mpp=slide.mpp)
        instances = paper.components(classes, mpp=slide.mpp)
        _write(partial, slide, {"classes": classes, "instances": instances}, provenance)
        group = ngff.open_group(partial.path, "a")
        group.create_array("0", data=whole.astype(np.float16))
        write_record(partial.path, provenance, stride=1)


def paper_network(
    slides: Sequence[tuple[Path, Path]],
    target: Path,
    *,
    settings: Recipe,
    seed: int,
    workers: int = 1,
) -> None:
    """Train a U-Net on the label images of fields: `tiles.zarr` and the product of each.

    Where products hold `voronoi`, that loss is added (section 2.3: stage two).
    """
    open_fields = [(open_tiles(tiles), read_arrays(labels)) for tiles, labels in slides]
    ids = {tiles.slide: identity(labels) for (tiles, _), (_, labels) in
           zip(open_fields, slides, strict=True)}  # fmt: skip
    provenance = Provenance("paper_network", {**settings.model_dump(), "seed": seed}, ids)
    with making(target, provenance) as partial:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = UNet(settings.backbone, classes=settings.classes)
        network.to(compute.device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        curve = fit(
            network,
            sample_of=Samples(open_fields, settings, seed),
            loss_of=Loss(settings),
            plan=Plan(settings.steps, settings.batch, settings.learning_rate),
            snapshot=partial.path.with_name("snapshot"),
            workers=workers,
        )
        record = {"provenance": provenance.as_dict(), "architecture": network.architecture}
        save_checkpoint(partial.path, network.state_dict(), {**record, "curve": curve})


def paper_points(
    tiles: Path, masks: Path, network: Path, target: Path, *, workers: int = 1
) -> None:
    """What the second U-Net learns of a field's centre tile: background, the points' Voronoi."""
    del workers
    slide = open_tiles(tiles)
    inputs = {"tiles": slide.id, "masks": identity(masks), "network": identity(network)}
    provenance = Provenance("paper_points", {}, inputs)
    with making(target, provenance) as partial:
        centre = centre_of(slide)
        chances = _chances(network, slide, centre)
        points = paper.peaks(1 - chances[0], mpp=slide.mpp)
        own = {
            "classes": np.where(read_arrays(masks)["classes"][centre.slices] > 0, NOTHING, 0),
            "voronoi": paper.voronoi(points, chances.argmax(0).astype(np.uint8), mpp=slide.mpp),
        }
        size = slide.grid.height_px, slide.grid.width_px
        labels = {name: np.full(size, NOTHING, np.uint8) for name in own}
        for name, values in own.items():
            labels[name][centre.slices] = values
        _write(partial, slide, labels, provenance)


def paper_segment(tiles: Path, network: Path, target: Path, *, workers: int = 1) -> None:
    """Classes, instances (connected components) and points (peaks: y, x, class) of one field."""
    del workers
    slide = open_tiles(tiles)
    provenance = Provenance("paper_segment", {}, {"tiles": slide.id, "network": identity(network)})
    with making(target, provenance) as partial:
        chances = _chances(network, slide, Region(0, 0, *slide.image.shape[1:]))
        classes = paper.tidy_classes(chances.argmax(0).astype(np.uint8), mpp=slide.mpp)
        instances = paper.components(classes, mpp=slide.mpp)
        points = paper.peaks(1 - chances[0], mpp=slide.mpp)
        own = 1 + chances[1:, points[:, 0], points[:, 1]].argmax(0)
        _write(partial, slide, {"classes": classes, "instances": instances}, provenance)
        group = ngff.open_group(partial.path, "a")
        group.create_array("points", data=np.column_stack([points, own]).astype(np.int64))


def read_arrays(product: Path) -> dict[str, NDArray[Any]]:
    """The label images (y, x) of a product of these functions or of stage 4, by name."""
    labels = ngff.open_group(product)["labels"]
    assert isinstance(labels, zarr.Group)
    return {name: np.asarray(labels[f"{name}/0"]) for name in labels.group_keys()}


class _OwnMaps:
    """Maps of a field's tiles, each by its own weights, range and (unless oriented) sign."""

    def __init__(self, slide: Tiles, encoder: Path, settings: Recipe) -> None:
        self.slide, self.settings = slide, settings
        self.encoder = load_encoder(encoder)[0].to(compute.device())

    def __call__(self, image: NDArray[np.uint8], _: Region) -> NDArray[np.float32]:
        """The map (y, x) in [0, 1] of one tile, at its pixels."""
        values = paper.own_map(self.encoder, image)
        density = nuclear_density(image, self.slide.stain)
        if (
            self.settings.oriented
            and controls.signs_of(values.reshape(1, -1), density.ravel())[0] < 0
        ):
            values = 1 - values
        return values


def _maps(activation: Path) -> Any:
    stride = read_record(activation)["stride"]
    coarse = np.asarray(ngff.open_group(activation)["0"], np.float32)
    fine = controls.enlarge(coarse, stride)
    return lambda _, region: fine[region.slices]


def _cut(slide: Tiles) -> Iterator[Region]:
    """Tiles that cover a field, the last ones shifted into it; the one in the middle at the end."""
    side = round(CENTRE_UM / slide.mpp)
    size = slide.grid.height_px, slide.grid.width_px
    starts = [
        sorted({max(0, min(at, length - side)) for at in range(0, length, side)}) for length in size
    ]
    for y, x in itertools.product(*starts):
        yield Region(y, x, min(side, size[0]), min(side, size[1]))
    yield centre_of(slide)


def _chances(network: Path, slide: Tiles, region: Region) -> NDArray[np.float32]:
    """Probability of each class at each pixel of a region of a field, float32 (k + 1, y, x)."""
    state, record = load_checkpoint(network)
    model = UNet(**record["architecture"])
    model.load_state_dict(state)
    model.eval().to(compute.device())
    sides = (MULTIPLE_PX * -(-size // MULTIPLE_PX) for size in (region.height, region.width))
    image = slide.read(Region(region.y, region.x, *sides))
    with torch.inference_mode():
        scores = model(to_input(image[None]).to(compute.device()))[0, :-1]
        chances = torch.softmax(scores.float(), dim=0).cpu().numpy()
    return np.asarray(chances[:, : region.height, : region.width])


def _write(
    partial: Partial, slide: Tiles, labels: dict[str, NDArray[Any]], provenance: Provenance
) -> None:
    group = ngff.open_group(partial.path, "w")
    home = group.require_group("labels")
    home.attrs["ome"] = {"version": "0.5", "labels": list(labels)}
    for name, values in labels.items():
        image = home.require_group(name)
        dtype = np.int64 if name == "instances" else np.uint8
        image.create_array("0", data=values.astype(dtype), dimension_names=("y", "x"))
        scales = ngff.multiscales(name, axes="yx", mpp=slide.mpp, levels=1)
        image.attrs["ome"] = {"version": "0.5", "multiscales": [scales], "image-label": {}}
    write_record(partial.path, provenance)
