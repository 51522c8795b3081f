"""How far the cells of a batch lie from where they belong, and how well that is known.

Every displacement is a linear map of cells, so that its noise follows from theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnncorrect.core.merging.pairs import neighbor_weights, square_weights
from mnncorrect.core.neighbors.exact import FEW_ROWS, gather_few
from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels
from .neighborhoods import (
    LEAST_POINTS,
    MOST_DIRECT,
    N_BETWEEN,
    ROW_BLOCK,
    SEARCH_BLOCK,
    evenly,
    mix,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnncorrect.core.merging.pairs import Pairs

    from .neighborhoods import Listed, Search

# Anchors smoothed over for each cell: a displacement of effective rank one to a few needs tens of
# independent vectors, and neighbouring anchors share cells.
N_SMOOTHED = 100
# Anchors used of a merge, evenly spaced. More would add no accuracy, at a hundred for each cell,
# and detail finer than a batch effect has, at the price of time.
MOST_ANCHORS = 5_000
# Displacements whose noise is worked out at a time.
NOISE_BLOCK = 64
# Products of a matrix that take as long as adding one number at a place that is looked up.
DENSER = 20
# A mean of fewer vectors says nothing of their spread.
LEAST_ANCHORS = 3
# Displacements further than this from the common one, on its own scale, belong to cells that were
# matched to another population; from twice as far on they count nothing.
OUTLYING = 1.5
# Neighbours of its own side that a cell should not exchange for others, and by how much further
# away than the old ones the new ones may have lain (squares, over those of the old ones, shared out
# between the cells that came together) until displacements count less; from twice that on they
# count nothing.
N_OWN, FOLDED = 30, 0.1
# Cells the common displacement is read off, steps at most, and the change of the median, relative
# to the displacements' size, below which the steps end.
MEDIAN_SAMPLE, MEDIAN_STEPS, MEDIAN_TOLERANCE = 5_000, 200, 1e-6
# Distances to the median below this share of the displacements' size count as this.
MEDIAN_FLOOR = 1e-3
TINY = np.finfo(np.float64).tiny


class SparseRows(NamedTuple):
    """Rows of weights of cells, most of which are zero.

    Attributes
    ----------
    indptr, indices, data
        As in a CSR matrix; columns of a row are in no order.
    n_columns
        How many cells there are.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]
    n_columns: int

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.indptr) - 1

    def are_dense(self, k: int) -> bool:
        """Tell whether a product of all is quicker than sums over ``k`` of the rows each time."""
        return self.n_rows**2 * self.n_columns <= DENSER * k * len(self.data)

    def dense(self) -> NDArray[np.float64]:
        """Write the zeros out."""
        out = np.zeros((self.n_rows, self.n_columns))
        out[np.repeat(np.arange(self.n_rows), np.diff(self.indptr)), self.indices] = self.data
        return out

    def times(self, x: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Multiply by values of cells in float64, without a float64 copy of these."""
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
    r"""How the displacements of cells follow from the cells of both sides: their weights.

    Attributes
    ----------
    left_ends, right_ends
        Weights of the left and the right cells at each anchor, :math:`P A_L` and :math:`Q A_R`.
    near, weights
        For each cell that is displaced, the anchors smoothed over and their weights.
    """

    left_ends: SparseRows
    right_ends: SparseRows
    near: NDArray[np.int32]
    weights: NDArray[np.float64]

    def apply(self, left: NDArray[Any], right: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Turn values of the cells of both sides into displacements."""
        vectors = self.left_ends.times(left, n_jobs=n_jobs)
        vectors -= self.right_ends.times(right, n_jobs=n_jobs)
        return mix(self.near, self.weights, vectors, n_jobs=n_jobs)

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
        if all(ends.are_dense(near.shape[1]) for ends, _ in sides):
            whole = np.zeros((len(near), self.left_ends.n_rows))
            np.put_along_axis(whole, near.astype(np.int64), weights, 1)
            for ends, variance in sides:
                noise += ((whole @ ends.dense()) ** 2) @ variance
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
    """Where cells of a target should move, as the pairs say.

    Attributes
    ----------
    vectors
        Cells that are displaced x dimensions.
    noise
        Variance of each vector, summed over dimensions.
    weights
        What the vectors are made by.
    """

    vectors: NDArray[np.float64]
    noise: NDArray[np.float64]
    weights: LinearMap


class MergeSide(NamedTuple):
    """One side of a merge.

    Attributes
    ----------
    data
        Cells x dimensions, as they lie now.
    averaging
        The neighbours in its batch whose mean replaces each cell.
    variance
        Noise of each cell, summed over dimensions.
    ends
        What is averaged instead of ``data``, if that is not it.
    around
        The neighbours of an anchor, if that is not ``averaging``.
    """

    data: NDArray[Any]
    averaging: Listed
    variance: NDArray[np.float64]
    ends: NDArray[Any] | None = None
    around: Listed | None = None


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
        Mutual nearest pairs, in rows of the two.
    search
        Finds neighbours.
    most_anchors
        Anchors that are used.
    at
        Right cells whose displacement is wanted; all if not given.
    share
        Of the usual number of cells that noise is worked out at.
    n_jobs
        Threads.

    Returns
    -------
    The displacements; ``None`` where there are too few anchors to tell.

    Notes
    -----
    With :math:`L` and :math:`R` the cells of both sides, the displacement is

    .. math:: \Delta = W (P A_L L - Q A_R R),

    where :math:`A` replaces each cell by the mean of its neighbours in its batch, :math:`P`
    averages the left ends of each anchor (a left cell has one vote, shared among its partners),
    :math:`Q` averages the anchor's neighbours in its own batch (a right cell has one vote, shared
    among the anchors it is a neighbour of), and :math:`W` smooths over the nearest anchors by a
    Gaussian kernel whose squared bandwidth is their mean squared distance. With the matrices
    taken as given and independent cells of variance :math:`r`,

    .. math:: \mathrm{Var}(\Delta_c) = \sum_i (W P A_L)_{ci}^2 r_i + \sum_j (W Q A_R)_{cj}^2 r_j.

    A cell that many pairs share is counted once with its whole weight, so that sharing is
    accounted for and not guessed at. That the matrices depend on the cells, too, is not.

    :math:`Q` is to the right what :math:`P` is to the left: the partners of an anchor are left
    cells near it. A mean over a wider neighbourhood lies nearer to the middle of a population, so
    that, with :math:`A_R` alone on the right, displacements pointed there, and cells were drawn
    together: in random halves of one batch of seven data sets by 2.3 % of their distance from the
    mean of their type a round, against 1.3 % with :math:`Q`.
    """
    anchors = np.unique(pairs.right)
    if len(anchors) < LEAST_ANCHORS:
        return None
    used = anchors[evenly(len(anchors), most_anchors)]
    around = right.averaging if right.around is None else right.around
    cells = right.data if at is None else right.data[at]
    found = LinearMap(
        _compose(_vote(pairs, used, len(left.data), len(right.data)), left.averaging),
        _compose(_vote_around(around, anchors, used), right.averaging),
        *_weigh(cells, right.data[used], N_SMOOTHED, search),
    )
    # Noise varies as smoothly as displacements do: of many, others take the mean of those near.
    some = _chosen_points(len(cells), share)
    noise = found.noise(left.variance, right.variance, of=some, n_jobs=n_jobs)
    if len(some) < len(cells):
        between = _weigh(cells, cells[some], N_BETWEEN, search)
        noise = mix(*between, noise[:, None], n_jobs=n_jobs)[:, 0]
    ends = [side.data if side.ends is None else side.ends for side in (left, right)]
    return Displacement(found.apply(*ends, n_jobs=n_jobs), noise, found)


def _chosen_points(n: int, share: float) -> NDArray[np.int64]:
    """Choose those of ``n`` cells at which what varies smoothly is worked out.

    Where displacements are worked out at a share of the usual number, noise and folding are at
    that share of it: they cost the most at each.
    """
    share **= 2
    return evenly(n, n if n <= share * MOST_DIRECT else round(share * LEAST_POINTS))


def _weigh(
    cells: NDArray[Any], points: NDArray[Any], k: int, search: Search
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find the points that are smoothed over for each cell, and their weights."""
    k = min(k, len(points))
    if len(points) <= FEW_ROWS:
        found = gather_few(cells, points, k)
        if found is not None:
            return found[0], square_weights(found[1])
    near, weights = np.empty((len(cells), k), np.int32), np.empty((len(cells), k))
    for rows in row_blocks(len(cells), SEARCH_BLOCK):
        known = search(cells[rows], points, k)
        near[rows], weights[rows] = known.indices, neighbor_weights(known.distances)
    return near, weights


