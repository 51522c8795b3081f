"""Compiled loops that find which cells the two ends of an anchor's vector are means of.

As in ``kernels``: serial, without the interpreter lock, sums in float64. Sparse rows of weights are
triples ``(indptr, indices, values)``, as in a CSR matrix.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import find_place, own_files

find_place(njit, config)


@njit(nogil=True, cache=True)
def ends_of_anchors(left, right, shares, anchors, used, left_means, right_means, around):
    """Find the weights of the left and of the right cells in the vectors of anchors.

    Parameters
    ----------
    left, right
        Ends of the pairs, in order of the left ones.
    shares
        Weight of each pair; empty: the pairs of a left cell share its one vote.
    anchors, used
        Right cells with a pair, ascending; those whose vectors are wanted.
    left_means, right_means, around
        Lists of cells, and their lengths: those whose mean replaces a left and a right cell, and
        the neighbors of a right cell that vote if it is an anchor.
    """
    return (
        _compose(_vote(left, right, shares, used, left_means[1], right_means[1]), left_means),
        _compose(_vote_around(anchors, used, around), right_means),
    )


@njit(nogil=True, cache=True)
def _vote(left, right, shares, used, of_left, of_right):
    """Weigh the left cells at each anchor by their votes; lengths of the last two: cells a side."""
    n_left, n_right, n = of_left.shape[0], of_right.shape[0], left.shape[0]
    if shares.shape[0] == 0:
        n_pairs = np.zeros(n_left)
        for pair in range(n):
            n_pairs[left[pair]] += 1.0
        shares = np.empty(n)
        for pair in range(n):
            shares[pair] = 1.0 / n_pairs[left[pair]]
    total, row_of = np.zeros(n_right), np.zeros(n_right, np.int64)  # One more; 0: not used.
    for row in range(used.shape[0]):
        row_of[used[row]] = row + 1
    starts = np.zeros(used.shape[0] + 1, np.int64)
    for pair in range(n):
        total[right[pair]] += shares[pair]
        if row_of[right[pair]] > 0:
            starts[row_of[right[pair]]] += 1
    for row in range(used.shape[0]):
        starts[row + 1] += starts[row]
    places = starts.copy()
    cells, weights = np.empty(starts[-1], np.int32), np.empty(starts[-1])
    for pair in range(n):
        row = row_of[right[pair]] - 1
        if row >= 0:
            cells[places[row]] = left[pair]
            weights[places[row]] = shares[pair] / total[right[pair]]
            places[row] += 1
    return starts, cells, weights


@njit(nogil=True, cache=True)
def _vote_around(anchors, used, around):
    """Weigh the right cells at each anchor: each has one vote, which the anchors near it share."""
    lists, counts = around
    votes = np.zeros(lists.shape[0])
    for i in range(anchors.shape[0]):
        anchor = anchors[i]
        for at in range(counts[anchor]):
            votes[lists[anchor, at]] += 1.0
    starts = np.zeros(used.shape[0] + 1, np.int64)
    for row in range(used.shape[0]):
        starts[row + 1] = starts[row] + counts[used[row]]
    cells, weights = np.empty(starts[-1], np.int32), np.empty(starts[-1])
    for row in range(used.shape[0]):
        total = 0.0
        for at in range(counts[used[row]]):
            cell = lists[used[row], at]
            cells[starts[row] + at] = cell
            weights[starts[row] + at] = 1.0 / votes[cell] if votes[cell] > 1.0 else 1.0
            total += weights[starts[row] + at]
        for place in range(starts[row], starts[row + 1]):
            weights[place] /= total
    return starts, cells, weights


@njit(nogil=True, cache=True)
def _compose(votes, means):
    """Pass the votes of cells on to those in their means."""
    starts, cells, weights = votes
    lists, counts = means
    most = 0
    for place in range(cells.shape[0]):
        most += counts[cells[place]]
    indices, values = np.empty(most, np.int32), np.empty(most)
    indptr = np.zeros(starts.shape[0], np.int64)
    total = np.zeros(lists.shape[0])  # Zeros again after each row.
    count = 0
    for row in range(starts.shape[0] - 1):
        first = count
        for place in range(starts[row], starts[row + 1]):
            cell = cells[place]
            weight = weights[place] / counts[cell]
            for at in range(counts[cell]):
                column = lists[cell, at]
                if total[column] == 0.0:
                    indices[count] = column
                    count += 1
                total[column] += weight
        for place in range(first, count):
            values[place] = total[indices[place]]
            total[indices[place]] = 0.0
        indptr[row + 1] = count
    return indptr, indices[:count].copy(), values[:count].copy()


own_files(globals().values())
