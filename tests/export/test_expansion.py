"""Cells around nuclei: none on another, none without its nucleus, whatever is beside it."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsipsm.export.expansion import expand

from .shapes import nuclei

REACH = 20.0


def names(count: int) -> np.ndarray:
    """Unique ids whose order is not that of the nuclei."""
    return np.array([f"{(index * 7919) % 10007:05d}" for index in range(count)], dtype=object)


def crowd(count: int, *, seed: int, overlap: bool = False) -> np.ndarray:
    """Nuclei on a close lattice; some touch or overlap if asked for."""
    closer = 0.55 if overlap else 0.75
    drawn = nuclei(count, seed=seed)
    centres = shapely.get_coordinates(shapely.centroid(drawn))
    points, owner = shapely.get_coordinates(drawn, return_index=True)
    return np.asarray(shapely.set_coordinates(drawn, points - (1 - closer) * centres[owner]))


def grow(found: np.ndarray) -> np.ndarray:
    """Cells around all nuclei."""
    return expand(found, names(len(found)), wanted=np.arange(len(found)), distance_px=REACH)


def overlaps(shapes: np.ndarray) -> np.ndarray:
    """Area that each two of some shapes share, where they meet."""
    one, two = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = one < two
    return np.asarray(shapely.area(shapely.intersection(shapes[one[pairs]], shapes[two[pairs]])))


def test_nucleus_alone_grows_by_the_distance() -> None:
    (alone,) = nuclei(1)
    (cell,) = grow(np.array([alone]))
    assert cell.equals(shapely.buffer(alone, REACH, quad_segs=4))


def test_two_disks_share_what_lies_between_them() -> None:
    disks = shapely.buffer(shapely.points([[0, 0], [30, 0]]), 10, quad_segs=32)
    left, right = grow(disks)
    assert (left.bounds[2], right.bounds[0]) == pytest.approx((15, 15))
    assert left.bounds[0] == pytest.approx(-30, abs=0.05)
    assert left.area == pytest.approx(right.area)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_cells_hold_their_nucleus_and_no_other(seed: int, overlap: bool) -> None:
    found = crowd(60, seed=seed, overlap=overlap)
    cells = grow(found)
    assert shapely.covers(shapely.buffer(cells, 1e-6), found).all()
    assert shapely.covers(shapely.buffer(found, REACH + 1e-6, quad_segs=4), cells).all()
    assert overlaps(cells).sum() <= overlaps(found).sum() + 1e-6
    assert shapely.area(cells).sum() > 1.2 * shapely.area(found).sum()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_cell_depends_on_near_nuclei_only(seed: int) -> None:
    found = crowd(80, seed=seed, overlap=True)
    ids = names(80)
    cells = grow(found)
    order = np.random.default_rng(seed).permutation(80)
    turned = expand(found[order], ids[order], wanted=np.arange(80), distance_px=REACH)
    assert (shapely.to_wkb(turned) == shapely.to_wkb(cells[order])).all()
    near = np.flatnonzero(shapely.dwithin(found, found[33], 2 * REACH))
    wanted = np.flatnonzero(near == 33)
    (one,) = expand(found[near], ids[near], wanted=wanted, distance_px=REACH)
    assert one.wkb == cells[33].wkb


def test_same_nucleus_twice_is_no_failure() -> None:
    disk = shapely.Point(0, 0).buffer(10)
    cells = grow(np.array([disk, disk]))
    assert shapely.covers(cells, disk).all()
