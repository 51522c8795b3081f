"""Displacements of the cells of a batch, and their noise.

Every displacement is a linear map of cells, so its noise follows from the noise of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels, vote_kernels
from .neighborhoods import (
    LEAST_POINTS,
    MOST_DIRECT,
    N_BETWEEN,
    ROW_BLOCK,
    evenly,
    median,
    mix,
    weigh_nearest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnncorrect.core.merging.pairs import Pairs

    from .neighborhoods import Listed, Search

# Anchors for the smoothing of each cell. A displacement of low effective rank needs tens of
# independent vectors, and neighboring anchors share cells.
N_SMOOTHED = 100
# Anchors in a merge, evenly spaced. With a hundred for each cell, more would take time without
# adding accuracy; a batch effect has no finer detail.
MOST_ANCHORS = 5_000
# Displacements whose noise is computed at a time.
NOISE_BLOCK = 64
# Number of additions to a dense row that take as long as one to a place that is looked up; and
# largest number of values in dense rows.
DENSER, MOST_DENSE = 10, 1 << 20
# Smallest number of vectors for an estimate of their spread.
LEAST_ANCHORS = 3
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


class SparseRows(NamedTuple):
    """Sparse rows of weights of cells."""

    # As in a CSR matrix; columns of a row are in no order.
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]
    n_columns: int  # Number of cells.

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def dense(self) -> NDArray[np.float64]:
        """Return the weights as a dense matrix."""
        out = np.zeros((self.n_rows, self.n_columns))
        out[np.repeat(np.arange(self.n_rows), np.diff(self.indptr)), self.indices] = self.data
        return out

    def are_dense(self) -> bool:
        """Return whether their sums take less time as dense rows."""
        n = self.n_columns * self.n_rows
        return n <= min(MOST_DENSE, DENSER * len(self.data))

    def times(self, x: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Multiply by values of cells in float64, without a float64 copy of the values."""
        out = np.empty((self.n_rows, x.shape[1]))
        map_blocks(
            lambda rows: displacement_kernels.sparse_rows(
                self.indptr[rows.start : rows.stop + 1], self.indices, self.data, x, out[rows]
            ),
            row_blocks(len(out), ROW_BLOCK),
            n_jobs=n_jobs,
        )
        return out


