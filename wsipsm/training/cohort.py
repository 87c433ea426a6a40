"""The slides that a segmenter learns from: tiles, pseudo masks, and annotated fields if any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsipsm.errors import DataError, QuarantinedError
from wsipsm.io import ngff
from wsipsm.io.product import read_record
from wsipsm.io.tiles import Tiles, open_tiles
from wsipsm.training.fields import Fields
from wsipsm.training.targets import IGNORE
from wsipsm.types import Region

Slide = tuple[Path, Path] | tuple[Path, Path, str]


class Masked:
    """A slide with its pseudo masks and annotated fields, open for reading."""

    def __init__(self, tiles: Path, pseudomasks: Path, annotations: str = "-") -> None:
        self.tiles: Tiles = open_tiles(tiles)
        record = read_record(pseudomasks)
        self.id: str = record["provenance"]["id"]
        self.classes: list[str] = record["classes"]
        labels = ngff.open_group(pseudomasks)["labels"]
        assert isinstance(labels, zarr.Group)
        self._classes: Any = labels["classes/0"]
        self._instances: Any = labels["instances/0"]
        self._confidence: Any = labels.get("confidence/0")
        drawn = Path(annotations) if annotations != "-" else None
        self.fields = Fields(drawn, self.tiles, self.classes) if drawn else None

    def labels(self, region: Region) -> tuple[NDArray[Any], NDArray[Any]]:
        """Classes (255 ignore, and outside the slide) and instances (0 outside), both (y, x)."""
        return self.lay_over(region, *self.pseudo(region))

    def pseudo(self, region: Region) -> tuple[NDArray[Any], NDArray[Any]]:
        """The same, of the pseudo masks alone."""
        classes = ngff.read_padded(self._classes, region, fill=IGNORE)
        return classes, ngff.read_padded(self._instances, region, fill=0)

    def confidence(self, region: Region) -> NDArray[np.float32]:
        """How sure the pseudo masks are of each pixel's object, float32 (y, x), 0 to 1."""
        if self._confidence is None:
            return np.ones((region.height, region.width), np.float32)
        found = ngff.read_padded(self._confidence, region, fill=0)
        return (found / np.float32(255)).astype(np.float32)

    def lay_over(
        self, region: Region, classes: NDArray[Any], instances: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Classes and instances (y, x) of a region, with annotations where there are any."""
        if self.fields is None:
            return classes, instances
        return self.fields.lay_over(region, classes, instances)[:2]


def open_cohort(slides: Sequence[Slide]) -> list[Masked]:
    """The slides that were not set aside.

    Parameters
    ----------
    slides
        `tiles.zarr` and `pseudomasks.zarr` of every slide, and the GeoJSON of its annotated
        fields, or "-" for none.

    Raises
    ------
    DataError
        No slide is left, slides differ in their classes, or annotations cannot be used.
    """
    cohort = [Masked(*slide) for slide in slides if _usable(slide[1])]
    if not cohort:
        raise DataError("no slide to train on is left; the logs of the stages before say why")
    first = cohort[0]
    for other in cohort[1:]:
        if other.classes != first.classes:
            raise DataError(
                f"{other.tiles.slide}: classes {other.classes} differ from those of"
                f" {first.tiles.slide}, {first.classes}; make the pseudo masks again"
            )
    return cohort


def inputs_of(cohort: list[Masked]) -> dict[str, str]:
    """Identities of the pseudo masks and annotations of a cohort, for the provenance."""
    ids = {slide.tiles.slide: slide.id for slide in cohort}
    for slide in cohort:
        if slide.fields:
            ids[f"{slide.tiles.slide}: {slide.fields.path.name}"] = slide.fields.digest
    return ids


def _usable(product: Path) -> bool:
    try:
        read_record(product)
    except QuarantinedError:
        return False
    return True
