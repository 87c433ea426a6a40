"""Stage 3: the prior self-activation map of every tissue tile of one slide, on Dask workers."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from wsipsm import compute
from wsipsm.activation.orientation import Orientation, align, orient
from wsipsm.batches import Batches, Spent
from wsipsm.config import Activation
from wsipsm.io import ngff
from wsipsm.io.product import Partial, Provenance, making, write_record
from wsipsm.io.sample import sample_regions
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.models.encoder import (
    Encoder,
    activation_maps,
    channel_weights,
    load_encoder,
    map_stride,
    reach_px,
)
from wsipsm.models.input import to_input
from wsipsm.models.stain import nuclear_density
from wsipsm.types import Region

BATCH = 4
HALO_MULTIPLE = 32
DENSITY_SIGMA_UM = 0.4
SIGMAS = 3
"""Where the Gaussian that smooths a map is cut off."""

Place = tuple[int, int]
TileBatches = Batches[Place, NDArray[np.uint8], NDArray[np.float32]]


def activate(
    tiles: Path, encoder: Path, target: Path, *, settings: Activation, workers: int | None = None
) -> None:
    """Write the oriented activation map, float16 in [0, 1], at the stride of the tapped stage.

    With stride 4 (layer1), map pixel j is centred on pixel 4 j of the tiles.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    SettingsError
        The weights are absent or damaged.
    """
    slide = open_tiles(tiles)
    mapper = Mapper(slide, encoder, settings)
    inputs = {"tiles": slide.id, "encoder": mapper.encoder_id}
    provenance = Provenance("activate", settings.model_dump(), inputs)
    with making(target, provenance) as partial:
        tuning = mapper.tune()
        group = ngff.open_group(partial.path, "a")
        array = _create_map(group, slide, mapper.stride)
        write = _WriteShard(slide, encoder, settings, tuning, array, partial)
        shards = [
            shard
            for shard in slide.kept_shards()
            if not partial.done(*shard, intact=functools.partial(write.intact, shard))
        ]
        spent = compute.run_each(write, shards, workers=workers, label="activate")
        compute.say_busy("activate", spent)
        write_record(
            partial.path, provenance, stride=mapper.stride, orientation=asdict(tuning.orientation)
        )


def _create_map(group: zarr.Group, slide: Tiles, stride: int) -> zarr.Array[Any]:
    shift = (1 - stride) / (2 * stride)
    scales = ngff.multiscales(
        "activation", axes="yx", mpp=slide.mpp * stride, levels=1, translation_px=shift
    )
    group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    return ngff.create_array(
        group,
        "0",
        shape=tuple(-(-size // stride) for size in slide.image.shape[1:]),
        chunk_px=slide.grid.tile_px // stride,
        shard_px=slide.grid.shard_px // stride,
        dtype="float16",
    )


@dataclass(frozen=True)
class Tuning:
    """What is set once for a slide: orientation, and channel weights unless tiles have theirs."""

    orientation: Orientation
    weights: list[Tensor] | None


@dataclass(frozen=True)
class _WriteShard:
    """Maps one shard; runs on a worker, which loads the network for itself."""

    slide: Tiles
    encoder: Path
    settings: Activation
    tuning: Tuning
    array: zarr.Array[Any]
    partial: Partial

    def intact(self, shard: tuple[int, int]) -> bool:
        """Whether what a killed run wrote of a shard can be read."""
        stride = map_stride(self.settings.layers)
        return ngff.intact(self.array, self.slide.grid.shard(*shard).scaled_down(stride))

    def __call__(self, shard: tuple[int, int]) -> Spent:
        mapper = Mapper(self.slide, self.encoder, self.settings)
        region = self.slide.grid.shard(*shard).scaled_down(mapper.stride)
        maps, spent = mapper.shard(shard, self.tuning)
        ngff.write_shard(self.array, region, maps)
        self.partial.finish(*shard)
        return spent


class Mapper:
    """Activation maps of one slide's tiles, each tile read with its halo."""

    def __init__(self, slide: Tiles, encoder: Path, settings: Activation) -> None:
        self.network, self.encoder_id, reach = _network(encoder, settings.layers)
        self.device = next(self.network.parameters()).device
        self.slide, self.settings = slide, settings
        self.stride = map_stride(settings.layers)
        self.sigma = settings.smoothing_um / (slide.mpp * self.stride)
        needed = settings.halo_um / slide.mpp
        if settings.weights == "slide":  # then nothing beyond the reach can change the map
            needed = max(needed, reach + SIGMAS * self.sigma * self.stride)
        self.halo_px = HALO_MULTIPLE * math.ceil(needed / HALO_MULTIPLE)

    def tune(self) -> Tuning:
        """Orientation and channel weights from squares of tissue, the same for any tile size."""
        regions = sample_regions(self.slide, count=self.settings.sample_tiles)
        images = np.stack([self.slide.read(region.grown(self.halo_px)) for region in regions])
        density = np.stack([self._density(image) for image in images])
        weights = [self._weights(batch) for batch in _parts(images)]
        own = [torch.cat(block) for block in zip(*weights, strict=True)]
        maps = self._sample_maps(images, [list(torch.split(block, BATCH)) for block in own])
        orientation = orient(maps, density)
        if self.settings.weights == "tile":
            return Tuning(orientation, None)
        shared = align(own, maps, density)
        every = [[weight] * len(weights) for weight in shared]
        again = orient(self._sample_maps(images, every), density)
        return Tuning(replace(again, flipped_share=orientation.flipped_share), shared)

    def _sample_maps(
        self, images: NDArray[np.uint8], weights: list[list[Tensor]]
    ) -> NDArray[np.float32]:
        batches = zip(_parts(images), *weights, strict=True)
        return np.concatenate([self._raw(batch, list(own)) for batch, *own in batches])

    def shard(self, shard: tuple[int, int], tuning: Tuning) -> tuple[NDArray[np.float16], Spent]:
        """Oriented maps of one shard, 0 where there is no tissue tile; and what time they took."""
        area = self.slide.grid.shard(*shard).scaled_down(self.stride)
        out = np.zeros((area.height, area.width), np.float16)
        batches = self._batches(tuning)
        for tile, found in _each(batches, self.slide.kept_tiles_of(shard)):
            where = self.slide.grid.tile(*tile).scaled_down(self.stride).within(area)
            out[where.slices] = found[: where.height, : where.width]
        return out, batches.spent

    def maps(self, tiles: Sequence[Place], tuning: Tuning) -> list[NDArray[np.float32]]:
        """Oriented maps (y, x) of tiles, given by row and column, as `shard` makes them."""
        return [found for _, found in _each(self._batches(tuning), tiles)]

    def _batches(self, tuning: Tuning) -> TileBatches:
        def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return tuning.orientation.apply(self._raw(images, tuning.weights))

        return Batches(self._images, run, BATCH, self.device)

    def _images(self, tiles: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        return np.stack([self._read(tile) for tile in tiles])

    def _read(self, tile: tuple[int, int]) -> NDArray[np.uint8]:
        side = self.slide.grid.tile_px
        region = Region(tile[0] * side, tile[1] * side, side, side)
        return self.slide.read(region.grown(self.halo_px))

    def _input(self, images: NDArray[np.uint8]) -> Tensor:
        return to_input(images).to(self.device, memory_format=torch.channels_last)

    def _weights(self, images: NDArray[np.uint8]) -> list[Tensor]:
        # on a CPU one by one: gradients of a batch differ in the last bit from those of its parts
        size = 1 if self.device.type == "cpu" else len(images)
        layers, parts = self.settings.layers, torch.split(self._input(images), size)
        with compute.fast_floats(self.device):
            found = [channel_weights(self.network, part, layers=layers) for part in parts]
        return [torch.cat(block).cpu() for block in zip(*found, strict=True)]

    def _raw(self, images: NDArray[np.uint8], weights: list[Tensor] | None) -> NDArray[np.float32]:
        own = [weight.to(self.device) for weight in weights or self._weights(images)]
        inputs, layers = self._input(images), self.settings.layers
        with compute.fast_floats(self.device):
            maps = activation_maps(self.network, inputs, layers=layers, weights=own)
        return self._inner(self._smooth(maps.cpu().numpy()))

    def _smooth(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.sigma == 0:
            return maps
        sigmas = (0, 0, self.sigma, self.sigma)
        return np.asarray(ndimage.gaussian_filter(maps, sigmas, truncate=SIGMAS))

    def _inner(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        halo = self.halo_px // self.stride
        return maps[..., halo : maps.shape[-2] - halo, halo : maps.shape[-1] - halo]

    def _density(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        density = nuclear_density(image, self.slide.stain)
        smooth = ndimage.gaussian_filter(density, DENSITY_SIGMA_UM / self.slide.mpp)
        return self._inner(smooth[:: self.stride, :: self.stride])


def _network(path: Path, layers: tuple[str, ...]) -> tuple[Encoder, str, int]:
    """The network on its device, its identity, and its reach."""
    known = path.stat() if path.is_file() else None
    written = (known.st_mtime_ns, known.st_ino) if known else (0, 0)
    return _load(path, layers, written)


@functools.lru_cache(maxsize=1)
def _load(path: Path, layers: tuple[str, ...], _: tuple[int, int]) -> tuple[Encoder, str, int]:
    """Kept from shard to shard, as long as the file is the same."""
    encoder, trained = load_encoder(path)
    reach = reach_px(encoder, layers)
    return encoder.to(compute.device()), trained["provenance"]["id"], reach


def _parts(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [images[i : i + BATCH] for i in range(0, len(images), BATCH)]


def _each(
    batches: TileBatches, tiles: Sequence[Place]
) -> Iterator[tuple[Place, NDArray[np.float32]]]:
    """Each tile with what its batch made of it."""
    for batch, _, made in batches.over(tiles):
        yield from zip(batch, made, strict=True)
