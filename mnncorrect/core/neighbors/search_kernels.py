"""Compiled loops of the searches for nearest neighbors, and nothing else.

As in ``kernels``: serial, without the interpreter lock. Products of float32 values propose, and
distances in float64 decide.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, PART, find_place, own_files
from mnncorrect.core.runtime.kernels import (
    room_for_indices,
    room_for_places,
    room_like,
    square_distance,
)

find_place(njit, config)

# Places up to which a heap of neighbors is kept as a sorted list.
SHORT_HEAP = 64
# Columns of a tile that are compared at once, and points that search a cell together.
COLUMN_GROUP, GATHERED = 128, 256
# One column in so many tells how far what is kept will reach, in tiles of so many for each place.
SAMPLED_COLUMNS, LONG_TILE = 8, 8
# More points than any cells hold.
COUNTLESS = np.iinfo(np.int64).max


@njit(**PART)
def _before(value, index, other_value, other_index):
    return value < other_value or (value == other_value and index < other_index)


@njit(**PART)
def _sift(values, indices, at, size):
    """Restore the order of a heap whose largest (value, index) is at its root."""
    value, index = values[at], indices[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(
            values[child], indices[child], values[child + 1], indices[child + 1]
        ):
            child += 1
        if not _before(value, index, values[child], indices[child]):
            break
        values[at], indices[at] = values[child], indices[child]
        at = child
    values[at], indices[at] = value, index


@njit(**PART)
def _replace_largest(value, index, values, indices):
    """Put something into a heap in the place of its largest value.

    A short heap is kept sorted, worst first, which is a heap as well: shifting a few numbers is
    quicker than finding a way down a tree.
    """
    size, at = values.shape[0], 0
    if size <= SHORT_HEAP:
        while at + 1 < size and value < values[at + 1]:
            values[at], indices[at] = values[at + 1], indices[at + 1]
            at += 1
    else:
        child = 1
        while child < size:
            if child + 1 < size and values[child] < values[child + 1]:
                child += 1
            if values[child] <= value:
                break
            values[at], indices[at] = values[child], indices[child]
            at, child = child, 2 * child + 1
    values[at], indices[at] = value, index


@njit(**PART)
def _count_below(values, limit):
    count = np.int32(0)
    for j in range(values.shape[0]):
        count += np.int32(values[j] < limit)
    return count


@njit(**PART, inline="always")
def _reach(values, size, best):
    """Find something that ``size`` or a few more of the values are below, off a sample.

    Infinity where the sample misleads. There is room in ``best`` for the smallest of the sample.
    """
    best[:] = np.inf
    for j in range(0, values.shape[0], SAMPLED_COLUMNS):
        value = values[j]
        if value < best[0]:
            at = 0
            while at + 1 < best.shape[0] and value < best[at + 1]:
                best[at] = best[at + 1]
                at += 1
            best[at] = value
    if _count_below(values, best[0]) < size:
        best[0] = np.inf
    return best[0]


@njit(**LOOP)
def push_tile(products, norms, offset, rows, values, indices):
    """Keep the smallest of ``||y_j||^2 - 2 <x_i, y_j>`` seen so far in one heap a row.

    ``values`` starts as infinity, ``indices`` as the largest integer. Row ``i`` of the tile
    belongs to heap ``rows[i]``, its column ``j`` is reference ``offset + j``. The tile is used up.

    Most columns are further than what is kept, which is seen of many at once. Of a long row, what
    would be let go of again is not put into an empty heap in the first place.
    """
    n, size = products.shape[1], values.shape[1]
    expected = size / SAMPLED_COLUMNS
    best = room_like(1, int(expected + 2.0 * np.sqrt(expected)) + 2, values)[0]
    for i in range(products.shape[0]):
        row, kept, kept_indices = products[i], values[rows[i]], indices[rows[i]]
        for j in range(n):
            row[j] = norms[j] - (row[j] + row[j])
        worst = kept[0]
        if worst == np.inf and n >= LONG_TILE * size:
            worst = _reach(row, size, best)
        for start in range(0, n, COLUMN_GROUP):
            stop = min(start + COLUMN_GROUP, n)
            if _count_below(row[start:stop], worst):
                for j in range(start, stop):
                    if row[j] < worst:
                        _replace_largest(row[j], offset + j, kept, kept_indices)
                        if kept[0] < worst:
                            worst = kept[0]


@njit(**PART, inline="always")
def _any_below(products, norm, limits):
    found = np.int32(0)
    for j in range(products.shape[0]):
        found |= np.int32(norm - (products[j] + products[j]) < limits[j])
    return found


@njit(**LOOP)
def push_columns(products, first, last, norms, offset, values, indices):
    """As :func:`push_tile` the other way round: a heap a column, and the tile stays as it is.

    Heap ``j`` of those from ``first`` up to ``last`` keeps the smallest of
    ``||x_i||^2 - 2 <x_i, y_j>``; row ``i`` is reference ``offset + i``.
    """
    worst = room_like(1, values.shape[0], values)[0]
    for j in range(first, last):
        worst[j] = values[j, 0]
    for i in range(products.shape[0]):
        row = products[i]
        for start in range(first, last, COLUMN_GROUP):
            stop = min(start + COLUMN_GROUP, last)
            if _any_below(row[start:stop], norms[i], worst[start:stop]):
                for j in range(start, stop):
                    value = norms[i] - (row[j] + row[j])
                    if value < worst[j]:
                        _replace_largest(value, offset + i, values[j], indices[j])
                        worst[j] = values[j, 0]


@njit(**PART)
def _products(x, y, room):
    """``x @ y.T``, written into ``room``."""
    out = room[: x.shape[0] * y.shape[0]].reshape(x.shape[0], y.shape[0])
    np.dot(x, y.T, out)
    return out


@njit(**LOOP)
def choose_cells(points, starts, pools, sizes, centers, norms, room, chosen):
    """Choose the cells of the other side that each point searches: ``chosen[i]``, nearest first.

    They are the nearest to the point among those of ``pools[c]``, where ``c`` is the point's own
    cell; beyond the first in no order. Cell ``c`` holds points ``starts[c]:starts[c + 1]``; the
    cells of the other side hold ``sizes`` points. Returns the least that any point searches.
    """
    own, size, dims = chosen.shape[1], pools.shape[1], points.shape[1]
    near, near_norms = room_like(size, dims, points), room_like(1, size, points)[0]
    least = COUNTLESS
    for c in range(pools.shape[0]):
        for at in range(size):
            near_norms[at] = norms[pools[c, at]]
            for g in range(dims):
                near[at, g] = centers[pools[c, at], g]
        tile = _products(points[starts[c] : starts[c + 1]], near, room)
        values, rows = room_like(tile.shape[0], own, points), room_for_places(tile.shape[0])
        best = room_for_indices(tile.shape[0], own)
        values[:] = np.inf
        for i in range(rows.shape[0]):
            rows[i] = i
        # A zero written out would be a type of its own, for which it would be compiled again.
        push_tile(tile, near_norms, np.int64(0), rows, values, best)
        for i in range(tile.shape[0]):
            row, first, held = starts[c] + i, 0, 0
            for at in range(own):
                cell = pools[c, best[i, at]]
                chosen[row, at] = cell
                held += sizes[cell]
                if values[i, at] < values[i, first]:
                    first = at
            chosen[row, first], chosen[row, 0] = chosen[row, 0], chosen[row, first]
            least = min(least, held)
    return least


@njit(**LOOP)
def search_cells(
    points, chosen, columns, other_points, other_norms, other_starts, room, values, indices
):
    """Search the cells in some columns of ``chosen``, from one up to another, point by point.

    All points that search a cell do so together, as a matrix product for which there is ``room``.
    ``values`` and ``indices`` are heaps as in :func:`push_tile`, one a point.
    """
    n_cells = other_starts.shape[0] - 1
    ends, places = room_for_places(n_cells + 1), room_for_places(n_cells)
    ends[:] = 0
    for i in range(chosen.shape[0]):
        for at in range(columns[0], columns[1]):
            ends[chosen[i, at] + 1] += 1
    for c in range(n_cells):
        ends[c + 1] += ends[c]
        places[c] = ends[c]
    rows = room_for_places(ends[n_cells])
    for i in range(chosen.shape[0]):
        for at in range(columns[0], columns[1]):
            rows[places[chosen[i, at]]] = i
            places[chosen[i, at]] += 1
    some = room_like(GATHERED, points.shape[1], points)
    for c in range(n_cells):
        there = slice(other_starts[c], other_starts[c + 1])
        for start in range(ends[c], ends[c + 1], GATHERED):
            stop = min(start + GATHERED, ends[c + 1])
            for i in range(start, stop):
                for g in range(points.shape[1]):
                    some[i - start, g] = points[rows[i], g]
            tile = _products(some[: stop - start], other_points[there], room)
            push_tile(tile, other_norms[there], there.start, rows[start:stop], values, indices)


@njit(**LOOP)
def push_tile_within(products, norms, limits, x, y, offset, values, indices):
    """Measure every column whose proposal is within ``limits[i]`` and keep the nearest.

    The heaps hold exact squared distances and are ordered by (distance, index).
    """
    size = values.shape[1]
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            if norms[j] - 2 * products[i, j] <= limits[i]:
                value = square_distance(x[i], y[j])
                if _before(value, offset + j, values[i, 0], indices[i, 0]):
                    values[i, 0], indices[i, 0] = value, offset + j
                    _sift(values[i], indices[i], 0, size)


@njit(**LOOP)
def sort_heaps(values, indices):
    """Sort every row's heap by (value, index), ascending."""
    for i in range(values.shape[0]):
        row, row_indices = values[i], indices[i]
        for size in range(values.shape[1] - 1, 0, -1):
            row[0], row[size] = row[size], row[0]
            row_indices[0], row_indices[size] = row_indices[size], row_indices[0]
            _sift(row, row_indices, 0, size)


