"""Compiled loops over cells, pairs and anchors, and nothing else.

Each is serial and releases the interpreter lock: threads work on different blocks (see
``threads.map_blocks``), so no sum depends on the number of threads. Sums are float64, whatever
the input's type. No fastmath, but for what ``square_distance`` says of itself.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from .caches import find_place, own_files

find_place(njit, config)

# ---------------------------------------------------------------------------- norms and distances


@njit(nogil=True, cache=True)
def dense_square_norms(x, out):
    """``out[i] = sum_g x[i, g]^2``, added in the order of the genes."""
    for i in range(x.shape[0]):
        total = 0.0
        for g in range(x.shape[1]):
            value = np.float64(x[i, g])
            total += value * value
        out[i] = total


@njit(nogil=True, cache=True)
def sparse_square_norms(values, indptr, out):
    """As :func:`dense_square_norms`, for the rows of a CSR matrix with sorted indices."""
    for i in range(out.shape[0]):
        total = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            value = np.float64(values[at])
            total += value * value
        out[i] = total


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def square_distance(x, y):
    """``sum_g (x_g - y_g)^2``, the same number for ``y`` and ``x``.

    The one sum whose order is the compiler's: as many running sums as the processor adds at once.
    Of 50 and 2,000 float32 values it takes a sixth and a quarter of the time of eight sums in a
    given order. It depends on the processor, as matrix products do, but not on threads or blocks.
    """
    total = 0.0
    for g in range(x.shape[0]):
        away = np.float64(x[g]) - np.float64(y[g])
        total += away * away
    return total


@njit(nogil=True, cache=True)
def direct_square_distances(x, y, out):
    """``out[i, j] = ||x_i - y_j||^2`` from the differences: exact zeros, no cancellation."""
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            out[i, j] = square_distance(x[i], y[j])


@njit(nogil=True, cache=True)
def products_to_square_distances(products, x_norms, y_norms, own_column):
    """Turn a tile of ``<x_i, y_j>`` into ``max(0, ||x_i||^2 + ||y_j||^2 - 2 <x_i, y_j>)``.

    ``own_column[i]``: the column that is row ``i`` itself, whose distance is 0; -1 if none is.
    """
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            value = x_norms[i] + y_norms[j] - 2.0 * products[i, j]
            products[i, j] = max(value, 0.0)
        if own_column[i] >= 0:
            products[i, own_column[i]] = 0.0


# --------------------------------------------------------------------- rows, and means over them


@njit(nogil=True, cache=True)
def add_rows(x, labels, totals, sizes):
    """Add every row of ``x`` to the total of its label, and count it."""
    for i in range(x.shape[0]):
        sizes[labels[i]] += 1
        for g in range(x.shape[1]):
            totals[labels[i], g] += x[i, g]


@njit(nogil=True, cache=True)
def cell_means(x, starts, out):
    """``out[c]`` = mean of rows ``starts[c]:starts[c + 1]``."""
    total = np.empty(x.shape[1], np.float64)
    for c in range(out.shape[0]):
        total[:] = 0.0
        for i in range(starts[c], starts[c + 1]):
            for g in range(total.shape[0]):
                total[g] += x[i, g]
        for g in range(total.shape[0]):
            out[c, g] = total[g] / (starts[c + 1] - starts[c])


@njit(nogil=True, cache=True)
def add_columns(x, totals):
    """Add up the rows of ``x``, and return the largest size of any value."""
    largest = 0.0
    for i in range(x.shape[0]):
        for g in range(x.shape[1]):
            value = np.float64(x[i, g])
            totals[g] += value
            largest = max(largest, abs(value))
    return largest


@njit(nogil=True, cache=True)
def center_columns(x, mean, scale, out):
    """``out[i] = scale (x_i - mean)``."""
    for i in range(x.shape[0]):
        for g in range(x.shape[1]):
            out[i, g] = (np.float64(x[i, g]) - mean[g]) * scale


@njit(nogil=True, cache=True)
def deal_out(values, labels, places, out):
    """Put each value at its label's place, and the label's next one after it."""
    for i in range(values.shape[0]):
        out[places[labels[i]]] = values[i]
        places[labels[i]] += 1


# ------------------------------------------------------------------------------------ mutual pairs


@njit(nogil=True, cache=True)
def mark_mutual(in_right, rows, in_left, mutual):
    """``mutual[i, a]`` where left cell ``rows[i]`` is a neighbour of its a-th neighbour."""
    for i in range(in_right.shape[0]):
        for at in range(in_right.shape[1]):
            right = in_right[i, at]
            for back in range(in_left.shape[1]):
                if in_left[right, back] == rows[i]:
                    mutual[i, at] = True
                    break


@njit(nogil=True, cache=True)
def average_pair_vectors(left, right, pair_left, starts, anchors, out):
    """``out[a]`` = mean over the pairs of anchor ``a`` of ``left row - right row``.

    Pairs are grouped by anchor: those of anchor ``a`` are ``starts[a]:starts[a + 1]``.
    """
    total = np.empty(left.shape[1], np.float64)
    for a in range(anchors.shape[0]):
        total[:] = 0.0
        for at in range(starts[a], starts[a + 1]):
            row = left[pair_left[at]]
            for g in range(total.shape[0]):
                total[g] += row[g]
        count = starts[a + 1] - starts[a]
        row = right[anchors[a]]
        for g in range(total.shape[0]):
            out[a, g] = total[g] / count - row[g]


# --------------------------------------------------------------------------------------- smoothing


@njit(nogil=True, cache=True)
def gaussian_densities(square_distances, sigma, out):
    """``out[i] = sum_j exp(-d_ij^2 / sigma)``: how crowded the anchors are around each."""
    for i in range(square_distances.shape[0]):
        total = 0.0
        for j in range(square_distances.shape[1]):
            total += np.exp(-np.float64(square_distances[i, j]) / sigma)
        out[i] = total


@njit(nogil=True, cache=True)
def gaussian_weights(square_distances, sigma, log_densities):
    """Turn squared distances into weights ``exp(-d^2 / sigma) / D_j`` that sum to 1 in each row.

    The largest exponent of a row is subtracted first, so that no row underflows to zeros.
    """
    n = square_distances.shape[1]
    weights = np.empty(n, np.float64)
    for i in range(square_distances.shape[0]):
        largest = -np.inf
        for j in range(n):
            weights[j] = -np.float64(square_distances[i, j]) / sigma - log_densities[j]
            largest = max(largest, weights[j])
        total = 0.0
        for j in range(n):
            weights[j] = np.exp(weights[j] - largest)
            total += weights[j]
        for j in range(n):
            square_distances[i, j] = weights[j] / total


@njit(nogil=True, cache=True)
def tricube_average(distances, indices, vectors, ndist, floor, out):
    """Average the vectors of each row's neighbours with tricube weights.

    The bandwidth is ``max(floor, ndist * d)`` with ``d`` the lower median of the row's sorted
    distances; ``w = (1 - min(1, d / bandwidth)^3)^3``. A row without any weight becomes NaN.
    """
    k = distances.shape[1]
    weights = np.empty(k, np.float64)
    total = np.empty(vectors.shape[1], np.float64)
    for i in range(distances.shape[0]):
        bandwidth = max(floor, ndist * distances[i, (k + 1) // 2 - 1])
        sum_weights = 0.0
        for at in range(k):
            share = min(1.0, distances[i, at] / bandwidth)
            weights[at] = (1.0 - share * share * share) ** 3
            sum_weights += weights[at]
        total[:] = 0.0
        for at in range(k):
            if weights[at] > 0.0:
                weight = weights[at] / sum_weights
                row = vectors[indices[i, at]]
                for g in range(total.shape[0]):
                    total[g] += weight * row[g]
        for g in range(total.shape[0]):
            out[i, g] = total[g] if sum_weights > 0.0 else np.nan


# ------------------------------------------------------------------------------- orthogonalisation


@njit(nogil=True, cache=True)
def add_moments(x, totals):
    """Add up rows in ``totals[:-1]``, and the squares of all values in ``totals[-1]``."""
    square = 0.0
    for i in range(x.shape[0]):
        for g in range(x.shape[1]):
            value = np.float64(x[i, g])
            totals[g] += value
            square += value * value
    totals[x.shape[1]] += square


@njit(nogil=True, cache=True)
def add_square_residuals(x, labels, means, totals):
    """Add ``||x_i - means[label]||^2`` to the total of every row's label."""
    for i in range(x.shape[0]):
        totals[labels[i]] += square_distance(x[i], means[labels[i]])


@njit(nogil=True, cache=True)
def _dot(x, y):
    """``sum_g x_g y_g`` in four running sums."""
    a = b = c = d = 0.0
    n = x.shape[0]
    whole = n - n % 4
    for at in range(0, whole, 4):
        a += x[at] * y[at]
        b += x[at + 1] * y[at + 1]
        c += x[at + 2] * y[at + 2]
        d += x[at + 3] * y[at + 3]
    total = (a + b) + (c + d)
    for at in range(whole, n):
        total += x[at] * y[at]
    return total


@njit(nogil=True, cache=True)
def level_along(x, units, levels, out):
    """Give every row the same coordinate along unit vectors, one after the other.

    ``out[i] = x_i + sum_v (levels[v] - <x_i, u_v>) u_v``, each from what the last one left.
    """
    row = np.empty(x.shape[1], np.float64)
    for i in range(x.shape[0]):
        for g in range(row.shape[0]):
            row[g] = x[i, g]
        for v in range(units.shape[0]):
            shift = levels[v] - _dot(row, units[v])
            for g in range(row.shape[0]):
                row[g] += shift * units[v, g]
        for g in range(row.shape[0]):
            out[i, g] = row[g]


own_files(globals().values())
