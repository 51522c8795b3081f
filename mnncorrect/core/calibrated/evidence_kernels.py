"""Compiled loops that measure how far a division of cells into two sides moves one of them.

The steps are those of :func:`mnncorrect.core.calibrated.displacement.displace`, for few cells, at
once: a merge of some hundred cells would spend more time between its steps than in them. As in
``kernels``: serial, without the interpreter lock, sums in float64.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.merging.pair_kernels import mark_mutual
from mnncorrect.core.neighbors.small_kernels import gather_few
from mnncorrect.core.runtime.caches import find_place, own_files
from mnncorrect.core.runtime.kernels import square_distance

from .displacement_kernels import mean_values, neighbor_residuals, sparse_rows, weighted_rows
from .vote_kernels import ends_of_anchors

find_place(njit, config)

TINY = np.finfo(np.float64).tiny


@njit(nogil=True, cache=True)
def _search(cell, reference, squares, out):
    """Find the nearest rows of ``reference``, by (squared distance, row), one by one."""
    k = out.shape[0]
    squares[:] = np.inf
    for row in range(reference.shape[0]):
        square = square_distance(cell, reference[row])
        if square >= squares[k - 1]:
            continue
        at = k - 1
        while at > 0 and squares[at - 1] > square:
            squares[at], out[at] = squares[at - 1], out[at - 1]
            at -= 1
        squares[at], out[at] = square, row


@njit(nogil=True, cache=True)
def pick(query, rows, reference, chosen, wanted, place, pooled, most):
    """Pick the nearest cells of one side from the nearest cells of both sides.

    ``pooled`` lists these for each cell of both sides; ``rows`` are the queries among them, and
    ``place`` is the row of each cell within its side. A query with too few of the side in its list
    is searched among all of the side.
    """
    k = min(most, reference.shape[0])
    out, squares = np.empty((rows.shape[0], k), np.int32), np.empty(k)
    for i in range(rows.shape[0]):
        count = 0
        for at in range(pooled.shape[1]):
            other = pooled[rows[i], at]
            # Written in any case: the processor would guess wrong which ones are wanted.
            out[i, count] = place[other]
            count += np.int64(chosen[other] == wanted)
            if count == k:
                break
        if count < k:
            _search(query[i], reference, squares, out[i])
    return out


@njit(nogil=True, cache=True)
def _noise(cells, own, n_noise):
    """Return the mean squared residual of the neighbors of each cell."""
    squares, variance = np.zeros(cells.shape[0]), np.empty(cells.shape[0])
    if cells.shape[0] >= 3:
        neighbor_residuals(cells, 0, own, squares)
    mean_values(squares, own[:, :n_noise].copy(), variance)
    return variance


@njit(nogil=True, cache=True)
def _weigh(squares):
    """Turn squared distances into weights; :func:`mnncorrect.core.merging.pairs.square_weights`."""
    for i in range(squares.shape[0]):
        nearest, bandwidth = np.inf, 0.0
        for at in range(squares.shape[1]):
            nearest = min(nearest, squares[i, at])
            bandwidth += squares[i, at]
        bandwidth = max(bandwidth / squares.shape[1], TINY)
        total = 0.0
        for at in range(squares.shape[1]):
            squares[i, at] = np.exp((nearest - squares[i, at]) / bandwidth)
            total += squares[i, at]
        for at in range(squares.shape[1]):
            squares[i, at] /= total


@njit(nogil=True, cache=True)
def _add_variances(near, weights, ends, variance):
    """Add up the variances of all displacements that come from the cells of one side.

    The weights of few cells are as fast to multiply as dense rows.
    """
    indptr, indices, values = ends
    dense = np.zeros((indptr.shape[0] - 1, variance.shape[0]))
    for row in range(dense.shape[0]):
        for place in range(indptr[row], indptr[row + 1]):
            dense[row, indices[place]] = values[place]
    weight = np.empty((near.shape[0], variance.shape[0]))
    weighted_rows(near, weights, dense, weight)
    total = 0.0
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            total += weight[i, j] * weight[i, j] * variance[j]
    return total


@njit(nogil=True, cache=True)
def weigh_division(
    cells, chosen, pooled, n_neighbors, n_end, n_noise, n_smoothed, looked, least_anchors
):
    """Measure the displacements between the two sides of a division of cells.

    Parameters
    ----------
    cells
        Cells of both sides x dimensions.
    chosen
        Whether a cell belongs to the left side.
    pooled
        Nearest cells of each cell among all, nearest first, including itself.
    n_neighbors, n_end, n_noise, n_smoothed
        Neighbors among which pairs are mutual, that are averaged at the end of a pair, for the
        noise of a cell, and anchors that are averaged.
    looked
        Right cells whose displacement is used.
    least_anchors
        Right cells with a pair, below which there is no displacement.

    Returns
    -------
    Sum of squared displacements, and sum of their variances. Both are 0 if there are too few
    anchors, and NaN if squares overflow the type of the cells.
    """
    of_left, of_right = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    left, right = cells[of_left], cells[of_right]
    n_left, n_right = left.shape[0], right.shape[0]
    place = np.empty(cells.shape[0], np.int32)
    for i in range(n_left):
        place[of_left[i]] = i
    for i in range(n_right):
        place[of_right[i]] = i
    own_left = pick(left, of_left, left, chosen, True, place, pooled, n_noise + 1)
    own_right = pick(right, of_right, right, chosen, False, place, pooled, n_noise + 1)
    in_left = pick(right, of_right, left, chosen, True, place, pooled, n_neighbors)
    in_right = pick(left, of_left, right, chosen, False, place, pooled, n_neighbors)
    mutual = np.zeros(in_right.shape, np.bool_)
    mark_mutual(in_right, np.arange(n_left), in_left, mutual)
    at_left, at = np.nonzero(mutual)
    at_right = np.empty(at.shape[0], np.int64)
    for i in range(at.shape[0]):
        at_right[i] = in_right[at_left[i], at[i]]
    is_anchor = np.zeros(n_right, np.bool_)
    for i in range(at.shape[0]):
        is_anchor[at_right[i]] = True
    anchors = np.flatnonzero(is_anchor)
    if anchors.shape[0] < least_anchors:
        return 0.0, 0.0
    ends_left, ends_right = own_left[:, :n_end].copy(), own_right[:, :n_end].copy()
    means_left = ends_left, np.full(n_left, ends_left.shape[1])
    means_right = ends_right, np.full(n_right, ends_right.shape[1])
    from_left, from_right = ends_of_anchors(
        at_left, at_right, np.empty(0), anchors, anchors, means_left, means_right, means_right
    )
    m = min(looked, n_right)
    points = np.empty((m, cells.shape[1]), cells.dtype)
    for i in range(m):
        points[i] = right[i * n_right // m]
    k = min(n_smoothed, anchors.shape[0])
    near, weights = np.empty((m, k), np.int32), np.empty((m, k))
    if not gather_few(points, np.ascontiguousarray(right[anchors].T), near, weights):
        return np.nan, np.nan
    _weigh(weights)
    vectors = np.empty((anchors.shape[0], cells.shape[1]))
    right_ends = np.empty_like(vectors)
    sparse_rows(from_left[0], from_left[1], from_left[2], left, vectors)
    sparse_rows(from_right[0], from_right[1], from_right[2], right, right_ends)
    vectors -= right_ends
    moves = np.empty((m, cells.shape[1]))
    weighted_rows(near, weights, vectors, moves)
    signal = 0.0
    for i in range(m):
        for g in range(moves.shape[1]):
            signal += moves[i, g] * moves[i, g]
    noise = _add_variances(near, weights, from_left, _noise(left, own_left, n_noise))
    noise += _add_variances(near, weights, from_right, _noise(right, own_right, n_noise))
    return signal, noise


own_files(globals().values())
