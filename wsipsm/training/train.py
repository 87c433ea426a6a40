"""Stage 5: train the downstream network on pseudo masks, and on annotated fields where given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsipsm import compute
from wsipsm.config import Training
from wsipsm.errors import DataError, QuarantinedError
from wsipsm.io import ngff
from wsipsm.io.checkpoint import save_checkpoint
from wsipsm.io.product import Provenance, making, read_record
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.learning.augment import REACH, restain, roughen, turn
from wsipsm.learning.dataset import Sampler
from wsipsm.learning.loop import Plan, fit
from wsipsm.models.input import to_input
from wsipsm.models.segmenter import MODELS
from wsipsm.training.fields import Fields
from wsipsm.training.targets import IGNORE, make_targets
from wsipsm.types import Region

DISK_UM = 0.5
CALIBRATION_TILES = 48
LEAST_FOREGROUND = (0.1, 0.6)
"""Tiles that set the threshold of foreground, and its range."""

Slide = tuple[Path, Path] | tuple[Path, Path, str]


def train(
    slides: Sequence[Slide],
    target: Path,
    *,
    model: str,
    settings: Training,
    seed: int,
    workers: int | None = None,
) -> None:
    """Train a model; a killed run continues from its last snapshot.

    Parameters
    ----------
    slides
        `tiles.zarr` and `pseudomasks.zarr` of every slide, and the GeoJSON of its annotated
        fields, or "-" for none; quarantined slides are left out.
    target
        The checkpoint, such as `unet.pt`.

    Raises
    ------
    DataError
        No slide is left, slides differ in their classes, annotations cannot be used, or the
        training diverged.
    """
    masked = [_Masked(*slide) for slide in slides if _usable(slide[1])]
    classes = _common_classes(masked)
    annotated = {slide.tiles.slide: slide.fields for slide in masked if slide.fields}
    ids = {slide.tiles.slide: slide.id for slide in masked}
    ids |= {f"{name}: {fields.path.name}": fields.digest for name, fields in annotated.items()}
    provenance = Provenance("train", {**settings.model_dump(), "model": model, "seed": seed}, ids)
    with making(target, provenance) as partial:
        device = compute.device()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = MODELS[model](settings.backbone, classes=len(classes))
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        samples = _Samples(masked, settings=settings, seed=seed)
        curve = fit(
            network,
            sample_of=samples,
            loss_of=_Loss(settings),
            plan=_plan(settings),
            snapshot=partial.path.with_name("snapshot"),
            workers=workers or compute.allotted_cores(),
        )
        record = {
            "provenance": provenance.as_dict(),
            "model": model,
            "architecture": network.architecture,
            "classes": classes,
            "foreground": _least_foreground(network, samples, step=settings.steps),
            "annotations": {name: fields.facts for name, fields in annotated.items()},
            "curve": curve,
        }
        save_checkpoint(partial.path, network.state_dict(), record)


def _plan(settings: Training) -> Plan:
    return Plan(
        settings.steps,
        settings.batch,
        settings.learning_rate,
        weight_decay=settings.weight_decay,
        averaging=settings.averaging,
    )


def _least_foreground(network: torch.nn.Module, samples: _Samples, *, step: int) -> float:
    """Foreground probability above which lie as many pixels as the pseudo masks call foreground.

    Labels that disagree from tile to tile leave a network unsure, and unsure of the rarer class
    above all: half is too much to ask. No truth is needed for this.
    """
    network.eval()
    chances, wanted = [], []
    with torch.inference_mode():
        for index in range(CALIBRATION_TILES):
            image, classes = samples.plain(step, index)
            device = next(network.parameters()).device
            scores = network(to_input(image[None]).to(device))[0, :-1].float()
            known = classes != IGNORE
            chances.append(1 - torch.softmax(scores, dim=0)[0].cpu().numpy()[known])
            wanted.append(classes[known] > 0)
    share = np.concatenate(wanted).mean() if any(map(len, wanted)) else 0.0
    if share == 0:
        return LEAST_FOREGROUND[1]
    found = np.quantile(np.concatenate(chances), 1 - share)
    return round(float(np.clip(found, *LEAST_FOREGROUND)), 3)


def _usable(product: Path) -> bool:
    try:
        read_record(product)
    except QuarantinedError:
        return False
    return True


class _Masked:
    """A slide with its pseudo masks and annotated fields, open for reading."""

    def __init__(self, tiles: Path, pseudomasks: Path, annotations: str = "-") -> None:
        self.tiles: Tiles = open_tiles(tiles)
        record = read_record(pseudomasks)
        self.id = record["provenance"]["id"]
        self.classes: list[str] = record["classes"]
        labels = ngff.open_group(pseudomasks)["labels"]
        assert isinstance(labels, zarr.Group)
        self._arrays: list[Any] = [labels["classes/0"], labels["instances/0"]]
        drawn = Path(annotations) if annotations != "-" else None
        self.fields = Fields(drawn, self.tiles, self.classes) if drawn else None

    def labels(self, region: Region) -> NDArray[np.float64]:
        """Classes (255 outside the slide), instances (0 outside), and where they are annotated."""
        classes = ngff.read_padded(self._arrays[0], region, fill=IGNORE)
        instances = ngff.read_padded(self._arrays[1], region, fill=0)
        known = np.zeros(classes.shape, bool)
        if self.fields:
            classes, instances, known = self.fields.lay_over(region, classes, instances)
        return np.stack([classes, instances, known]).astype(np.float64)


def _common_classes(masked: list[_Masked]) -> list[str]:
    if not masked:
        raise DataError("no slide to train on is left; the logs of the stages before say why")
    first = masked[0]
    for other in masked[1:]:
        if other.classes != first.classes:
            raise DataError(
                f"{other.tiles.slide}: classes {other.classes} differ from those of"
                f" {first.tiles.slide}, {first.classes}; make the pseudo masks again"
            )
    return first.classes


class _Samples:
    """Augmented tiles with their targets, drawn from the cohort."""

    def __init__(self, masked: list[_Masked], *, settings: Training, seed: int) -> None:
        self.masked, self.side_px = masked, settings.tile_px
        self.sampler = Sampler(tuple(slide.tiles for slide in masked), seed)
        self.annotated = [number for number, slide in enumerate(masked) if slide.fields]
        self.share = settings.annotated_share if self.annotated else 0

    def __call__(self, step: int, index: int) -> tuple[Tensor, ...]:
        rng = self.sampler.generator(step, index)
        number, region = self._draw(rng)
        slide = self.masked[number]
        image = torch.from_numpy(slide.tiles.read(region)).float()
        labels = torch.from_numpy(slide.labels(region))
        image, labels = turn(rng, image, labels, side_px=self.side_px)
        stained = restain(rng, image.round().byte().numpy())
        classes, instances, known = labels.numpy().astype(np.int64)
        targets = make_targets(classes, instances, disk_px=DISK_UM / slide.tiles.mpp)
        # a Voronoi border is a guess of where cells part, and annotations say it
        voronoi = np.where(known, IGNORE, targets.voronoi)
        return (
            roughen(rng, to_input(stained[None])[0]),
            torch.from_numpy(targets.classes),
            torch.from_numpy(voronoi),
            torch.from_numpy(targets.distance),
        )

    def plain(self, step: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """A tile as it is, uint8 (3, y, x), and its classes (y, x), of the same draw."""
        number, region = self._draw(self.sampler.generator(step, index))
        labels = self.masked[number].labels(region)
        return self.masked[number].tiles.read(region), labels[0].astype(np.int64)

    def _draw(self, rng: np.random.Generator) -> tuple[int, Region]:
        """Index of a slide and a region of it, in the wanted share around an annotated place."""
        side_px = REACH * self.side_px
        if self.share and rng.random() < self.share:
            number = self.annotated[int(rng.integers(len(self.annotated)))]
            fields = self.masked[number].fields
            assert fields is not None
            return number, self.sampler.around(number, *fields.draw(rng), side_px=side_px)
        return self.sampler.draw(rng, side_px=side_px)


class _Loss:
    """Pseudo mask, Voronoi and distance losses, as the paper weighs the first two."""

    def __init__(self, settings: Training) -> None:
        self.settings = settings

    def __call__(
        self, network: torch.nn.Module, images: Tensor, classes: Tensor, voronoi: Tensor,
        distance: Tensor,
    ) -> Tensor:  # fmt: skip
        output = network(images)
        scores, height = output[:, :-1].float(), output[:, -1].float()
        known = (classes != IGNORE).float()
        away = functional.smooth_l1_loss(height, distance, reduction="none")
        loss: Tensor = (
            _cross_entropy(scores, classes)
            + self.settings.voronoi_weight * _cross_entropy(scores, voronoi)
            + self.settings.distance_weight * (away * known).sum() / known.sum().clamp(min=1)
        )
        return loss


def _cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
    """Mean over the pixels that are known; 0 where none is."""
    loss = functional.cross_entropy(scores, wanted, ignore_index=IGNORE, reduction="sum")
    mean: Tensor = loss / (wanted != IGNORE).sum().clamp(min=1)
    return mean