def _vote(pairs: Pairs, anchors: NDArray[np.int64], n_left: int, n_right: int) -> SparseRows:
    """Weights of the left cells at each anchor: a left cell's one vote is shared by its pairs.

    Pairs that are weighted bring their weight instead.
    """
    number = np.full(n_right, -1)
    number[anchors] = np.arange(len(anchors))
    share = pairs.weights
    if share is None:
        share = 1.0 / np.bincount(pairs.left, minlength=n_left)[pairs.left]
    total = np.bincount(pairs.right, weights=share, minlength=n_right)
    rows = number[pairs.right]
    listed = np.argsort(rows, kind="stable")[int((rows < 0).sum()) :]
    ends = np.bincount(rows[listed], minlength=len(anchors)).cumsum()
    return SparseRows(
        np.append(0, ends),
        pairs.left[listed].astype(np.int32),
        share[listed] / total[pairs.right[listed]],
        n_left,
    )


def _vote_around(around: Listed, anchors: NDArray[np.int64], used: NDArray[np.int64]) -> SparseRows:
    """Weights of the right cells at each anchor: its neighbours, each of which has one vote."""
    count = np.arange(around.cells.shape[1]) < around.counts[:, None]
    n = len(around.cells)
    votes = np.bincount(around.cells[anchors][count[anchors]], minlength=n)
    cells, counted = around.cells[used], count[used]
    weights = counted / np.maximum(votes[np.where(counted, cells, 0)], 1)
    weights /= weights.sum(1, keepdims=True)
    ends = np.append(0, around.counts[used].cumsum())
    return SparseRows(ends, cells[counted], weights[counted], n)