@dataclass(frozen=True)
class LinearMap:
    """Linear map from the cells of both sides to displacements."""

    # Weights of the left and the right cells at each anchor, :math:`P A_L` and :math:`Q A_R`.
    left_ends: SparseRows
    right_ends: SparseRows
    # For each displaced cell, the anchors of its smoothing and their weights.
    near: NDArray[np.int32]
    weights: NDArray[np.float64]

    def apply(self, left: NDArray[Any], right: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Turn values of the cells of both sides into displacements."""
        vectors = self.left_ends.times(left, n_jobs=n_jobs)
        vectors -= self.right_ends.times(right, n_jobs=n_jobs)
        return mix(self.near, self.weights, vectors, n_jobs=n_jobs)

    def carry(
        self,
        brought: NDArray[np.float64],
        at: NDArray[np.int64],
        own: NDArray[np.float64] | None,
        *,
        n_jobs: int,
    ) -> NDArray[np.float64]:
        """Tell how far cells have been brought before, each by itself or as the anchors near it.

        Parameters
        ----------
        brought
            How far each right cell has been brought.
        at
            The cells that are displaced.
        own
            How much each of them counts for itself, 0..1; wholly if not given.
        """
        if own is None:
            return brought[at]
        ends = self.right_ends.times(brought, n_jobs=n_jobs)
        near = mix(self.near, self.weights, ends, n_jobs=n_jobs)
        return own[:, None] * brought[at] + (1 - own)[:, None] * near

    def noise(
        self,
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        *,
        of: NDArray[np.int64],
        n_jobs: int,
    ) -> NDArray[np.float64]:
        """Turn variances of independent cells into those of some of the displacements."""
        near, weights = self.near[of], self.weights[of]
        sides = (self.left_ends, left), (self.right_ends, right)
        noise = np.zeros(len(near))
        if all(ends.are_dense() for ends, _ in sides):
            for ends, variance in sides:
                noise += mix(near, weights, ends.dense(), n_jobs=n_jobs) ** 2 @ variance
            return noise

        def some(rows: slice) -> None:
            for ends, variance in sides:
                displacement_kernels.composed_variance(
                    near[rows], weights[rows], ends.indptr, ends.indices, ends.data,
                    variance, np.zeros(ends.n_columns), np.empty(ends.n_columns, np.int64),
                    noise[rows],
                )  # fmt: skip

        map_blocks(some, row_blocks(len(noise), NOISE_BLOCK), n_jobs=n_jobs)
        return noise


class Displacement(NamedTuple):
    """Displacements of target cells, estimated from pairs."""

    vectors: NDArray[np.float64]  # Displaced cells x dimensions.
    noise: NDArray[np.float64]  # Variance of each vector, summed over dimensions.
    weights: LinearMap  # Linear map that gives the vectors.


class MergeSide(NamedTuple):
    """One side of a merge."""

    data: NDArray[Any]  # Current coordinates, cells x dimensions.
    averaging: Listed  # Neighbors in its batch whose mean replaces each cell.
    variance: NDArray[np.float64]  # Noise of each cell, summed over dimensions.
    ends: NDArray[Any] | None = None  # Values to average instead of ``data``; ``None``: ``data``.
    around: Listed | None = None  # Neighbors of an anchor; ``None``: those of ``averaging``.


def displace(
    left: MergeSide,
    right: MergeSide,
    pairs: Pairs,
    search: Search,
    *,
    most_anchors: int = MOST_ANCHORS,
    at: NDArray[np.int64] | None = None,
    share: float = 1.0,
    n_jobs: int,
) -> Displacement | None:
    r"""Estimate the displacement of right cells, and its noise.

    Parameters
    ----------
    left, right
        The reference and the target.
    pairs
        Mutual nearest pairs, in rows of the two sides.
    most_anchors
        Largest number of anchors.
    at
        Right cells to displace; default: all.
    share
        Share of the usual number of cells at which noise is computed.

    Returns
    -------
    The displacements; ``None`` if there are too few anchors.

    Notes
    -----
    With :math:`L` and :math:`R` the cells of both sides, the displacement is

    .. math:: \Delta = W (P A_L L - Q A_R R),

    where :math:`A` replaces each cell by the mean of its neighbors in its batch. :math:`P` averages
    the left ends of each anchor; a left cell has one vote, which its partners share. :math:`Q`
    averages the neighbors of an anchor in its own batch; a right cell has one vote, which its
    anchors share. :math:`W` smooths over the nearest anchors by a Gaussian kernel whose squared
    bandwidth is their mean squared distance. For given matrices and independent cells of variance
    :math:`r`,

    .. math:: \mathrm{Var}(\Delta_c) = \sum_i (W P A_L)_{ci}^2 r_i + \sum_j (W Q A_R)_{cj}^2 r_j.

    A cell in many pairs counts once, with its total weight, so sharing needs no extra constant. The
    formula ignores that the matrices depend on the cells too.

    :math:`Q` averages on the right as :math:`P` does on the left, where the partners of an anchor
    are cells near it. A mean over a wider neighborhood lies nearer to the center of a population.
    So with :math:`A_R` alone on the right, displacements point to the center, and cells contract.
    In random halves of one batch of seven data sets, cells contracted by 2.3 % of the distance to
    the mean of their type in each round, and by 1.3 % with :math:`Q`.
    """
    anchors = np.flatnonzero(np.bincount(pairs.right, minlength=len(right.data)))
    if len(anchors) < LEAST_ANCHORS:
        return None
    used = anchors[evenly(len(anchors), most_anchors)]
    around = right.averaging if right.around is None else right.around
    cells = right.data if at is None else right.data[at]
    found = LinearMap(
        _compose(_vote(pairs, used, len(left.data), len(right.data)), left.averaging),
        _compose(_vote_around(around, anchors, used), right.averaging),
        *weigh_nearest(cells, right.data[used], N_SMOOTHED, search, n_jobs),
    )
    # Noise is as smooth as displacements, so other cells take the mean of points near them.
    some = _chosen_points(len(cells), share)
    noise = found.noise(left.variance, right.variance, of=some, n_jobs=n_jobs)
    if len(some) < len(cells):
        between = weigh_nearest(cells, cells[some], N_BETWEEN, search, n_jobs)
        noise = mix(*between, noise[:, None], n_jobs=n_jobs)[:, 0]
    ends = [side.data if side.ends is None else side.ends for side in (left, right)]
    return Displacement(found.apply(*ends, n_jobs=n_jobs), noise, found)


def _chosen_points(n: int, share: float) -> NDArray[np.int64]:
    """Choose the points among ``n`` cells at which smooth quantities are computed.

    If displacements use a share of the usual number of points, noise and folding do too, because
    they cost the most at each point.
    """
    share **= 2
    return evenly(n, n if n <= share * MOST_DIRECT else round(share * LEAST_POINTS))


def _vote(pairs: Pairs, anchors: NDArray[np.int64], n_left: int, n_right: int) -> SparseRows:
    """Weights of the left cells at each anchor: the pairs of a left cell share its one vote.

    Weighted pairs use their weight instead.
    """
    row_of = np.full(n_right, -1)
    row_of[anchors] = np.arange(len(anchors))
    shares = pairs.weights
    if shares is None:
        shares = 1.0 / np.bincount(pairs.left, minlength=n_left)[pairs.left]
    total = np.bincount(pairs.right, weights=shares, minlength=n_right)
    out = _room(np.bincount(pairs.right, minlength=n_right)[anchors], n_left)
    vote_kernels.vote(pairs.left, pairs.right, shares, total, row_of, *out[:3])
    return out


def _vote_around(around: Listed, anchors: NDArray[np.int64], used: NDArray[np.int64]) -> SparseRows:
    """Weights of the right cells at each anchor: each of its neighbors has one vote."""
    n = len(around.cells)
    out = _room(around.counts[used], n)
    vote_kernels.vote_around(anchors, used, *around, np.zeros(n), *out[1:3])
    return out


def _compose(votes: SparseRows, averaging: Listed) -> SparseRows:
    """Pass the votes of cells on to the neighbors in their means."""
    most = int(averaging.counts[votes.indices].sum())
    indptr, indices, data = np.zeros_like(votes.indptr), np.empty(most, np.int32), np.empty(most)
    scratch = np.zeros(votes.n_columns)
    vote_kernels.compose(*votes[:3], *averaging, scratch, indptr, indices, data)
    n = int(indptr[-1])
    return SparseRows(indptr, indices[:n].copy(), data[:n].copy(), votes.n_columns)


def _room(lengths: NDArray[np.int64], n_columns: int) -> SparseRows:
    """Make room for sparse rows of these lengths."""
    ends = lengths.cumsum()
    n = int(ends[-1])
    return SparseRows(np.append(0, ends), np.empty(n, np.int32), np.empty(n), n_columns)


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


def agreement(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight displacements by their agreement with the common one, 0..1.

    The displacement of a population with a counterpart is a draw from the batch effect. If a
    population was matched to another one, its displacement is a difference between populations.
    """
    common = geometric_median(vectors)
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
    looked = _chosen_points(len(cells), share)
    # Each cell is its own nearest neighbor, at distance 0 both times.
    k = min(N_OWN + 1, len(cells))
    before, now = (search(x[looked], x, k).indices for x in (cells, moved))
    away = ((vectors - geometric_median(vectors)) ** 2).sum(1)
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
        clear = mix(*between, clear[:, None], n_jobs=n_jobs)[:, 0]
    return clear


def _squares(
    cells: NDArray[Any], rows: NDArray[np.int64], listed: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Squared distances of some cells to the cells in their lists."""
    between = cells[listed].astype(np.float64) - cells[rows, None]
    squares: NDArray[np.float64] = np.einsum("ijk,ijk->ij", between, between)
    return squares
