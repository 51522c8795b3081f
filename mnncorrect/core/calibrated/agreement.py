"""Weights of displacements by what batch effects do: agree, and keep populations apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels
from .neighborhoods import (
    N_BETWEEN,
    ROW_BLOCK,
    choose_points,
    evenly,
    median,
    mix_values,
    weigh_nearest,
)

if TYPE_CHECKING:
    from .neighborhoods import Search

# Displacements further than this from the common one, on its own scale, belong to cells that were
# matched to another population. Their weight falls to 0 at twice this distance.
OUTLYING = 1.5
# Neighbors on its own side that a cell should keep, and the largest allowed growth of their squared
# distances, relative to the old ones and shared between the cells that came together. Above it,
# weights fall, to 0 at twice the value.
N_OWN, FOLDED = 30, 0.1
# Cells for the common displacement; largest number of steps; and change of the median, relative to
# the size of displacements, below which the steps end.
MEDIAN_SAMPLE, MEDIAN_STEPS, MEDIAN_TOLERANCE = 5_000, 200, 1e-6
# Smallest distance to the median, relative to the size of displacements.
MEDIAN_FLOOR = 1e-3
TINY = np.finfo(np.float64).tiny


def geometric_median(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the point from which the distances to all vectors have the smallest sum.

    Uses Weiszfeld's steps, on an evenly spaced sample of many vectors. Unlike a mean, it tolerates
    up to half of arbitrary vectors (Lopuhaa & Rousseeuw 1991).
    """
    sample = vectors[evenly(len(vectors), MEDIAN_SAMPLE)]
    size = np.sqrt((sample**2).sum(1).mean())
    middle: NDArray[np.float64] = median(sample)
    if size == 0:
        return middle
    displacement_kernels.approach_median(
        sample, middle, MEDIAN_FLOOR * size, MEDIAN_TOLERANCE * size, MEDIAN_STEPS
    )
    return middle


def agreement(vectors: NDArray[np.float64], common: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight displacements by their agreement with the common one, their geometric median; 0..1.

    The displacement of a population with a counterpart is a draw from the batch effect. If a
    population was matched to another one, its displacement is a difference between populations.
    """
    away = ((vectors - common) ** 2).sum(1)
    scale = OUTLYING * ((common**2).sum() + median(away))
    weights: NDArray[np.float64] = np.clip(2 - away / max(scale, TINY), 0, 1)
    return weights


def unfolded(
    cells: NDArray[Any],
    vectors: NDArray[np.float64],
    weights: NDArray[np.float64],
    search: Search,
    *,
    common: NDArray[np.float64],
    share: float = 1.0,
    n_jobs: int,
) -> NDArray[np.float64]:
    r"""Weight displacements by whether distant cells of their own side stay apart, 0..1.

    Parameters
    ----------
    cells
        Displaced cells at their previous coordinates.
    vectors
        Their displacements.
    weights
        Weight of each displacement, 0..1.
    common
        Geometric median of the displacements.
    share
        Share of the usual number of cells to use.

    Notes
    -----
    A batch effect moves two cells of a batch alike, or by the difference of its effects on them. It
    does not remove other differences between them. If distant cells come together, the difference
    between their places was mistaken for a difference between effects. It is then the difference
    between the errors of their displacements. The best linear guess of one of two independent
    errors, given their difference, is its share by variance. Variances are assumed proportional to
    the squared distances :math:`e` of displacements from the common one. Let :math:`d` and
    :math:`d'` be the squared distances, in ascending order, from the previous place of a cell to
    the previous places of its neighbors before and after. The share of the cell is

    .. math:: \sum_a \frac{2 e}{e + e_a} (d'_a - d_a) \Big/ \sum_a d_a.

    No term is negative, because no neighbor is nearer than the nearest ones. The value is 0 if
    neighbors remain neighbors. It is 1/2 if half of them were twice as far away (squared), with
    equally unusual displacements. If two populations come together, the smaller one is among cells
    of the other, and its displacement is undone. The larger one is hardly affected.
    """
    moved = (cells + weights[:, None] * vectors).astype(cells.dtype)
    # Computed at some of many cells, like noise, but with neighbors among all cells.
    looked = choose_points(len(cells), share)
    # Each cell is its own nearest neighbor, at distance 0 both times.
    k = min(N_OWN + 1, len(cells))
    before, now = (search(x[looked], x, k).indices for x in (cells, moved))
    away = ((vectors - common) ** 2).sum(1)
    answers = np.empty(len(looked))

    def some(rows: slice) -> None:
        own = looked[rows]
        old, new = (_squares(cells, own, listed[rows]) for listed in (before, now))
        rank = np.argsort(new, axis=1, kind="stable")
        theirs = np.take_along_axis(away[now[rows]], rank, 1)
        blame = 2 * away[own, None] / np.maximum(away[own, None] + theirs, TINY)
        further = np.maximum(np.take_along_axis(new, rank, 1) - np.sort(old, axis=1), 0)
        answers[rows] = (blame * further).sum(1) / np.maximum(old.sum(1), TINY)

    map_blocks(some, row_blocks(len(looked), ROW_BLOCK // 4), n_jobs=n_jobs)
    clear: NDArray[np.float64] = np.clip(2 - answers / FOLDED, 0, 1)
    if len(looked) < len(cells):
        between = weigh_nearest(cells, cells[looked], N_BETWEEN, search, n_jobs)
        clear = mix_values(*between, clear)
    return clear


def _squares(
    cells: NDArray[Any], rows: NDArray[np.int64], listed: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Squared distances of some cells to the cells in their lists."""
    between = cells[listed].astype(np.float64) - cells[rows, None]
    squares: NDArray[np.float64] = np.einsum("ijk,ijk->ij", between, between)
    return squares
