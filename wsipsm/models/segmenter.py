"""The one seam behind which every model segments: tiles in, label images out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_holes

from wsipsm.compute import fast_floats
from wsipsm.config import Inference, Prompting
from wsipsm.errors import SettingsError
from wsipsm.io.checkpoint import load_checkpoint
from wsipsm.models.heads import HEADS
from wsipsm.models.input import to_input
from wsipsm.models.instances import distance_to_edge, split_by_height, tidy_objects
from wsipsm.models.unet import Committee, Statistics, statistics_of, with_statistics
from wsipsm.types import Region

SMOOTHING_UM = 0.375
"""Gaussian sigma of the height map before seeds are sought in it."""

RADIUS_UM = 3.0
"""Radius of a common cell, where no training says it."""

LARGEST = 20
"""Area of the largest cell, in areas of a common one; what is larger is ink, or a fold."""

HOLE_UM2 = 40.0
"""Largest hole of the foreground that is filled."""


Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Chances of the classes, height, and spread: the members' standard deviation of foreground."""


@dataclass(frozen=True)
class Segmented:
    """Cells of one tile.

    Attributes
    ----------
    labels
        int32 (y, x): instance ids 1 ... n, 0 = background.
    classes
        uint8 (n,): class 1 ... k of each cell.
    scores
        float32 (n,), 0 to 1: how sure the model is of each cell.
    agreement
        float32 (n,), 0 to 1: how far the members of a committee say the same of each cell; 1 for
        a single network.
    maps
        uint8 (k + 1, y, x), if `inference.maps` asks for them: probability of each class, and
        height, 0 to 255 for 0 to 1.
    """

    labels: NDArray[np.int32]
    classes: NDArray[np.uint8]
    scores: NDArray[np.float32]
    agreement: NDArray[np.float32]
    maps: NDArray[np.uint8] | None = None


class Segmenter(Protocol):
    """A trained model, ready to segment; one thread uses it at a time."""

    def __call__(
        self, images: NDArray[np.uint8], regions: Sequence[Region] = ()
    ) -> list[Segmented]:
        """Segment uint8 RGB tiles (n, 3, y, x) whose sides are multiples of 32.

        `regions` say where on the slide each lies, in working pixels; some models ask for it.
        """
        ...

    def look(self, images: NDArray[np.uint8]) -> Statistics:
        """What to know of a specimen before it is segmented, from some squares of it."""
        ...

    def knowing(self, known: Statistics) -> Segmenter:
        """One that knows what `look` found; it shares the weights."""
        ...


@dataclass(frozen=True)
class Asking:
    """Where a model that has to be asked by points is asked.

    Attributes
    ----------
    settings
        Which points, and which of the answers to keep.
    source
        Product that knows the points: the slide's pseudo masks, or a U-Net; None for a grid.
    """

    settings: Prompting = field(default_factory=Prompting)
    source: Path | None = None


def load_segmenter(
    path: Path,
    *,
    settings: Inference,
    mpp: float,
    device: torch.device,
    asking: Asking | None = None,
) -> tuple[Segmenter, dict[str, Any]]:
    """The segmenter of a checkpoint, and the checkpoint's record.

    `asking` is for `sam_lora` alone.

    Raises
    ------
    SettingsError
        The weights are absent or damaged, or of a model that is not known here.
    """
    state, record = load_checkpoint(path)
    if record.get("model") == "sam_lora":
        from wsipsm.models.sam_segmenter import load_sam_segmenter  # it needs an extra

        return load_sam_segmenter(
            path,
            record,
            settings=settings,
            mpp=mpp,
            device=device,
            asking=asking or Asking(),
        )
    if record.get("model") not in MODELS:
        raise SettingsError(f"{path}: not a model that segments; use the product of `wsipsm train`")
    if not {"members", "head"} <= record["architecture"].keys():
        raise SettingsError(f"{path}: made by an earlier version; train again")
    network = MODELS[record["model"]](**record["architecture"])
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = UNetSegmenter(network, settings=settings, mpp=mpp)
    found = {name: record[name] for name in ("foreground", "median_area_um2")}
    return plain.adapted(**found), record


MODELS: dict[str, Callable[..., Committee]] = {"unet": Committee.of}
"""Models by the name that the configuration and the folders of results use."""


