"""The contract of stitching, on label images cut into any grid and on views that disagree."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from wsipsm.inference.outlines import outlines
from wsipsm.stitching.resolve import Counts, Views, resolve


def random_labels(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Touching blobs of at most a few tens of pixels across, in one piece each."""
    seeds = np.zeros(shape, np.int32)
    count = int(rng.integers(1, 60))
    ys, xs = rng.integers(shape[0], size=count), rng.integers(shape[1], size=count)
    seeds[ys, xs] = np.arange(1, count + 1)
    away, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    reach = rng.uniform(2, 9, count + 1)[seeds[tuple(nearest)]]
    labels = np.where(away < reach, seeds[tuple(nearest)], 0)
    return relabel_sequential(labels)[0].astype(np.int32)


def centroids(labels: np.ndarray) -> np.ndarray:
    ids = np.arange(1, labels.max() + 1)
    rows, cols = np.indices(labels.shape)
    area = ndimage.sum_labels(np.ones(labels.shape, int), labels, ids)
    sums = [ndimage.sum_labels(axis, labels, ids) for axis in (rows, cols)]
    return np.stack(sums, axis=1) / area[:, None]


def views_of(labels: np.ndarray, rows: list[int], cols: list[int], halo: int, scale: float):
    """What the tiles of a grid see of a label image, each through its halo."""
    polygons, tiles, owned, cut = [], [], [], []
    height, width = labels.shape
    centres = centroids(labels)
    for number, (top, left) in enumerate((r, c) for r in rows for c in cols):
        bottom = min((r for r in rows if r > top), default=height)
        right = min((c for c in cols if c > left), default=width)
        y0, x0 = max(top - halo, 0), max(left - halo, 0)
        seen = labels[y0 : bottom + halo, x0 : right + halo]
        inside = np.unique(labels[top:bottom, left:right])
        inside = inside[inside > 0]
        table = np.zeros(labels.max() + 1, np.int32)
        table[inside] = np.arange(1, len(inside) + 1)
        local = table[seen]
        polygons.extend(outlines(local, origin=(y0, x0), scale=scale))
        tiles += [number] * len(inside)
        middle = centres[inside - 1]
        owned += list(((middle >= (top, left)) & (middle < (bottom, right))).all(axis=1))
        whole = np.bincount(labels.ravel(), minlength=labels.max() + 1)[inside]
        cut += list(np.bincount(local.ravel(), minlength=len(inside) + 1)[1:] < whole)
    return Views(
        polygons=np.array(polygons, dtype=object),
        tiles=np.array(tiles, np.int64),
        owned=np.array(owned, bool),
        cut=np.array(cut, bool),
        scores=np.ones(len(tiles), np.float32),
    )


def cuts(draw, length: int) -> list[int]:
    inner = draw(st.sets(st.integers(1, length - 1), max_size=5))
    return sorted({0} | inner)


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(20, 90)), draw(st.integers(20, 90)))
    scale = draw(st.sampled_from([1.0, 0.5, 1.0 / 3, 1.507]))
    return random_labels(rng, shape), cuts(draw, shape[0]), cuts(draw, shape[1]), scale


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_any_grid_with_enough_halo_gives_back_the_cells_of_the_whole(case, random) -> None:
    labels, rows, cols, scale = case
    whole = outlines(labels, origin=(0, 0), scale=scale)
    views = views_of(labels, rows, cols, halo=40, scale=scale)
    order = list(range(len(views.tiles)))
    random.shuffle(order)
    views = views[np.array(order, int)]
    kept, _, counts = resolve(views, overlap=0.4)
    found = {shapely.to_wkb(polygon) for polygon in views.polygons[kept]}
    assert found == {shapely.to_wkb(polygon) for polygon in whole}
    claimed = {shapely.to_wkb(polygon) for polygon in views.polygons[views.owned]}
    assert (counts.cells, counts.owned) == (len(whole), len(claimed))
    assert counts.resolved == counts.oversize == 0


