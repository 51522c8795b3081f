"""Compiled search among few points: all distances are computed, and the smallest are selected.

As in ``kernels``, loops are serial and release the interpreter lock. Distances in the type of the
points propose neighbors, and distances in float64 decide.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import find_place, own_files
from mnncorrect.core.runtime.kernels import square_distance

find_place(njit, config)

# Number of values up to which they are sorted directly, and number of buckets for more values.
FEW_SORTED, BUCKETS = 16, 64
# Proposals that are compared at once.
PROPOSAL_GROUP = 64


@njit(nogil=True, cache=True)
def approximate_squares(row, columns, out):
    """``out[j] = sum_g (row_g - columns[g, j])^2`` in the type of the points.

    No products are subtracted, so each sum is accurate to the rounding of its terms.
    """
    for j in range(out.shape[0]):
        out[j] = 0.0
    whole = row.shape[0] - row.shape[0] % 4
    for g in range(0, whole, 4):
        a, b, c, d = row[g], row[g + 1], row[g + 2], row[g + 3]
        for j in range(out.shape[0]):
            e, f = a - columns[g, j], b - columns[g + 1, j]
            h, i = c - columns[g + 2, j], d - columns[g + 3, j]
            out[j] += (e * e + f * f) + (h * h + i * i)
    for g in range(whole, row.shape[0]):
        a = row[g]
        for j in range(out.shape[0]):
            e = a - columns[g, j]
            out[j] += e * e


@njit(nogil=True, cache=True)
def _count_within(values, limit):
    """Count the finite values up to a limit."""
    count = np.int32(0)
    for j in range(values.shape[0]):
        count += np.int32(values[j] <= limit) & np.int32(values[j] < np.inf)
    return count


@njit(nogil=True, cache=True)
def select(values, k, room):
    """Return the ``k``-th smallest value. ``room`` is scratch space of the same length.

    Values are counted in equal buckets between the smallest and the largest. The bucket with the
    ``k``-th value is split again.
    """
    n = values.shape[0]
    lowest = highest = values[0]
    for j in range(n):
        room[j] = values[j]
        lowest, highest = min(lowest, values[j]), max(highest, values[j])
    counts = np.empty(BUCKETS, np.int64)
    while n > FEW_SORTED and lowest < highest:
        scale = (BUCKETS - 1) / np.float64(highest - lowest)
        if not np.isfinite(scale):
            break
        counts[:] = 0
        for j in range(n):
            counts[int((room[j] - lowest) * scale)] += 1
        bucket = 0
        while counts[bucket] < k:
            k -= counts[bucket]
            bucket += 1
        kept = 0
        start, lowest, highest = lowest, highest, lowest
        for j in range(n):
            value = room[j]
            if int((value - start) * scale) == bucket:
                room[kept] = value
                kept += 1
                lowest, highest = min(lowest, value), max(highest, value)
        n = kept
    if lowest < highest:
        for i in range(1, n):
            value, at = room[i], i
            while at > 0 and room[at - 1] > value:
                room[at] = room[at - 1]
                at -= 1
            room[at] = value
        return room[k - 1]
    return lowest


@njit(nogil=True, cache=True)
def search_few(x, y, columns, slack, floor, out_indices, out_squares):
    """Find the nearest rows of ``y`` to each row of ``x``, by (squared distance, row).

    ``columns`` is ``y`` transposed. Every true neighbor has a proposal of at most ``1 + slack``
    times the ``k``-th smallest proposal, plus ``floor``. Returns whether all proposals were finite;
    if not, the outputs are invalid.
    """
    n, k = y.shape[0], out_indices.shape[1]
    proposals, room = np.empty(n, x.dtype), np.empty(n, x.dtype)
    squares, rows = np.empty(n), np.empty(n, np.int32)
    for i in range(x.shape[0]):
        approximate_squares(x[i], columns, proposals)
        if _count_within(proposals, np.inf) < n:
            return False
        limit = select(proposals, k, room)
        limit += limit * slack + floor
        count = 0
        for start in range(0, n, PROPOSAL_GROUP):
            stop = min(start + PROPOSAL_GROUP, n)
            if _count_within(proposals[start:stop], limit):
                for j in range(start, stop):
                    if proposals[j] > limit:
                        continue
                    # Rows are visited in order, so ties keep the first row first.
                    square, at = square_distance(x[i], y[j]), count
                    while at > 0 and squares[at - 1] > square:
                        squares[at], rows[at] = squares[at - 1], rows[at - 1]
                        at -= 1
                    squares[at], rows[at] = square, j
                    count += 1
        for at in range(k):
            out_indices[i, at], out_squares[i, at] = rows[at], squares[at]
    return True


@njit(nogil=True, cache=True)
def gather_few(x, columns, out_indices, out_squares):
    """Find the nearest columns of each row of ``x`` by proposals, sorted by column.

    Ties go to the first columns. Returns whether all proposals were finite.
    """
    n, k = columns.shape[1], out_indices.shape[1]
    proposals, room = np.empty(n, x.dtype), np.empty(n, x.dtype)
    for i in range(x.shape[0]):
        approximate_squares(x[i], columns, proposals)
        if _count_within(proposals, np.inf) < n:
            return False
        limit = select(proposals, k, room)
        below = np.int32(0)
        for j in range(n):
            below += np.int32(proposals[j] < limit)
        spare, count = k - below, 0
        for j in range(n):
            value = proposals[j]
            if value < limit or (value == limit and spare > 0):
                if value == limit:
                    spare -= 1
                out_indices[i, count], out_squares[i, count] = j, value
                count += 1
    return True


own_files(globals().values())
