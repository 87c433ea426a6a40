"""Segment Anything behind the seam of every model: points, masks, one label image a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from wsipsm.checks import NO_MAPS
from wsipsm.compute import fast_floats
from wsipsm.config import Inference, Prompting
from wsipsm.errors import SettingsError
from wsipsm.models.instances import tidy_objects
from wsipsm.models.sam import CELL, decode, embed
from wsipsm.models.sam_adapted import SamFacts, merged_sam
from wsipsm.models.sam_masks import Mask, cut_out, paint, stability, suppress
from wsipsm.models.sam_prompts import (
    Centres,
    Grid,
    Prompter,
    Prompts,
    PseudomaskCentres,
    centres_of_labels,
)
from wsipsm.models.segmenter import Asking, Segmented, Segmenter, load_segmenter
from wsipsm.models.unet import Statistics
from wsipsm.types import Region

WHITE = 255.0
MAX_SHARE = 0.1
"""Largest share of its view that a cell may take, as in the paper."""


def load_sam_segmenter(
    path: Path,
    record: dict[str, Any],
    *,
    settings: Inference,
    mpp: float,
    device: torch.device,
    asking: Asking,
) -> tuple[SamSegmenter, dict[str, Any]]:
    """The segmenter of an adapter's checkpoint, and its record with the classes of the points.

    Raises
    ------
    SettingsError
        The base or the adapter is absent or does not fit, nothing says where to ask, or maps are
        asked for.
    """
    if settings.maps:
        raise SettingsError(NO_MAPS)
    sam, facts = merged_sam(path)
    found = _prompter(asking, facts, settings=settings, mpp=mpp, device=device)
    prompter, classes, finder = found
    segmenter = SamSegmenter(
        sam.to(device),
        prompter,
        asking.settings,
        input_px=facts.input_px,
        min_area_px=settings.min_area_um2 / mpp**2,
        finder=finder,
    )
    return segmenter, {**record, "classes": classes or record["classes"]}


def _prompter(
    asking: Asking,
    facts: SamFacts,
    *,
    settings: Inference,
    mpp: float,
    device: torch.device,
) -> tuple[Prompter, list[str], Segmenter | None]:
    """Where to ask, the names of the classes that are known there, and the model that says it."""
    source, points = asking.source, asking.settings.points
    if points == "grid":
        return Grid(side=asking.settings.grid), [], None
    if source is None:
        raise SettingsError(
            f"segment: prompting.points is {points}, but no product says where; name the"
            f" {'pseudo masks' if points == 'pseudomasks' else 'U-Net'} by --prompts"
        )
    view_px = max(1, round(facts.view_um / mpp))
    if points == "pseudomasks":
        found = PseudomaskCentres(source)
        return Centres(found, view_px=view_px), found.classes, None
    finder, record = load_segmenter(source, settings=settings, mpp=mpp, device=device)
    return Centres(SegmenterCentres(finder), view_px=view_px), record["classes"], finder


@dataclass(frozen=True)
class SegmenterCentres:
    """Centres of the cells that another model finds."""

    segmenter: Segmenter

    def __call__(
        self, images: NDArray[np.uint8], regions: Sequence[Region]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
        """Points and classes of the cells of each image."""
        found = self.segmenter(images, regions)
        return [(centres_of_labels(cells.labels), cells.classes) for cells in found]


@dataclass(frozen=True)
class SamSegmenter:
    """Cells of tiles, one for each point at the most.

    Attributes
    ----------
    sam
        Of `models.sam`, adapters merged; one thread uses it at a time.
    prompter
        Says where to ask.
    input_px
        Side of the model's input.
    min_area_px
        Smallest cell.
    finder
        Another model that says where to ask, if one does.
    """

    sam: nn.Module
    prompter: Prompter
    settings: Prompting
    input_px: int
    min_area_px: float
    finder: Segmenter | None = None

    def look(self, images: NDArray[np.uint8]) -> Statistics:
        """What the model that says where to ask has to know of a specimen."""
        return self.finder.look(images) if self.finder else {}

    def knowing(self, known: Statistics) -> SamSegmenter:
        """One whose model that says where to ask sees a specimen with its own statistics."""
        if self.finder is None:
            return self
        assert isinstance(self.prompter, Centres)
        finder = self.finder.knowing(known)
        asking = Centres(SegmenterCentres(finder), view_px=self.prompter.view_px)
        return replace(self, prompter=asking, finder=finder)

    def __call__(
        self, images: NDArray[np.uint8], regions: Sequence[Region] = ()
    ) -> list[Segmented]:
        """Segment uint8 RGB tiles (n, 3, y, x); `regions` say where on the slide each lies."""
        device = self.sam.get_buffer("pixel_mean").device
        with torch.inference_mode(), fast_floats(device):
            asked = self.prompter(images, regions)
            return [
                self._cells(torch.from_numpy(image).to(device), views)
                for image, views in zip(images, asked, strict=True)
            ]

    def _cells(self, image: Tensor, views: list[Prompts]) -> Segmented:
        shape = image.shape[1], image.shape[2]
        if not views:
            return self._settled([], shape)
        inputs = torch.stack([_seen(image, prompts.view, self.input_px) for prompts in views])
        masks: list[Mask] = []
        for embedding, prompts in zip(embed(self.sam, inputs), views, strict=True):
            masks += self._masks(embedding, prompts)
        return self._settled(masks, shape)

    def _masks(self, embedding: Tensor, prompts: Prompts) -> list[Mask]:
        """The masks of one view that are sure, stable and no larger than a cell may be."""
        view, settings, found = prompts.view, self.settings, []
        at = (prompts.points - (view.y, view.x)) * (self.input_px / view.height)
        points = torch.from_numpy(at[:, ::-1].copy()).float().to(embedding.device)
        for start in range(0, len(points), settings.batch):
            asked = points[start : start + settings.batch]
            labels = torch.full((len(asked),), CELL, device=asked.device)
            logits, scores = (
                part.float().cpu().numpy() for part in decode(self.sam, embedding, asked, labels)
            )
            sure = (scores >= settings.min_score) & (stability(logits) >= settings.min_stability)
            sure &= (logits > 0).mean(axis=(1, 2)) <= MAX_SHARE
            for index in np.flatnonzero(sure):
                kind = int(prompts.classes[start + index])
                mask = cut_out(logits[index], view=view, score=float(scores[index]), kind=kind)
                found += [mask] if mask else []
        return found

    def _settled(self, masks: list[Mask], shape: tuple[int, int]) -> Segmented:
        """One label image: of masks that overlap too much the better, small over large."""
        masks = [masks[index] for index in suppress(masks, overlap=self.settings.max_overlap)]
        painted = paint(masks, shape=shape)
        labels = tidy_objects(painted, min_area_px=self.min_area_px)
        own = _former(painted, labels)
        return Segmented(
            labels,
            np.array([masks[index - 1].kind for index in own], np.uint8),
            np.array([np.clip(masks[index - 1].score, 0, 1) for index in own], np.float32),
            np.ones(len(own), np.float32),
        )


def _seen(image: Tensor, view: Region, input_px: int) -> Tensor:
    """A view of an image (3, y, x) as the model's input, 0 to 255; white outside the image."""
    top, left = max(view.y, 0), max(view.x, 0)
    part = image[:, top : view.y + view.height, left : view.x + view.width].float()
    bottom, right = (view.height - part.shape[1], view.width - part.shape[2])
    before = top - view.y, left - view.x
    sides = (before[1], right - before[1], before[0], bottom - before[0])
    part = functional.pad(part, sides, value=WHITE)
    return functional.interpolate(part[None], (input_px, input_px), mode="bilinear")[0]


def _former(painted: NDArray[np.int32], labels: NDArray[np.int32]) -> list[int]:
    """For each object of `labels`, the number that most of its pixels had before."""
    objects = ndimage.find_objects(labels)
    return [
        int(np.bincount(painted[where][labels[where] == index])[1:].argmax()) + 1
        for index, where in enumerate(objects, start=1)
        if where is not None
    ]