def _compose(votes: SparseRows, averaging: Listed) -> SparseRows:
    """Give the votes of cells to those that they are the mean of."""
    most = int(averaging.counts[votes.indices[: votes.indptr[-1]]].sum())
    out = _room(len(votes.indptr) - 1, most, votes.n_columns)
    scratch = np.zeros(votes.n_columns)
    displacement_kernels.compose(*votes[:3], *averaging, scratch, *out[:3])
    return out._replace(
        indices=out.indices[: out.indptr[-1]].copy(), data=out.data[: out.indptr[-1]].copy()
    )


def _room(n_rows: int, most: int, n_columns: int) -> SparseRows:
    """Make room for rows with so many weights, all of them together."""
    return SparseRows(
        np.zeros(n_rows + 1, np.int64), np.empty(most, np.int32), np.empty(most), n_columns
    )


def geometric_median(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the point from which the distances to all vectors have the smallest sum.

    By Weiszfeld's steps, on an evenly spaced sample of many. Up to half of the vectors may be
    anything without carrying it off, which no mean could stand (Lopuhaa & Rousseeuw 1991).
    """
    sample = vectors[evenly(len(vectors), MEDIAN_SAMPLE)]
    size = np.sqrt((sample**2).sum(1).mean())
    median: NDArray[np.float64] = np.median(sample, axis=0)
    if size == 0:
        return median
    floor = MEDIAN_FLOOR * size
    for _ in range(MEDIAN_STEPS):
        weights = 1 / np.maximum(np.sqrt(((sample - median) ** 2).sum(1)), floor)
        moved = weights @ sample / weights.sum()
        change = np.sqrt(((moved - median) ** 2).sum())
        median = moved
        if change <= MEDIAN_TOLERANCE * size:
            break
    return median


def agreement(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh displacements by whether they agree with the common one, 0..1.

    The displacement of a population that has a counterpart is a draw from the batch's effect; of
    one matched to another population it is a difference between populations.
    """
    median = geometric_median(vectors)
    away = ((vectors - median) ** 2).sum(1)
    scale = OUTLYING * ((median**2).sum() + np.median(away))
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
    r"""Weigh displacements by whether they keep apart what lies apart on their own side, 0..1.

    Parameters
    ----------
    cells
        Those that are displaced, as they lie before.
    vectors
        Their displacements.
    weights
        How much of each is done, 0..1.
    search
        Finds neighbours.
    share
        Of the usual number of cells that are looked at.
    n_jobs
        Threads.

    Notes
    -----
    What strikes a batch moves two of its cells alike, or as differently as it strikes them; it does
    not undo what sets them apart. Where cells come together that lay apart, the difference between
    their places has been taken for one between the effects on them, and is that between the errors
    of their displacements. The best linear guess of one of two independent errors, given their
    difference, is its share by variance, and variances are taken to go with the squared distances
    :math:`e` of displacements from the common one. With the squared distances from a cell, as it
    lay before, to its neighbours before, :math:`d`, and after, :math:`d'`, each in ascending
    order, what it has to answer for is

    .. math:: \sum_a \frac{2 e}{e + e_a} (d'_a - d_a) \Big/ \sum_a d_a.

    No term is below 0, as none is nearer than the nearest. It is 0 where neighbours stay neighbours
    and 1/2 where half of them are such as lay twice as far (squared), displaced as unusually.
    The smaller of two populations that come together is among strangers, and is taken back; the
    larger one hardly sees them.
    """
    moved = (cells + weights[:, None] * vectors).astype(cells.dtype)
    # Looked at in some of many, as noise is, but among all.
    looked = _chosen_points(len(cells), share)
    # Each cell is its own nearest, at no distance either time.
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
        between = _weigh(cells, cells[looked], N_BETWEEN, search)
        clear = mix(*between, clear[:, None], n_jobs=n_jobs)[:, 0]
    return clear


def _squares(
    cells: NDArray[Any], rows: NDArray[np.int64], listed: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Squared distances of some cells to those that are listed of each."""
    between = cells[listed].astype(np.float64) - cells[rows, None]
    squares: NDArray[np.float64] = np.einsum("ijk,ijk->ij", between, between)
    return squares
