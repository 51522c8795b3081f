"""Displacements of a small batch: one for all of its cells, and what is left of each.

A batch of some 20 cells has a few cells of each population. Displacements of single populations
vary by chance as much as they differ. So with fewer than 50 cells, all take one displacement
(:func:`displace_alike`).
Nor can the noise of the batch be measured around means of its own cells, because these belong to
several populations. The larger side shows where populations lie. So residuals are taken around
means of its cells, and compared with its own residuals there (:func:`draw_in`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .agreement import geometric_median
from .displacement import Displacement, MergeSide, displace
from .linear_map import LinearMap, SparseRows
from .neighborhoods import ENOUGH, Listed, median

if TYPE_CHECKING:
    from mnncorrect.core.merging.loop import Node
    from mnncorrect.core.merging.pairs import Pairs

    from .neighborhoods import Search

# With fewer cells on the smaller or the larger side, populations are too small to be told, and
# all pairs are used. Batches of 20 to 65 cells of seven data sets mixed equally with 0, 25 and 50
# for the smaller side. With 40 cells without a common type, purity fell by 0.03, 0.03 and 0.04.
LEAST_TOLD, LEAST_TOLD_LARGER = 25, 50
# Cells of the larger side in the mean that a residual is taken around.
N_BESIDE = 30
# Squared residuals of more than this many times the median belong to cells of another population.
ASTRAY = 3.0
# A batch is small if it has fewer cells than populations need to be told, and less than this share
# of those of the largest batch.
SMALL_SHARE = 0.2
TINY = np.finfo(np.float64).tiny


def small_batches(sizes: Sequence[int]) -> frozenset[int]:
    """Find the batches that have few cells beside a large batch."""
    few = min(ENOUGH, SMALL_SHARE * max(sizes))
    return frozenset(number for number, size in enumerate(sizes) if size < few)


def least_compared(sizes: Sequence[int]) -> int:
    """Return the size of the smallest batch whose noise is compared; small ones do not count."""
    small = small_batches(sizes)
    return min(size for number, size in enumerate(sizes) if number not in small)


def can_be_told(*sizes: int) -> bool:
    """Return whether populations can be recognized in batches of these numbers of cells."""
    return min(sizes) >= LEAST_TOLD and max(sizes) >= LEAST_TOLD_LARGER


def displace_alike(
    left: MergeSide, right: MergeSide, pairs: Pairs, search: Search, *, n_jobs: int
) -> Displacement | None:
    """Estimate one displacement for all right cells, as a weighted mean of the vectors of anchors.

    Vectors far from their geometric median count less: those of cells without a counterpart differ
    from the others. Right ends are single cells, because their neighbors are of other populations.
    """
    n = len(right.data)
    alone = Listed(np.arange(n, dtype=np.int32)[:, None], np.ones(n, np.int64))
    right = right._replace(averaging=alone, around=alone)
    found = displace(left, right, pairs, search, n_jobs=n_jobs)
    if found is None:
        return None
    ends = [
        np.asarray(side.data if side.ends is None else side.ends, dtype=np.float64)
        for side in (left, right)
    ]
    sides = found.weights.left_ends, found.weights.right_ends
    vectors = sides[0].times(ends[0], n_jobs=n_jobs) - sides[1].times(ends[1], n_jobs=n_jobs)
    away = ((vectors - geometric_median(vectors)) ** 2).sum(1)
    weights = 1 / (1 + (away / max(float(median(away)), TINY)) ** 2)
    near = np.tile(np.arange(len(weights), dtype=np.int32), (n, 1))
    shared = LinearMap(*sides, near, np.tile(weights / weights.sum(), (n, 1)))
    noise = shared.noise(left.variance, right.variance, of=np.arange(n), n_jobs=n_jobs)
    return Displacement(shared.apply(*ends, n_jobs=n_jobs), noise, shared)


def draw_in(
    left: Node, right: Node, chance: NDArray[np.float64], search: Search, *, n_jobs: int
) -> tuple[LinearMap, NDArray[np.float64]]:
    r"""Move right cells towards the means of the left cells around them.

    Returns the linear map and the displacements.

    Notes
    -----
    Around the means of :data:`N_BESIDE` left cells, let :math:`s` be the mean squared residual of
    right cells, and :math:`t` that of the left cells there. A residual is the noise of a cell,
    as large as on the left, plus what is wrong with its place. If the two are independent, the best
    linear guess of the former is :math:`t / s` of the residual. Cells move by the rest, times
    their chance of a counterpart. Cells whose square is more than three times
    the median move less, and from six times on not at all: they are of another population.
    """
    near = search(right.data, left.data, N_BESIDE).indices
    around, at = np.unique(near, return_inverse=True)
    own = search(left.data[around], left.data, N_BESIDE + 1).indices
    # Each cell is left out of its own mean.
    own = np.stack([row[row != cell][:N_BESIDE] for row, cell in zip(own, around, strict=True)])
    there = _residuals(left.data[around], left.data, own)
    here = _residuals(right.data, left.data, near)
    levels = there[at.reshape(near.shape)].mean(1)
    far = here / max(ASTRAY * float(median(here)), TINY)
    chance = chance * np.clip(2 - far, 0, 1)
    kept = float(chance @ levels) / max(float(chance @ here), TINY)
    n, k = near.shape
    cells, starts = np.arange(n, dtype=np.int32), np.arange(n + 1)
    listed = near.ravel().astype(np.int32)
    found = LinearMap(
        SparseRows(starts * k, listed, np.full(n * k, 1 / k), len(left.rows)),
        SparseRows(starts, cells, np.ones(n), n),
        cells[:, None],
        (1 - min(1.0, kept)) * chance[:, None],
    )
    ends = [
        np.asarray(node.data if node.out is None else node.out, dtype=np.float64)
        for node in (left, right)
    ]
    return found, found.apply(*ends, n_jobs=n_jobs)


def _residuals(
    cells: NDArray[Any], others: NDArray[Any], near: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Squared distance of each cell to the mean of the other cells listed, without its noise."""
    k = near.shape[1]
    away = cells - others[near].mean(1, dtype=np.float64)
    squares: NDArray[np.float64] = (away**2).sum(1) * (k / (k + 1))
    return squares
