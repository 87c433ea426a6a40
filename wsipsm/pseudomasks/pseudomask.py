"""Stage 4: cluster stain density and activation of one slide into pseudo masks."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from wsipsm import compute
from wsipsm.config import Pseudomasks
from wsipsm.errors import DataError
from wsipsm.io import ngff
from wsipsm.io.product import Partial, Provenance, making, read_record, write_record
from wsipsm.io.sample import sample_regions
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.pseudomasks.choice import AGREE
from wsipsm.pseudomasks.codebook import BACKGROUND, IGNORE, Codebook, classes_of, fit_codebook
from wsipsm.pseudomasks.features import (
    COARSE,
    DENSITY,
    TRUNCATE,
    pixel_features,
    upsample_map,
)
from wsipsm.pseudomasks.objects import separate, weigh
from wsipsm.types import Region

LARGEST_UM = 24.0
"""Largest extent of an object that two neighbouring shards see alike."""

SAMPLE, SQUARES = 16, 8
"""Squares that are sampled, and those of which objects are made."""

LABELS = {"classes": "uint8", "instances": "int64", "confidence": "uint8"}


@dataclass(frozen=True)
class Labels:
    """Labels of a region, each (y, x): see `pseudomask`."""

    classes: NDArray[np.uint8]
    instances: NDArray[np.int64]
    confidence: NDArray[np.uint8]


def pseudomask(
    tiles: Path,
    activation: Path,
    target: Path,
    *,
    settings: Pseudomasks,
    seed: int,
    workers: int | None = None,
) -> None:
    """Write `labels/classes`, `labels/instances` and `labels/confidence`.

    Classes are uint8: 0 background, 1 ... k, 255 ignore: what is near the border of nuclei and
    background, or of little confidence. Instances are int64; the id of an object is 1 + the
    position of its centre in the slide (row x width + col), so that neighbouring shards name it
    alike. Confidence is uint8 and one value in an object: 0 background, 1 to 255 for 0 to 1.

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
        write = _WriteShard(labeller, codebook, _create_labels(group, slide), partial)
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
            codebook={**asdict(codebook), "separation": codebook.labeller.separation},
        )


def _create_labels(group: zarr.Group, slide: Tiles) -> dict[str, zarr.Array[Any]]:
    labels = group.require_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": list(LABELS)}
    made = {}
    for name, dtype in LABELS.items():
        image = labels.require_group(name)
        scales = ngff.multiscales(name, axes="yx", mpp=slide.mpp, levels=1)
        image.attrs["ome"] = {"version": "0.5", "multiscales": [scales], "image-label": {}}
        made[name] = ngff.create_array(
            image,
            "0",
            shape=slide.image.shape[1:],
            chunk_px=slide.grid.tile_px,
            shard_px=slide.grid.shard_px,
            dtype=dtype,
        )
    return made