def test_a_crescent_around_another_tile_s_corner_is_kept_once() -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[2:10, 2:10] = 1
    labels[4:10, 4:10] = 0
    labels[4:8, 4:8] = 2  # takes the place of the crescent's centroid
    assert (centroids(labels)[0] > 4).all()
    views = views_of(labels, [0, 4], [0, 4], halo=12, scale=1.0)
    assert not views.owned[views.tiles == 0].any()
    kept, _, counts = resolve(views, overlap=0.4)
    assert (counts.cells, counts.owned, counts.rescued) == (2, 1, 1)
    assert kept.sum() == 2


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(0, 6))
def test_a_small_halo_loses_and_doubles_no_cell(case, halo: int) -> None:
    labels, rows, cols, scale = case
    views = views_of(labels, rows, cols, halo=halo, scale=scale)
    kept, _, counts = resolve(views, overlap=0.4)
    assert counts.cells == kept.sum()
    assert counts.cells + counts.resolved + counts.dropped == len(kept)
    # every cell that some tile saw whole is there, once
    whole = {shapely.to_wkb(p) for p in views.polygons[~views.cut]}
    assert {shapely.to_wkb(p) for p in views.polygons[kept & ~views.cut]} == whole
    assert (kept & ~views.cut).sum() == len(whole)


def view(box, tile: int, *, owned: bool, cut: bool = False, score: float = 1.0):
    return shapely.box(*box), tile, owned, cut, score


def views(*rows) -> Views:
    polygons, tiles, owned, cut, scores = zip(*rows, strict=True)
    return Views(
        np.array(polygons, dtype=object),
        np.array(tiles, np.int64),
        np.array(owned),
        np.array(cut),
        np.array(scores, np.float32),
    )


def test_two_tiles_that_both_own_a_cell_give_one_the_surer() -> None:
    kept, _, counts = resolve(
        views(
            view((0, 0, 10, 10), 0, owned=True, score=0.7),
            view((1, 0, 11, 10), 1, owned=True, score=0.9),
        ),
        overlap=0.4,
    )
    assert kept.tolist() == [False, True]
    assert counts.resolved == 1


def test_a_guest_whose_own_tile_saw_nothing_is_rescued() -> None:
    kept, _, counts = resolve(views(view((0, 0, 9, 9), 0, owned=False)), overlap=0.4)
    assert kept.all()
    assert counts.rescued == 1


def test_whole_beats_cut_and_of_cut_views_the_largest_is_kept() -> None:
    kept, _, counts = resolve(
        views(
            view((0, 0, 10, 10), 0, owned=True, cut=True),
            view((0, 0, 14, 10), 1, owned=False),
            view((50, 0, 60, 10), 0, owned=True, cut=True),
            view((50, 0, 70, 10), 1, owned=False, cut=True),
        ),
        overlap=0.4,
    )
    assert kept.tolist() == [False, True, False, True]
    assert (counts.resolved, counts.oversize) == (2, 1)


def test_one_cell_against_two_is_decided_without_union() -> None:
    kept, _, _ = resolve(
        views(
            view((0, 0, 20, 10), 0, owned=True, score=0.6),
            view((0, 0, 9, 10), 1, owned=True, score=0.8),
            view((11, 0, 20, 10), 1, owned=True, score=0.5),
        ),
        overlap=0.4,
    )
    assert kept.tolist() == [False, True, True]


def test_a_group_is_decided_when_all_of_it_is_there() -> None:
    seen = views(
        view((0, 0, 10, 10), 0, owned=True, score=0.7),
        view((3, 0, 13, 10), 1, owned=True, score=0.8),  # beaten by the next, so the first stays
        view((6, 0, 16, 10), 2, owned=True, score=0.9),
        view((50, 0, 60, 10), 0, owned=True),
    )
    whole, _, _ = resolve(seen, overlap=0.6)
    assert whole.tolist() == [True, False, True, True]
    complete = np.array([True, True, False, True])
    kept, decided, counts = resolve(seen, overlap=0.6, complete=complete)
    assert decided.tolist() == kept.tolist() == [False, False, False, True]
    assert counts == Counts(cells=1, owned=1)


def test_outlines_that_cross_themselves_are_resolved_too() -> None:
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    seen = views(
        (bow, 0, True, False, 0.5),
        (shapely.transform(bow, lambda xy: xy + np.array([3, 0])), 1, True, False, 0.9),
    )
    kept, _, counts = resolve(seen, overlap=0.1)
    assert kept.tolist() == [False, True]
    assert counts.resolved == 1


def test_cells_of_one_tile_never_compete() -> None:
    kept, _, _ = resolve(
        views(view((0, 0, 10, 10), 0, owned=True), view((0, 0, 10, 10), 0, owned=True)),
        overlap=0.4,
    )
    assert kept.all()


def test_no_cells_at_all() -> None:
    nothing = Views(
        np.empty(0, object), np.empty(0, np.int64), np.empty(0, bool), np.empty(0, bool),
        np.empty(0, np.float32),
    )  # fmt: skip
    kept, _, counts = resolve(nothing, overlap=0.4)
    assert len(kept) == counts.cells == 0
