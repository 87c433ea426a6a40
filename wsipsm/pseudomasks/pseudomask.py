"""Stage 4: cluster stain density and activation of one slide into pseudo masks."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_holes

from wsipsm import compute
from wsipsm.config import Pseudomasks
from wsipsm.errors import DataError
from wsipsm.io import ngff
from wsipsm.io.product import Partial, Provenance, making, read_record, write_record
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.models.instances import split_by_distance, tidy_objects
from wsipsm.pseudomasks.codebook import BACKGROUND, IGNORE, Codebook, fit_codebook
from wsipsm.pseudomasks.features import (
    CLASS_STAIN,
    COARSE,
    DENSITY,
    TRUNCATE,
    pixel_features,
    upsample_map,
)
from wsipsm.types import Region

HOLE_UM2 = 40.0
LARGEST_UM = 24.0
"""Largest extent of an object that two neighbouring shards see alike."""

SAMPLE_TILES = 16


def pseudomask(
    tiles: Path,
    activation: Path,
    target: Path,
    *,
    settings: Pseudomasks,
    seed: int,
    workers: int | None = None,
) -> None:
    """Write `labels/classes` (0 background, 1 ... k, 255 ignore) and `labels/instances`.

    Instances are int64; the id of an object is 1 + the position of its centre in the slide
    (row x width + col), so that neighbouring shards name it alike.

    Raises
    ------
    QuarantinedError
        The slide was set aside.
    DataError
        The slide shows nothing to tell nuclei from background by.
    """
    slide = open_tiles(tiles)
    mapped = read_record(activation)
    inputs = {"tiles": slide.id, "activation": mapped["provenance"]["id"]}
    provenance = Provenance("pseudomask", {**settings.model_dump(), "seed": seed}, inputs)
    with making(target, provenance) as partial:
        labeller = _Labeller(slide, activation, settings)
        codebook = labeller.codebook(seed)
        group = ngff.open_group(partial.path, "a")
        classes, instances = _create_labels(group, slide)
        write = _WriteShard(labeller, codebook, classes, instances, partial)
        shards = [
            shard
            for shard in slide.kept_shards()
            if not partial.done(*shard, intact=functools.partial(write.intact, shard))
        ]
        compute.run_each(write, shards, workers=workers, label="pseudomask")
        write_record(
            partial.path,
            provenance,
            classes=list(settings.classes),
            codebook=asdict(codebook),
        )


def _create_labels(group: zarr.Group, slide: Tiles) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    labels = group.require_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["classes", "instances"]}
    made = []
    for name, dtype in (("classes", "uint8"), ("instances", "int64")):
        image = labels.require_group(name)
        scales = ngff.multiscales(name, axes="yx", mpp=slide.mpp, levels=1)
        image.attrs["ome"] = {"version": "0.5", "multiscales": [scales], "image-label": {}}
        made.append(
            ngff.create_array(
                image,
                "0",
                shape=slide.image.shape[1:],
                chunk_px=slide.grid.tile_px,
                shard_px=slide.grid.shard_px,
                dtype=dtype,
            )
        )
    return made[0], made[1]


@dataclass(frozen=True)
class _WriteShard:
    """Labels one shard; runs on a worker."""

    labeller: _Labeller
    codebook: Codebook
    classes: zarr.Array[Any]
    instances: zarr.Array[Any]
    partial: Partial

    def intact(self, shard: tuple[int, int]) -> bool:
        """Whether what a killed run wrote of a shard can be read."""
        region = self.labeller.slide.grid.shard(*shard)
        return all(ngff.intact(array, region) for array in (self.classes, self.instances))

    def __call__(self, shard: tuple[int, int]) -> None:
        region = self.labeller.slide.grid.shard(*shard)
        mask, objects = self.labeller.shard(shard, self.codebook)
        ngff.write_shard(self.classes, region, mask)
        ngff.write_shard(self.instances, region, objects)
        self.partial.finish(*shard)


class _Labeller:
    """Features and labels of one slide's regions."""

    def __init__(self, slide: Tiles, activation: Path, settings: Pseudomasks) -> None:
        self.slide, self.settings = slide, settings
        found = ngff.open_group(activation)["0"]
        assert isinstance(found, zarr.Array)
        self.activation = found
        self.stride: int = read_record(activation)["stride"]
        self.context_px = COARSE * math.ceil(TRUNCATE * settings.far_um / slide.mpp / COARSE)
        self.halo_px = self.context_px + COARSE * math.ceil(LARGEST_UM / slide.mpp / COARSE)

    def features(self, region: Region) -> NDArray[np.float32]:
        """Features (5, y, x) of a region that may leave the image."""
        wider = region.grown(self.stride).scaled_down(self.stride)
        coarse = ngff.read_padded(self.activation, wider, fill=0)
        return pixel_features(
            self.slide.read(region),
            upsample_map(coarse, (wider.y, wider.x), region, stride=self.stride),
            stain=self.slide.stain,
            smoothing_px=self.settings.smoothing_um / self.slide.mpp,
            near_px=self.settings.near_um / self.slide.mpp,
            far_px=self.settings.far_um / self.slide.mpp,
        )

    def codebook(self, seed: int) -> Codebook:
        """The slide's codebook, from pixels of tiles drawn by tissue."""
        rng = np.random.default_rng(seed)
        kept = self.slide.kept_tiles()
        picks = sorted(rng.permutation(len(kept))[:SAMPLE_TILES])
        each = math.ceil(self.settings.sample_pixels / len(picks))
        sample = np.concatenate([self._sample(kept[i], each, rng) for i in picks], axis=1)
        tissue = sample[:, sample[DENSITY] > self.settings.min_density / 4]
        if tissue.shape[1] < 2 or np.ptp(tissue[DENSITY]) < self.settings.min_density / 4:
            raise DataError(f"{self.slide.slide}: no nuclear stain found; check the `stain` column")
        return fit_codebook(
            tissue,
            classes=len(self.settings.classes),
            psm_weight=self.settings.psm_weight,
            seed=seed,
        )

    def _sample(
        self, tile: tuple[int, int], count: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        region = self.slide.grid.tile(*tile)
        features = self.features(region.grown(self.context_px))
        inner = features[:, self.context_px :, self.context_px :]
        flat = inner[:, : region.height, : region.width].reshape(len(features), -1)
        return flat[:, rng.integers(flat.shape[1], size=count)]

    def shard(
        self, shard: tuple[int, int], codebook: Codebook
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Class mask and instances of one shard; tiles without tissue stay 0."""
        region = self.slide.grid.shard(*shard)
        wide = region.grown(self.halo_px)
        features = self.features(wide)
        nearness = codebook.nearness(features)
        objects = self._objects(nearness, features[DENSITY])
        mask = self._classes(objects, nearness, features[CLASS_STAIN], codebook)
        ids = _place_ids(objects, wide, self.slide.grid.width_px)
        inner = (slice(self.halo_px, self.halo_px + region.height),
                 slice(self.halo_px, self.halo_px + region.width))  # fmt: skip
        kept = self._kept_pixels(shard)
        return np.where(kept, mask[inner], 0), np.where(kept, ids[inner], 0)

    def _objects(
        self, nearness: NDArray[np.float32], density: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        """Separate nuclei, int32 (y, x)."""
        settings, mpp = self.settings, self.slide.mpp
        mask = (nearness > 0.5) & (density > settings.min_density)
        mask = remove_small_holes(mask, max_size=round(HOLE_UM2 / mpp**2))
        labels = split_by_distance(mask, seed_distance_px=settings.seed_distance_um / mpp)
        return tidy_objects(
            labels,
            min_area_px=settings.min_area_um2 / mpp**2,
            opening_px=settings.opening_um / mpp,
        )

    def _classes(
        self,
        objects: NDArray[np.int32],
        nearness: NDArray[np.float32],
        stain: NDArray[np.float32],
        codebook: Codebook,
    ) -> NDArray[np.uint8]:
        """Class of every pixel: that of its object; unclear pixels outside objects are 255."""
        margin = self.settings.ignore_margin
        mask = np.where(nearness > 0.5 - margin, IGNORE, BACKGROUND).astype(np.uint8)
        count = int(objects.max(initial=0))
        if count == 0:
            return mask
        means = ndimage.mean(stain, objects, np.arange(1, count + 1))
        table = np.concatenate([[0], codebook.classes_of(means)]).astype(np.uint8)
        return np.where(objects > 0, table[objects], mask)

    def _kept_pixels(self, shard: tuple[int, int]) -> NDArray[np.bool_]:
        region = self.slide.grid.shard(*shard)
        kept = np.zeros((region.height, region.width), bool)
        for tile in self.slide.kept_tiles_of(shard):
            kept[self.slide.grid.tile(*tile).within(region).slices] = True
        return kept


def _place_ids(objects: NDArray[np.int32], region: Region, width_px: int) -> NDArray[np.int64]:
    """Labels renamed by where the object's centre lies in the slide."""
    count = int(objects.max(initial=0))
    if count == 0:
        return objects.astype(np.int64)
    centres = np.array(ndimage.center_of_mass(objects > 0, objects, np.arange(1, count + 1)))
    rows = np.clip(region.y + np.round(centres[:, 0]), 0, None).astype(np.int64)
    cols = np.clip(region.x + np.round(centres[:, 1]), 0, None).astype(np.int64)
    return np.concatenate([[0], 1 + rows * width_px + cols])[objects]
