"""Compiled loops that divide cells at random, and nothing else.

As in ``kernels``: serial, without the interpreter lock.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.merging.pair_kernels import mark_mutual
from mnncorrect.core.runtime.caches import find_place, own_files
from mnncorrect.core.runtime.kernels import square_distance

find_place(njit, config)


@njit(nogil=True, cache=True)
def _search(cell, reference, squares, out):
    """Find the nearest rows of ``reference``, by (squared distance, row), one by one."""
    k = out.shape[0]
    for at in range(k):
        squares[at] = np.inf
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
def _pick(rows, query, reference, sides, place, pooled, most):
    """Pick the nearest cells of one side from the nearest cells of both sides.

    ``pooled`` lists these for each cell of both sides; ``rows`` are those of the queries.
    ``sides`` tells whether a cell belongs to the wanted side (1) or to the other (0), and ``place``
    is its row within its side. A query with too few of the side in its list is searched among all
    of the side.
    """
    k = min(most, reference.shape[0])
    out, squares = np.empty((rows.shape[0], k), np.int32), np.empty(k)
    for i in range(rows.shape[0]):
        count = 0
        for at in range(pooled.shape[1]):
            other = pooled[rows[i], at]
            # Written in any case: the processor would guess wrong which ones are wanted.
            out[i, count] = place[other]
            count += sides[other]
            if count == k:
                break
        if count < k:
            _search(query[i], reference, squares, out[i])
    return out


@njit(nogil=True, cache=True)
def _take(cells, rows):
    """Copy rows."""
    out = np.empty((rows.shape[0], cells.shape[1]), cells.dtype)
    for i in range(rows.shape[0]):
        for g in range(cells.shape[1]):
            out[i, g] = cells[rows[i], g]
    return out


@njit(nogil=True, cache=True)
def _where(marked, wanted):
    """List the places of a value."""
    out, count = np.empty(marked.shape[0], np.int64), 0
    for i in range(marked.shape[0]):
        if marked[i] == wanted:
            out[count] = i
            count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def _pairs(in_left, in_right):
    """List the ends of mutual pairs, by the left ones."""
    mutual = np.zeros((in_right.shape[0], in_right.shape[1]), np.bool_)
    mark_mutual(in_right, np.arange(in_right.shape[0]), in_left, mutual)
    left, right = np.empty(mutual.size, np.int64), np.empty(mutual.size, np.int64)
    count = 0
    for i in range(mutual.shape[0]):
        for at in range(mutual.shape[1]):
            if mutual[i, at]:
                left[count], right[count] = i, in_right[i, at]
                count += 1
    return left[:count], right[:count]


@njit(nogil=True, cache=True)
def divide(cells, chosen, pooled, n_own, n_neighbors):
    """Divide cells into two sides, and find the neighborhoods and the pairs of these.

    Parameters
    ----------
    cells
        Cells of both sides x dimensions.
    chosen
        Whether a cell belongs to the left side (1) or to the right one (0).
    pooled
        Nearest cells of each cell among all, nearest first, including itself.
    n_own, n_neighbors
        Neighbors of a cell in its side, and those in the other side among which pairs are mutual.

    Returns
    -------
    Cells of both sides; neighbors of each in its side; ends of the pairs, by the left ones.
    """
    of_left, of_right = _where(chosen, 1), _where(chosen, 0)
    left, right = _take(cells, of_left), _take(cells, of_right)
    others, place = np.empty_like(chosen), np.empty(cells.shape[0], np.int32)
    before = 0  # Left cells.
    for i in range(cells.shape[0]):
        others[i] = 1 - chosen[i]
        place[i] = before if chosen[i] else i - before
        before += chosen[i]
    own_left = _pick(of_left, left, left, chosen, place, pooled, n_own)
    own_right = _pick(of_right, right, right, others, place, pooled, n_own)
    in_left = _pick(of_right, right, left, chosen, place, pooled, n_neighbors)
    in_right = _pick(of_left, left, right, others, place, pooled, n_neighbors)
    at_left, at_right = _pairs(in_left, in_right)
    return left, right, own_left, own_right, at_left, at_right


own_files(globals().values())
