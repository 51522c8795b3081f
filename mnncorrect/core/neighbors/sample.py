"""A weighted sample of cells for large data, and the nearest cells of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.compute import ComputeOptions

from .engines import nearest

Codes = NDArray[np.integer[Any]]
Near = tuple[NDArray[np.int32], NDArray[np.float64]]


@dataclass(frozen=True)
class Sample:
    """A weighted sample of cells."""

    rows: NDArray[np.int64]  # Rows of the cells, ascending.
    weights: NDArray[np.float64]  # Number of cells that each represents.


def draw(strata: Codes, n_cells: int, *, random_state: int = 0) -> Sample:
    """Draw cells of every stratum; all cells if there are at most ``n_cells``.

    Strata share one half of the sample equally and the other half by size, so small strata are
    included. Each stratum has at least one cell in the sample.
    """
    n = len(strata)
    if n <= n_cells:
        return Sample(np.arange(n), np.ones(n))
    codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)[1:]
    wanted = n_cells / 2 * (1 / len(sizes) + sizes / n)
    taken = np.minimum(sizes, np.maximum(1, wanted.astype(np.int64)))
    shuffled = np.random.default_rng(random_state).permutation(n)
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    within = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = np.sort(order[within < np.repeat(taken, sizes)])
    return Sample(rows, (sizes / taken)[codes[rows]])


def nearest_others(
    x: NDArray[Any], rows: NDArray[np.int64], among: NDArray[np.int64], k: int, n_jobs: int
) -> Near:
    """Find the ``k`` nearest cells of each row, excluding itself: their places and distances.

    ``among`` is ascending and contains ``rows``. The search is exact, because large data are
    sampled first.
    """
    if not len(rows):
        return np.empty((0, k), np.int32), np.empty((0, k))
    found = nearest(x[rows], x[among], k + 1, compute=ComputeOptions("exact", n_jobs=n_jobs))
    own = found.indices == np.searchsorted(among, rows)[:, None]
    # If more cells are equal than there are places, the cell itself may be missing.
    own[~own.any(1), -1] = True
    shape = len(rows), k
    return found.indices[~own].reshape(shape), found.distances[~own].reshape(shape)
