"""Compiled search among few points: all distances are computed, and the smallest are selected.

As in ``kernels``, loops are serial and release the interpreter lock. Distances in the type of the
points propose neighbors, and distances in float64 decide.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, PART, find_place, own_files
from mnncorrect.core.runtime.kernels import (
    room_for,
    room_for_indices,
    room_like,
    square_distance,
)

find_place(njit, config)

# Number of values up to which they are sorted directly.
FEW_SORTED = 16
# Rows whose squares are proposed at a time, so that they stay in the cache.
PROPOSED_ROWS = 16
# Values are counted in rooms of a multiple of this length that end with infinities. The compiler
# counts so many at once, and counts the rest of a room slowly, one by one.
LANES = 32
# Steps in which a limit is sought by the numbers of values within others, before it is halved.
MOST_TRIES = 8
# Neighbors that are ordered for each that is sought, at most: it takes less time to order half as
# many again than to find a limit for just as many as are sought.
SPARE_ORDERED = 1.5


@njit(**LOOP, fastmath={"contract"})
def propose(x, columns, out):
    """``out[i, j] = sum_g (x[i, g] - columns[g, j])^2`` in the type of the points.

    No products are subtracted, so each sum is accurate to the rounding of its terms. Two rows are
    computed at a time, for which each column is read once.
    """
    n, whole = columns.shape[1], x.shape[1] - x.shape[1] % 4
    spare = room_like(1, out.shape[1], out)[0]  # Beside an odd last row.
    for i in range(0, x.shape[0], 2):
        other = min(i + 1, x.shape[0] - 1)
        one, two = out[i], out[other] if other > i else spare
        for j in range(n):
            one[j] = 0.0
            two[j] = 0.0
        for g in range(0, whole, 4):
            a, b, c, d = x[i, g], x[i, g + 1], x[i, g + 2], x[i, g + 3]
            e, f, h, k = x[other, g], x[other, g + 1], x[other, g + 2], x[other, g + 3]
            for j in range(n):
                p, q, r, s = columns[g, j], columns[g + 1, j], columns[g + 2, j], columns[g + 3, j]
                t, u, v, w = a - p, b - q, c - r, d - s
                one[j] = one[j] + t * t + u * u + v * v + w * w
                t, u, v, w = e - p, f - q, h - r, k - s
                two[j] = two[j] + t * t + u * u + v * v + w * w
        for g in range(whole, x.shape[1]):
            a, e = x[i, g], x[other, g]
            for j in range(n):
                t, u = a - columns[g, j], e - columns[g, j]
                one[j] += t * t
                two[j] += u * u


@njit(**PART, fastmath={"reassoc"})
def _add_up(values, n):
    """Add up the first ``n`` values."""
    total = values[0]
    for j in range(1, n):
        total += values[j]
    return total


@njit(**PART, inline="always")
def _count_within(values, limit):
    """Count the values up to a limit."""
    count = np.int32(0)
    for j in range(values.shape[0]):
        count += np.int32(values[j] <= limit)
    return count


@njit(**PART, inline="always")
def select(values, n, k, most, guess, total):
    """Return a limit that at least ``k`` of ``n`` values are within, none below 0.

    More than ``most`` are within only if they are equal to the ``k``-th smallest value, and then
    that is the limit. ``total`` is their sum, and not below the largest. Counting takes a fortieth
    of the time of a step of quickselect for each value. So values are counted up to a ``guess``,
    which may be the limit of values like these, or else to the mean. From there the limit is sought
    where it would be if values were spread evenly. If that fails, the range that holds it is
    halved.
    """
    scale = values.dtype.type
    mean = total / scale(n)
    low, high, below, count = -mean if mean > 0.0 else -total, total, 0, n
    middle, tries = guess if 0.0 < guess < total else mean, 0
    while low < middle < high and high > 0.0:
        within = _count_within(values, middle)
        if within < k:
            low, below = middle, within
        else:
            high, count = middle, within
            if within <= most:
                break
        tries += 1
        if tries < MOST_TRIES and high == total:
            middle = low + low / scale(2)
        elif tries < MOST_TRIES:
            share = scale(k + most - 2 * below) / scale(2 * (count - below))
            start = max(low, scale(0))
            middle = start + (high - start) * min(max(share, scale(0.1)), scale(0.9))
        if tries == MOST_TRIES and low < 0.0:
            middle = scale(0)  # Duplicates are at 0, and none is below.
        elif tries >= MOST_TRIES or not low < middle < high:
            middle = low + (high - low) / scale(2)
    return high


@njit(**PART, inline="always")
def _gather_within(values, n, limit, rows):
    """Gather the rows of the values up to a limit, and return their number.

    Without branches, which the processor would guess wrong. ``rows`` has one place more than can be
    kept.
    """
    count = 0
    for j in range(n):
        rows[count] = j
        count += np.int64(values[j] <= limit)
    return count


@njit(**PART, inline="always")
def _order_roughly(values, rows, count, counts, out):
    """Order rows by their values in equal buckets between the smallest and the largest value."""
    lowest = highest = values[rows[0]]
    for i in range(count):
        value = values[rows[i]]
        if value < lowest:
            lowest = value
        if value > highest:
            highest = value
    scale = (count - 1) / np.float64(highest - lowest) if highest > lowest else 0.0
    if not np.isfinite(scale):
        scale = 0.0
    for bucket in range(count + 1):
        counts[bucket] = 0
    for i in range(count):
        counts[int((values[rows[i]] - lowest) * scale) + 1] += 1
    for bucket in range(count):
        counts[bucket + 1] += counts[bucket]
    for i in range(count):
        bucket = int((values[rows[i]] - lowest) * scale)
        out[counts[bucket]] = rows[i]
        counts[bucket] += 1


@njit(**PART)
def _insert(keys, rows, start, at, key, row):
    """Insert a key and its row into those from ``start`` to ``at``, sorted by (key, row)."""
    while at > start and (keys[at - 1] > key or (keys[at - 1] == key and rows[at - 1] > row)):
        keys[at], rows[at] = keys[at - 1], rows[at - 1]
        at -= 1
    keys[at], rows[at] = key, row


@njit(**PART, inline="always")
def _gather_first(values, rows, count, limit, k, out_indices, out_squares):
    """List ``k`` of some rows in their own order: of those at the limit, the first ones.

    ``limit`` is the ``k``-th smallest value, or above it if just ``k`` values are no larger.
    """
    spare = k
    if count > k:
        for place in range(count):
            spare -= np.int64(values[rows[place]] < limit)
    at = 0
    for place in range(count):
        value = values[rows[place]]
        if value == limit:
            if spare == 0:
                continue
            spare -= 1
        out_indices[at], out_squares[at] = rows[place], value
        at += 1


@njit(**LOOP)
def search_few(x, y, columns, proposals, slack, floor, out_indices, out_squares):
    """Find the nearest rows of ``y`` to each row of ``x``, by (squared distance, row).

    ``proposals`` are approximate squares; if they have no rows, they are computed from ``columns``,
    which is ``y`` transposed. What is truly nearer than the furthest of the ``k`` smallest of them
    is itself proposed within ``1 + slack`` times that, and ``floor``. Squares are computed in
    float64 where proposals are too near each other to decide, and for all rows that are found,
    unless ``out_squares`` has no rows. Returns whether all sums of proposals were finite; if
    not, the output has no meaning.

    If ``y`` has no rows, proposals decide: the nearest rows are listed in their own order, with
    the squares as proposed. Both searches are one loop because most of it would be compiled twice.
    """
    n, k = columns.shape[1], out_indices.shape[1]
    given, measured = proposals.shape[0] > 0, out_squares.shape[0] > 0
    width = -(-n // LANES) * LANES  # See LANES.
    own = room_like(PROPOSED_ROWS, width, x)
    for i in range(PROPOSED_ROWS):
        for j in range(n, width):
            own[i, j] = np.inf
    room = room_for_indices(4, n + 2)
    found, rough, counts, rows = room[0], room[1], room[2], room[3]
    ordered, squares = room_for(n), room_for(n)
    most, last = k if y.shape[0] == 0 else int(SPARE_ORDERED * k), x.dtype.type(0)
    for i in range(x.shape[0]):
        values = own[i % PROPOSED_ROWS]
        if given:
            for j in range(n):
                values[j] = proposals[i, j]
        elif i % PROPOSED_ROWS == 0:
            propose(x[i : i + PROPOSED_ROWS], columns, own)
        total = _add_up(values, n)
        if not np.isfinite(total):
            return False
        last = select(values, n, k, most, last, total)
        limit = last + last * slack + floor
        count = _gather_within(values, n, limit, rough)
        if y.shape[0] == 0:
            _gather_first(values, rough, count, limit, k, out_indices[i], out_squares[i])
            continue
        if count > FEW_SORTED:
            _order_roughly(values, rough, count, counts, found)
            rough, found = found, rough
        start = np.int64(0)  # Of this type, or the loop that inserts is compiled twice.
        for at in range(count):
            row = rough[at]
            _insert(ordered, found, start, at, np.float64(values[row]), row)
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
            if measured:
                out_squares[i, at] = square_distance(x[i], y[rows[at]])
    return True


own_files(globals().values())
