"""One-to-one matching of two sets of objects, at a cost that grows with their number only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

PAIRS_AT_ONCE = 10_000


def best_pairs(
    rows: NDArray[np.int64], cols: NDArray[np.int64], profit: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Positions of the pairs of a matching whose sum of profits is largest, ascending.

    Parameters
    ----------
    rows, cols
        Candidate pairs (n,), each pair once.
    profit
        float64 (n,), above 0.

    Notes
    -----
    Objects that no chain of pairs connects do not compete, so the pairs are solved in groups
    of connected components: the solver's time grows with the square of what it is given.
    """
    if not len(rows):
        return np.zeros(0, np.int64)
    chosen = [
        group[_solve(rows[group], cols[group], profit[group])] for group in _groups(rows, cols)
    ]
    return np.sort(np.concatenate(chosen))


def _groups(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Positions of pairs, in groups of about `PAIRS_AT_ONCE` that share no object."""
    first = int(rows.max()) + 1
    size = first + int(cols.max()) + 1
    graph = coo_array((np.ones(len(rows), np.int8), (rows, first + cols)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(component, kind="stable")
    sizes = np.bincount(component)
    group = ((np.cumsum(sizes) - sizes) // PAIRS_AT_ONCE)[component[order]]
    yield from np.split(order, np.flatnonzero(np.diff(group)) + 1)


def _solve(
    rows: NDArray[np.int64], cols: NDArray[np.int64], profit: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Positions of the best pairs among few."""
    row, col = np.unique(rows, return_inverse=True)[1], np.unique(cols, return_inverse=True)[1]
    height, width = int(row.max()) + 1, int(col.max()) + 1
    # each row may stay alone, in a column of its own and without profit
    alone = np.arange(height)
    worst = float(profit.max()) + 1
    cost = np.concatenate([worst - profit, np.full(height, worst)])
    where = np.concatenate([row, alone]), np.concatenate([col, width + alone])
    graph = coo_array((cost, where), shape=(height, width + height)).tocsr()
    matched = np.full(height, -1)
    at_row, at_col = min_weight_full_bipartite_matching(graph)
    matched[at_row] = at_col
    return np.flatnonzero(matched[row] == col)
