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
# Number of values that one smallest value stands for, and number of smallest values for each one
# that is wanted, at least.
GROUP, SPREAD = 8, 2


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
def _smallest_of_groups(values, smallest):
    """``smallest[g]`` = the smallest of ``values[g]``, ``values[g + n]``, ... for ``n`` groups."""
    n = smallest.shape[0]
    for g in range(n):
        smallest[g] = values[g]
    for start in range(n, values.shape[0], n):
        for g in range(min(n, values.shape[0] - start)):
            value = values[start + g]
            if value < smallest[g]:
                smallest[g] = value


@njit(nogil=True, cache=True)
def _gather_below(values, smallest, limit, near, out, rows):
    """Gather the values up to a limit, and their rows, group by group; return their number.

    Without branches, which the processor would guess wrong. ``near``, ``out`` and ``rows`` have one
    place more than can be kept.
    """
    groups, n_near, count = smallest.shape[0], 0, 0
    for g in range(groups):
        near[n_near] = g
        n_near += np.int64(smallest[g] <= limit)
    for at in range(n_near):
        for j in range(near[at], values.shape[0], groups):
            out[count], rows[count] = values[j], j
            count += np.int64(values[j] <= limit)
    return count


@njit(nogil=True, cache=True)
def _count_groups(n, k):
    """Choose how many groups ``n`` values are cut into, of which the ``k`` smallest are wanted."""
    return min(n, max(SPREAD * k, n // GROUP))


@njit(nogil=True, cache=True)
def _order_roughly(values, rows, count, counts, out, out_rows):
    """Order values by equal buckets between the smallest and the largest, one for each value."""
    lowest = highest = values[0]
    for i in range(count):
        lowest, highest = min(lowest, values[i]), max(highest, values[i])
    scale = (count - 1) / np.float64(highest - lowest) if highest > lowest else 0.0
    if not np.isfinite(scale):
        scale = 0.0
    for bucket in range(count + 1):
        counts[bucket] = 0
    for i in range(count):
        counts[int((values[i] - lowest) * scale) + 1] += 1
    for bucket in range(count):
        counts[bucket + 1] += counts[bucket]
    for i in range(count):
        bucket = int((values[i] - lowest) * scale)
        at = counts[bucket]
        counts[bucket] += 1
        out[at], out_rows[at] = values[i], rows[i]


@njit(nogil=True, cache=True)
def _insert(keys, rows, start, at, key, row):
    """Insert a key and its row into those from ``start`` to ``at``, sorted by (key, row)."""
    while at > start and (keys[at - 1] > key or (keys[at - 1] == key and rows[at - 1] > row)):
        keys[at], rows[at] = keys[at - 1], rows[at - 1]
        at -= 1
    keys[at], rows[at] = key, row


@njit(nogil=True, cache=True)
def propose(x, columns, out):
    """``out[i, j]`` = squared distance of ``x_i`` to a column, in the type of the points."""
    for i in range(x.shape[0]):
        approximate_squares(x[i], columns, out[i])


@njit(nogil=True, cache=True)
def search_few(x, y, columns, proposals, slack, floor, out_indices, out_squares):
    """Find the nearest rows of ``y`` to each row of ``x``, by (squared distance, row).

    ``proposals`` are approximate squares; if they have no rows, they are computed from ``columns``,
    which is ``y`` transposed. What is truly nearer than the furthest of the ``k`` smallest of them
    is itself proposed within ``1 + slack`` times that, and ``floor``. Returns whether all proposals
    were finite; if not, the output has no meaning.

    As many smallest values of groups as are wanted are not above some value, so the others that
    matter are not above it either, and only groups that begin below it are looked through.

    If ``out_squares`` has no rows, squares are computed in float64 only where proposals are too
    near each other to decide. The order is the same.
    """
    n, k = y.shape[0], out_indices.shape[1]
    own, room = np.empty(n, x.dtype), np.empty(n, x.dtype)
    given = proposals.shape[0] > 0
    groups = _count_groups(n, k)
    smallest, near = np.empty(groups, x.dtype), np.empty(groups + 1, np.int32)
    # One place more than can be kept, for what is written there and not kept.
    values, found = np.empty(n + 1, x.dtype), np.empty(n + 1, np.int32)
    rough, rough_rows = np.empty(n + 1, x.dtype), np.empty(n + 1, np.int32)
    counts = np.empty(n + 2, np.int32)
    ordered, squares, rows = np.empty(n), np.empty(n), np.empty(n, np.int32)
    measured = out_squares.shape[0] > 0
    for i in range(x.shape[0]):
        if given:
            own = proposals[i]
        else:
            approximate_squares(x[i], columns, own)
        if _count_within(own, np.inf) < n:
            return False
        _smallest_of_groups(own, smallest)
        limit = select(smallest, k, room)
        limit += limit * slack + floor
        count = _gather_below(own, smallest, limit, near, values, found)
        if count > FEW_SORTED:
            _order_roughly(values, found, count, counts, rough, rough_rows)
        else:
            # One by one: the compiler takes seconds for an assignment of slices.
            for at in range(count):
                rough[at], rough_rows[at] = values[at], found[at]
        start = np.int64(0)  # Of this type, or the loop that inserts is compiled twice.
        if measured:
            for at in range(count):
                row = rough_rows[at]
                _insert(squares, rows, start, at, square_distance(x[i], y[row]), row)
            for at in range(k):
                out_indices[i, at], out_squares[i, at] = rows[at], squares[at]
            continue
        for at in range(count):
            _insert(ordered, found, start, at, np.float64(rough[at]), rough_rows[at])
        while start < k:
            # Proposals without a clear gap between them are ordered by their true distances.
            stop = start + 1
            while stop < count and ordered[stop] <= ordered[stop - 1] * (1 + slack) + floor:
                stop += 1
            if stop - start == 1:
                rows[start] = found[start]
            else:
                for at in range(start, stop):
                    row = found[at]
                    _insert(squares, rows, start, at, square_distance(x[i], y[row]), row)
            start = stop
        for at in range(k):
            out_indices[i, at] = rows[at]
    return True


@njit(nogil=True, cache=True)
def gather_few(x, columns, out_indices, out_squares):
    """Find the nearest columns to each row of ``x``, in their own order, as they are proposed.

    Of equally near ones the first are taken. Returns whether all proposals were finite.
    """
    n, k = columns.shape[1], out_indices.shape[1]
    proposals, room = np.empty(n, x.dtype), np.empty(n, x.dtype)
    groups = _count_groups(n, k)
    smallest, near = np.empty(groups, x.dtype), np.empty(groups + 1, np.int32)
    # One place more than can be kept, for what is written there and not kept.
    values, found = np.empty(n + 1, x.dtype), np.empty(n + 1, np.int32)
    kept, kept_values = np.empty(k + 1, np.int32), np.empty(k + 1, x.dtype)
    for i in range(x.shape[0]):
        approximate_squares(x[i], columns, proposals)
        if _count_within(proposals, np.inf) < n:
            return False
        _smallest_of_groups(proposals, smallest)
        limit = select(smallest, k, room)
        if groups < n:
            count = _gather_below(proposals, smallest, limit, near, values, found)
            limit = select(values[:count], k, room)
        below = np.int32(0)
        for j in range(n):
            below += np.int32(proposals[j] < limit)
        spare, count = k - below, 0
        for j in range(n):
            value = proposals[j]
            kept[count], kept_values[count] = j, value
            tied = np.int64(value == limit and spare > 0)
            spare -= tied
            count += np.int64(value < limit) + tied
        for at in range(k):
            out_indices[i, at], out_squares[i, at] = kept[at], kept_values[at]
    return True


own_files(globals().values())
