"""Which true object shares how many pixels with which found one: counted block by block.

Everything that is scored follows from one sparse table (true object, found object, shared
pixels) and from the objects' areas, centroids and classes. A block adds the true pixels of its
core, and the found objects that it owns, each whole, so that nothing is cut at its border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsipsm.types import Region


@dataclass(frozen=True)
class Counts:
    """What one block adds to the table.

    Attributes
    ----------
    true_ids, true_area, true_y, true_x
        Ids of the true objects in the core; their pixels there, and the sums of these pixels'
        rows and columns.
    found_area, found_y, found_x
        Pixels of the owned found objects, and the sums of these pixels' rows and columns.
    pair_true, pair_found, shared
        Id of a true object, position of a found one, and the pixels that they share.
    """

    true_ids: NDArray[np.int64]
    true_area: NDArray[np.int64]
    true_y: NDArray[np.float64]
    true_x: NDArray[np.float64]
    found_area: NDArray[np.int64]
    found_y: NDArray[np.float64]
    found_x: NDArray[np.float64]
    pair_true: NDArray[np.int64]
    pair_found: NDArray[np.int64]
    shared: NDArray[np.int64]


@dataclass(frozen=True)
class Objects:
    """Objects of one side: area in pixels, centroid (pixel centres at + 0.5), class or ""."""

    area: NDArray[np.int64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    classes: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.area)

    def only(self, keep: NDArray[np.bool_]) -> Objects:
        """The objects to `keep`."""
        return Objects(self.area[keep], self.y[keep], self.x[keep], self.classes[keep])


@dataclass(frozen=True)
class Contingency:
    """The whole table: objects of both sides, and the pairs that share pixels, by position."""

    true: Objects
    found: Objects
    pair_true: NDArray[np.int64]
    pair_found: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every pair."""
        together = self.true.area[self.pair_true] + self.found.area[self.pair_found]
        return np.asarray(self.shared / (together - self.shared), np.float64)

    def of_class(self, name: str) -> Contingency:
        """The table of the objects of one class on both sides."""
        return self.only(self.true.classes == name, self.found.classes == name)

    def only(self, true: NDArray[np.bool_], found: NDArray[np.bool_]) -> Contingency:
        """The table of the true and the found objects to keep."""
        kept = true[self.pair_true] & found[self.pair_found]
        return Contingency(
            true=self.true.only(true),
            found=self.found.only(found),
            pair_true=(np.cumsum(true) - 1)[self.pair_true[kept]],
            pair_found=(np.cumsum(found) - 1)[self.pair_found[kept]],
            shared=self.shared[kept],
        )


def count(
    truth: NDArray[np.int64],
    found: NDArray[np.integer],
    *,
    region: Region,
    core: Region,
    owned: NDArray[np.bool_] | None = None,
) -> Counts:
    """Count one block.

    Parameters
    ----------
    truth, found
        Label images (y, x) of `region`, 0 = background. True ids hold for the whole slide;
        found ids are 1 ... n within the block.
    region, core
        What the images show; the part of the slide that this block alone stands for.
    owned
        bool (n,): found objects that this block counts. By default those whose centroid lies
        in the core.
    """
    row, col = np.nonzero(found)
    size = int(found.max(initial=0)) if owned is None else len(owned)
    area, y, x = _sums(found[row, col].astype(np.int64) - 1, row + region.y, col + region.x, size)
    if owned is None:
        owned = (area > 0) & _inside(y / np.maximum(area, 1), x / np.maximum(area, 1), core)
    top, left = core.y - region.y, core.x - region.x
    own_truth = truth[top : top + core.height, left : left + core.width]
    row, col = np.nonzero(own_truth)
    ids, index = np.unique(own_truth[row, col], return_inverse=True)
    true_area, true_y, true_x = _sums(index, row + core.y, col + core.x, len(ids))
    both = (truth != 0) & np.append(False, owned)[found]
    (pair_true, pair_found), shared = _unique_pairs(truth[both], found[both])
    return Counts(
        true_ids=ids.astype(np.int64),
        true_area=true_area,
        true_y=true_y,
        true_x=true_x,
        found_area=area[owned],
        found_y=y[owned],
        found_x=x[owned],
        pair_true=pair_true,
        pair_found=(np.cumsum(owned) - 1)[pair_found - 1],
        shared=shared,
    )


