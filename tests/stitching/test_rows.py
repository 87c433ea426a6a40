"""Row by row and all at once are the same, for any grid, any views, any order."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsipsm.stitching.resolve import Counts, Views, resolve
from wsipsm.stitching.rows import Reads, Row, resolve_rows


def random_views(
    rng: np.random.Generator, *, tiles: int, reads: Reads, size: float
) -> tuple[Views, NDArray[np.int64]]:
    """Triangles anywhere in what a random tile reads, some of them told by a second tile as well.

    Scores, areas and outlines repeat, so that ranks have to be told apart by all they have.
    """
    count = int(rng.integers(0, 120))
    places = rng.integers(0, tiles, (count, 2))
    low, high = places * reads.tile - reads.halo, (places + 1) * reads.tile + reads.halo
    at = rng.uniform(low, high)
    corners = at[:, None] + rng.integers(0, 4, (count, 3, 2)) * size / 4
    corners = np.clip(corners, low[:, None], high[:, None])
    near = np.clip(places + rng.integers(-1, 2, places.shape), 0, tiles - 1)
    again = (corners > near[:, None] * reads.tile - reads.halo).all(axis=(1, 2))
    again &= (corners < (near[:, None] + 1) * reads.tile + reads.halo).all(axis=(1, 2))
    again &= (near != places).any(axis=1)
    places = np.concatenate([places, near[again]])
    corners = np.concatenate([corners, corners[again]])
    polygons = np.asarray(shapely.polygons(corners[..., ::-1]))
    solid = shapely.area(polygons) > 1e-3
    polygons, places = polygons[solid], places[solid]
    views = Views(
        polygons=polygons,
        tiles=(places[:, 0] << 32) + places[:, 1],
        owned=rng.random(len(places)) < 0.5,
        cut=rng.random(len(places)) < 0.3,
        scores=rng.integers(1, 4, len(places)).astype(np.float32) / 4,
    )
    return views, places


def rows_of(views: Views, places: NDArray[np.int64], *, shard_tiles: int, order: NDArray[np.int64]):
    """Rows of shards of these views, each in a given order; and the views' numbers in them."""
    rows, numbers = [], []
    for shard_row in np.unique(places[:, 0] // shard_tiles):
        here = order[places[order, 0] // shard_tiles == shard_row]
        polygons = views.polygons[here]
        rows.append(
            Row(
                boxes=shapely.bounds(polygons).reshape(-1, 4),
                tile_rows=places[here, 0],
                tile_cols=places[here, 1],
                owned=views.owned[here],
                cut=views.cut[here],
                scores=views.scores[here],
                outlines=lambda mask, polygons=polygons: polygons[mask],
                stop=(int(shard_row) + 1) * shard_tiles,
            )
        )
        numbers.append(here)
    return rows, np.concatenate([np.zeros(0, np.int64), *numbers])


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tiles=st.integers(1, 6),
    shard_tiles=st.integers(1, 4),
    halo=st.sampled_from([0.0, 3.0, 20.0, 70.0]),
    size=st.sampled_from([8.0, 40.0, 160.0]),
    overlap=st.sampled_from([0.05, 0.4, 1.0]),
)
def test_row_by_row_is_all_at_once(seed, tiles, shard_tiles, halo, size, overlap) -> None:
    rng = np.random.default_rng(seed)
    reads = Reads(tile=50.0, halo=halo)
    views, places = random_views(rng, tiles=tiles, reads=reads, size=size)
    whole, decided, counts = resolve(views, overlap=overlap)
    assert decided.all()
    rows, numbers = rows_of(
        views, places, shard_tiles=shard_tiles, order=rng.permutation(len(views))
    )
    kept, streamed = resolve_rows(rows, reads=reads, overlap=overlap)
    assert np.array_equal(kept, whole[numbers])
    assert streamed == counts


def test_views_that_no_other_tile_reads_are_kept_unseen() -> None:
    boxes = np.array([[30.0, 30, 70, 70], [30, 30, 95, 70], [130, 30, 170, 70]])

    def outlines(mask: NDArray[np.bool_]) -> NDArray[np.object_]:
        assert mask.tolist() == [False, True, False]
        return np.asarray(shapely.box(*boxes[mask].T))

    row = Row(
        boxes=boxes,
        tile_rows=np.zeros(3, np.int64),
        tile_cols=np.array([0, 0, 1]),
        owned=np.array([True, True, False]),
        cut=np.zeros(3, bool),
        scores=np.ones(3, np.float32),
        outlines=outlines,
        stop=1,
    )
    kept, counts = resolve_rows([row], reads=Reads(tile=100, halo=10), overlap=0.4)
    assert kept.all()
    assert counts == Counts(cells=3, owned=2, rescued=1)


def test_no_rows_at_all() -> None:
    kept, counts = resolve_rows([], reads=Reads(tile=100, halo=10), overlap=0.4)
    assert len(kept) == counts.cells == 0