@njit(**LOOP)
def rescore(x, y, values, indices, bounds, complete, out_distances, out_indices):
    """Rank proposed neighbors by their exact distance, and say which rows can be relied on.

    ``values``, ``indices``: sorted proposals, more of them than are wanted. A row is complete if
    what was left out is further than the k-th neighbor whatever the rounding of the proposals
    (``bounds[i]`` each). Distances come out as squares.
    """
    k = out_indices.shape[1]
    size = values.shape[1]
    for i in range(x.shape[0]):
        complete[i] = size >= y.shape[0] or values[i, size - 1] - values[i, k - 1] > 2 * bounds[i]
        limit = values[i, k - 1] + 2 * bounds[i]
        found = 0
        for at in range(size):
            if values[i, at] > limit and found >= k:
                break
            j = indices[i, at]
            value = square_distance(x[i], y[j])
            if found < k:
                place = found
                found += 1
            elif _before(value, j, out_distances[i, k - 1], out_indices[i, k - 1]):
                place = k - 1
            else:
                continue
            while place > 0 and _before(
                value, j, out_distances[i, place - 1], out_indices[i, place - 1]
            ):
                out_distances[i, place] = out_distances[i, place - 1]
                out_indices[i, place] = out_indices[i, place - 1]
                place -= 1
            out_distances[i, place], out_indices[i, place] = value, j


@njit(**LOOP)
def complete(indices, distances, places, rows, other_indices, other_distances, first, end):
    """Put into lists of neighbors what they missed and the search the other way round saw.

    Cell ``rows[j]`` of the other side has the neighbors ``other_indices[j]``; the list of
    neighbor ``n`` is ``indices[places[n]]``, and is left alone if it is not one of those from
    ``first`` up to ``end``. Lists are sorted by (distance, index), and stay so. The distance of
    two cells is the same number in both searches.
    """
    last = indices.shape[1] - 1
    for j in range(other_indices.shape[0]):
        for other in range(other_indices.shape[1]):
            i, distance = places[other_indices[j, other]], other_distances[j, other]
            if i < first or i >= end:
                continue
            if not _before(distance, rows[j], distances[i, last], indices[i, last]):
                continue
            at = last
            while at > 0 and _before(distance, rows[j], distances[i, at - 1], indices[i, at - 1]):
                at -= 1
            if at > 0 and indices[i, at - 1] == rows[j]:
                continue
            for behind in range(last, at, -1):
                distances[i, behind] = distances[i, behind - 1]
                indices[i, behind] = indices[i, behind - 1]
            distances[i, at], indices[i, at] = distance, rows[j]


own_files(globals().values())