def gather(
    blocks: Sequence[Counts],
    *,
    found_classes: NDArray[np.str_] | None = None,
    true_class: dict[int, str] | None = None,
) -> Contingency:
    """One table of all blocks, their found objects one after the other.

    Parameters
    ----------
    blocks
        In an order that does not depend on the workers.
    found_classes
        Class of each found object, in the order of the blocks; none by default.
    true_class
        Class of true ids; none by default.
    """
    ids, where = np.unique(_joined(blocks, "true_ids"), return_inverse=True)
    area, y, x = (
        np.bincount(where, _joined(blocks, name), len(ids))
        for name in ("true_area", "true_y", "true_x")
    )
    names = true_class or {}
    true_classes = np.array([names.get(int(one), "") for one in ids], np.str_)
    found_area = _joined(blocks, "found_area")
    if found_classes is None:
        found_classes = np.full(len(found_area), "", np.str_)
    found_y, found_x = (_joined(blocks, name) for name in ("found_y", "found_x"))
    starts = np.cumsum([0, *(len(block.found_area) for block in blocks)])
    pair_found = [block.pair_found + at for block, at in zip(blocks, starts[:-1], strict=True)]
    return Contingency(
        true=_objects(area, y, x, true_classes),
        found=_objects(found_area, found_y, found_x, found_classes),
        pair_true=np.searchsorted(ids, _joined(blocks, "pair_true")),
        pair_found=np.concatenate([np.zeros(0, np.int64), *pair_found]),
        shared=_joined(blocks, "shared"),
    )


def of_labels(truth: NDArray[np.integer], found: NDArray[np.integer]) -> Contingency:
    """The table of two label images (y, x) that show the same place; ids are arbitrary."""
    whole = Region(0, 0, *truth.shape)
    ids, dense = np.unique(found, return_inverse=True)
    dense = dense.reshape(found.shape) + int(ids[0] != 0)
    return gather([count(truth.astype(np.int64), dense, region=whole, core=whole)])


def _objects(
    area: NDArray[Any], y: NDArray[Any], x: NDArray[Any], classes: NDArray[np.str_]
) -> Objects:
    # an object without a pixel of its own brings its centroid in place of a sum
    pixels = np.maximum(area, 1)
    return Objects(area.astype(np.int64), y / pixels + 0.5, x / pixels + 0.5, classes)


def _sums(
    index: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of the objects 0 ... size - 1, and the sums of their rows and columns."""
    area = np.bincount(index, minlength=size)
    y, x = (np.bincount(index, where, size).astype(np.float64) for where in (row, col))
    return area, y, x


def _inside(y: NDArray[np.float64], x: NDArray[np.float64], core: Region) -> NDArray[np.bool_]:
    rows = (y >= core.y) & (y < core.y + core.height)
    return np.asarray(rows & (x >= core.x) & (x < core.x + core.width))


def _unique_pairs(
    true: NDArray[np.int64], found: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs (2, n) in order, and how often each occurs."""
    pairs = np.stack([true, found.astype(np.int64)])
    pairs = pairs[:, np.lexsort(pairs[::-1])]
    new = np.append(True, (pairs[:, 1:] != pairs[:, :-1]).any(axis=0))[: pairs.shape[1]]
    starts = np.flatnonzero(new)
    return pairs[:, starts], np.diff(np.append(starts, pairs.shape[1]))


def _joined(blocks: Sequence[Counts], name: str) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, np.int64), *(getattr(block, name) for block in blocks)])