@dataclass(frozen=True)
class _WriteShard:
    """Labels one shard; runs on a worker."""

    labeller: _Labeller
    codebook: Codebook
    arrays: dict[str, zarr.Array[Any]]
    partial: Partial

    def intact(self, shard: tuple[int, int]) -> bool:
        """Whether what a killed run wrote of a shard can be read."""
        region = self.labeller.slide.grid.shard(*shard)
        return all(ngff.intact(array, region) for array in self.arrays.values())

    def __call__(self, shard: tuple[int, int]) -> None:
        region = self.labeller.slide.grid.shard(*shard)
        labels = self.labeller.shard(shard, self.codebook)
        for name, array in self.arrays.items():
            ngff.write_shard(array, region, getattr(labels, name))
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
        self.halo_px = COARSE * math.ceil(LARGEST_UM / slide.mpp / COARSE)

    def features(self, region: Region) -> NDArray[np.float32]:
        """Features (6, y, x) of a region that may leave the image, which is mirrored there."""
        seen = region.grown(self.context_px)
        wider = seen.grown(self.stride).scaled_down(self.stride)
        coarse = ngff.read_mirrored(self.activation, wider)
        found = pixel_features(
            self.slide.read_mirrored(seen),
            upsample_map(coarse, (wider.y, wider.x), seen, stride=self.stride),
            stain=self.slide.stain,
            smoothing_px=self.settings.smoothing_um / self.slide.mpp,
            near_px=self.settings.near_um / self.slide.mpp,
            far_px=self.settings.far_um / self.slide.mpp,
        )
        inner = slice(self.context_px, -self.context_px)
        return found[:, inner, inner]

    def codebook(self, seed: int) -> Codebook:
        """The slide's codebook, from squares of its tissue."""
        rng = np.random.default_rng(seed)
        regions = sample_regions(self.slide, count=SAMPLE)
        each = math.ceil(self.settings.sample_pixels / len(regions))
        squares = [self._square(region) for region in regions]
        flat = [square.reshape(len(square), -1) for square in squares]
        drawn = [one[:, rng.integers(one.shape[1], size=each)] for one in flat]
        sample = np.concatenate(drawn, axis=1)
        tissue = sample[:, sample[DENSITY] > self.settings.min_density / 4]
        if tissue.shape[1] < 2 or np.ptp(tissue[DENSITY]) < self.settings.min_density:
            raise DataError(f"{self.slide.slide}: no nuclear stain found; check the `stain` column")
        return fit_codebook(
            tissue,
            squares[:: math.ceil(len(squares) / SQUARES)],
            settings=self.settings,
            stain=self.slide.stain,
            mpp=self.slide.mpp,
            seed=seed,
        )

    def _square(self, region: Region) -> NDArray[np.float32]:
        """Features of a square, from the next multiple of a block of `local_mean` up and left."""
        y, x = region.y - region.y % COARSE, region.x - region.x % COARSE
        return self.features(Region(y, x, region.height, region.width))

    def shard(self, shard: tuple[int, int], codebook: Codebook) -> Labels:
        """Labels of one shard; tiles without tissue stay 0."""
        region = self.slide.grid.shard(*shard)
        labels = self.labels(region.grown(self.halo_px), codebook)
        inner = (slice(self.halo_px, self.halo_px + region.height),
                 slice(self.halo_px, self.halo_px + region.width))  # fmt: skip
        kept = self._kept_pixels(shard)
        return Labels(
            *(
                np.where(kept, image[inner], image.dtype.type(0))
                for image in (labels.classes, labels.instances, labels.confidence)
            )
        )

    def labels(self, region: Region, codebook: Codebook) -> Labels:
        """Labels of a region that may leave the image."""
        features, mpp = self.features(region), self.slide.mpp
        nearness = codebook.labeller.nearness(features)
        other = codebook.other.nearness(features) > 0.5
        median = codebook.median_area_um2
        objects = separate(
            nearness, features, settings=self.settings, mpp=mpp, median_area_um2=median
        )
        evidence = weigh(objects, features, other, mpp=mpp, median_area_um2=median)
        confidence = evidence.confidence(trust=codebook.choice.trust)
        classes = classes_of(objects, features, codebook, mpp=mpp)
        classes[confidence < self.settings.min_confidence] = IGNORE
        unclear = nearness > 0.5 - self.settings.ignore_margin
        if codebook.choice.kappa >= AGREE:
            unclear |= _unmatched(other, objects > 0)
        beside = np.where(unclear, IGNORE, BACKGROUND).astype(np.uint8)
        percent = np.round(1 + 254 * confidence).astype(np.uint8)
        return Labels(
            np.where(objects > 0, _painted(objects, classes), beside),
            _place_ids(objects, region, self.slide.grid.width_px),
            _painted(objects, percent),
        )

    def _kept_pixels(self, shard: tuple[int, int]) -> NDArray[np.bool_]:
        region = self.slide.grid.shard(*shard)
        kept = np.zeros((region.height, region.width), bool)
        for tile in self.slide.kept_tiles_of(shard):
            kept[self.slide.grid.tile(*tile).within(region).slices] = True
        return kept


def _painted(objects: NDArray[np.int32], values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Values of objects 1 ... n at their pixels; 0 elsewhere."""
    return np.concatenate([np.zeros(1, np.uint8), values])[objects]


def _unmatched(other: NDArray[np.bool_], found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pieces of the other labeller's mask that touch nothing that was found."""
    count, pieces = cv2.connectedComponents(other.astype(np.uint8), connectivity=4)
    touched = np.zeros(count, bool)
    touched[0] = True
    touched[pieces[found]] = True
    return np.asarray(~touched[pieces])


def _place_ids(objects: NDArray[np.int32], region: Region, width_px: int) -> NDArray[np.int64]:
    """Labels renamed by where the object's centre lies in the slide."""
    rows, cols = np.nonzero(objects)
    ids = objects[rows, cols]
    area = np.bincount(ids)[1:]
    y, x = (np.round(np.bincount(ids, at)[1:] / area).astype(np.int64) for at in (rows, cols))
    row, col = np.clip(region.y + y, 0, None), np.clip(region.x + x, 0, None)
    return np.concatenate([np.zeros(1, np.int64), 1 + row * width_px + col])[objects]