class UNetSegmenter:
    """Foreground by threshold, seeds by h-maxima of the height map, watershed, size rules."""

    def __init__(
        self,
        network: Committee,
        *,
        settings: Inference,
        mpp: float,
        radius_um: float = RADIUS_UM,
    ) -> None:
        self.network, self.settings, self.mpp = network, settings, mpp
        self.radius_um = radius_um
        self.head = HEADS[network.architecture["head"]]
        self.device = next(network.parameters()).device

    def adapted(self, *, foreground: float, median_area_um2: float = 0) -> UNetSegmenter:
        """One that fits what a training found: threshold of foreground, median area of cells.

        A threshold in the settings goes before it.
        """
        found = {
            "foreground": self.settings.foreground or foreground,
            "min_area_um2": max(
                self.settings.min_area_um2, self.settings.min_relative_area * median_area_um2
            ),
        }
        settings = self.settings.model_copy(update=found)
        radius = math.sqrt(median_area_um2 / math.pi) or self.radius_um
        return UNetSegmenter(self.network, settings=settings, mpp=self.mpp, radius_um=radius)

    def look(self, images: NDArray[np.uint8]) -> Statistics:
        """Statistics of a specimen, of uint8 RGB squares of it (n, 3, y, x)."""
        with fast_floats(self.device):
            return statistics_of(self.network, self._inputs(images))

    def knowing(self, known: Statistics) -> UNetSegmenter:
        """One that sees a specimen with its own statistics; it shares the weights."""
        network = with_statistics(self.network, known)
        return UNetSegmenter(
            network, settings=self.settings, mpp=self.mpp, radius_um=self.radius_um
        )

    def __call__(
        self,
        images: NDArray[np.uint8],
        regions: Sequence[Region] = (),  # noqa: ARG002
    ) -> list[Segmented]:
        """Segment uint8 RGB tiles (n, 3, y, x)."""
        maps = list(zip(*self.maps(images), strict=True))
        found = [self.cells(*own) for own in maps]
        if not self.settings.maps:
            return found
        return [
            replace(cells, maps=_as_bytes(chances, height))
            for cells, (chances, height, _) in zip(found, maps, strict=True)
        ]

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Chances of the classes (n, k + 1, y, x), height and spread (n, y, x), float32.

        Means over the members, and over `settings.rotations` positions of the tiles, a quarter
        turn apart.
        """
        inputs, own = self._inputs(images), self.head.channels
        total = torch.zeros(0)
        with torch.inference_mode(), fast_floats(self.device):
            for turn in range(self.settings.rotations):
                turned = torch.rot90(inputs, turn, (2, 3))
                turned = turned.contiguous(memory_format=torch.channels_last)
                output = self.network(turned).float()
                chances = torch.rot90(torch.softmax(output[:, :, :-own], dim=2), -turn, (3, 4))
                maps = self.head.turned(output[:, :, -own:], -turn)
                both = torch.cat([chances, maps], dim=2)
                total = total + both if len(total) else both
        each = total / self.settings.rotations
        spread = (1 - each[:, :, 0]).std(dim=0, correction=0).cpu().numpy()
        mean = each.mean(dim=0).cpu().numpy()
        height = [self.head.height(one[-own:], 1 - one[0], mpp=self.mpp) for one in mean]
        return mean[:, :-own], np.stack(height), spread

    def _inputs(self, images: NDArray[np.uint8]) -> torch.Tensor:
        return to_input(images).to(self.device, memory_format=torch.channels_last)

    def cells(
        self,
        chances: NDArray[np.float32],
        height: NDArray[np.float32],
        spread: NDArray[np.float32],
    ) -> Segmented:
        """Cells of one tile, from chances (k + 1, y, x), height and spread (y, x).

        The agreement on a cell is 1 less twice the mean spread in it: 0 where half of the members
        are sure of it and the others of background.
        """
        settings = self.settings
        foreground = 1 - chances[0]
        mask = foreground > settings.foreground
        mask = remove_small_holes(mask, max_size=round(HOLE_UM2 / self.mpp**2))
        depth = np.minimum(distance_to_edge(mask) * (self.mpp / self.radius_um), 1)
        # a network that learned briefly knows where cells are before it knows where they part
        height = settings.depth_weight * depth + (1 - settings.depth_weight) * height
        labels = split_by_height(
            mask,
            ndimage.gaussian_filter(height, SMOOTHING_UM / self.mpp),
            rise=settings.seed_height,
            least=settings.seed_distance,
        )
        labels = tidy_objects(
            labels,
            min_area_px=settings.min_area_um2 / self.mpp**2,
            max_area_px=LARGEST * math.pi * (self.radius_um / self.mpp) ** 2,
            opening_px=settings.opening_um / self.mpp,
        )
        ids = np.arange(1, int(labels.max(initial=0)) + 1)
        if len(ids) == 0:
            none = np.zeros(0, np.float32)
            return Segmented(labels, np.zeros(0, np.uint8), none, none)
        means = np.stack([ndimage.mean(chance, labels, ids) for chance in chances[1:]])
        classes = (1 + means.argmax(axis=0)).astype(np.uint8)
        scores = np.asarray(ndimage.mean(foreground, labels, ids), np.float32)
        agreement = np.asarray(1 - 2 * ndimage.mean(spread, labels, ids), np.float32)
        return Segmented(labels, classes, scores, np.clip(agreement, 0, 1))


def _as_bytes(chances: NDArray[np.float32], height: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Chances but that of background, and height, as uint8 (k + 1, y, x)."""
    maps = np.concatenate([chances[1:], height[None]])
    scaled: NDArray[np.float32] = np.rint(np.clip(maps, 0, 1) * 255)
    return scaled.astype(np.uint8)
