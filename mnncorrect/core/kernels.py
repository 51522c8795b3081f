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


# ----------------------------------------------------------------------------- variance adjustment


@njit(nogil=True, cache=True)
def _log_sum_exp(values, count):
    """``log sum exp`` of the first ``count`` values, added in their order."""
    largest = -np.inf
    for at in range(count):
        largest = max(largest, values[at])
    if largest == -np.inf:
        return -np.inf
    total = 0.0
    for at in range(count):
        total += np.exp(values[at] - largest)
    return largest + np.log(total)


@njit(nogil=True, cache=True)
def _line_log_weights(products, coordinates, norms, own_norm, own_coordinate, sigma, out):
    """``-e^2 / sigma`` with ``e`` the distance of each cell to the line of the correction."""
    for y in range(products.shape[0]):
        along = own_coordinate - coordinates[y]
        square = own_norm + norms[y] - 2.0 * products[y] - along * along
        out[y] = -max(square, 0.0) / sigma


@njit(nogil=True, cache=True)
def quantile_scaling(
    left_products,
    left_coordinates,
    left_norms,
    right_products,
    right_coordinates,
    right_norms,
    norms,
    coordinates,
    positions,
    lengths,
    sigma,
    scaling,
):
    """Lengthen each cell's correction until its quantile in the reference is that in its batch.

    One row a cell. ``*_products``: inner products with the left or right cells; ``*_coordinates``:
    those cells along the cell's unit correction; ``positions``: the cell's place among the right
    cells, -1 if it is not one of them; ``lengths``: of the corrections, 0 where there is none.
    Never shorter than before (Haghverdi et al. 2018, variance adjustment).
    """
    n_left, n_right = left_products.shape[1], right_products.shape[1]
    left_weights = np.empty(n_left, np.float64)
    right_weights = np.empty(n_right, np.float64)
    below = np.empty(n_right, np.float64)
    for c in range(left_products.shape[0]):
        scaling[c] = 1.0
        if lengths[c] == 0.0:
            continue
        own = coordinates[c]
        _line_log_weights(
            right_products[c], right_coordinates[c], right_norms, norms[c], own, sigma,
            right_weights,
        )  # fmt: skip
        if positions[c] >= 0:
            right_weights[positions[c]] = 0.0
        count = 0
        for y in range(n_right):
            if y == positions[c] or right_coordinates[c, y] <= own:
                below[count] = right_weights[y]
                count += 1
        # An empty sum stands for probability weight 1 in the reference (batchelor).
        log_share = (_log_sum_exp(below, count) if count > 0 else 0.0) - _log_sum_exp(
            right_weights, n_right
        )
        _line_log_weights(
            left_products[c], left_coordinates[c], left_norms, norms[c], own, sigma, left_weights
        )
        target = log_share + _log_sum_exp(left_weights, n_left)
        order = np.argsort(left_coordinates[c], kind="mergesort")
        quantile = left_coordinates[c, order[n_left - 1]]
        largest, total = -np.inf, 0.0
        for at in range(n_left):
            weight = left_weights[order[at]]
            if weight > largest:
                total = total * np.exp(largest - weight) + 1.0
                largest = weight
            else:
                total += np.exp(weight - largest)
            if largest + np.log(total) >= target:
                quantile = left_coordinates[c, order[at]]
                break
        scaling[c] = max(1.0, (quantile - own) / lengths[c])


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


# --------------------------------------------------------------------------------- weighted lowess


@njit(nogil=True, cache=True)
def lowess_windows(x, weights, seeds, enough, starts, ends, reach):
    """Points about each seed, nearest first, until their weight is enough; ``[start, end)``.

    ``x`` ascends. Points equal to those at the ends belong to the window too; ``reach`` is the
    largest distance before that.
    """
    n = x.shape[0]
    for i in range(seeds.shape[0]):
        seed = seeds[i]
        start, end = seed, seed
        total = weights[seed]
        while total < enough and (start > 0 or end < n - 1):
            go_right = start == 0 or (
                end < n - 1 and x[end + 1] - x[seed] <= x[seed] - x[start - 1]
            )
            if go_right:
                end += 1
                total += weights[end]
            else:
                start -= 1
                total += weights[start]
        reach[i] = max(x[seed] - x[start], x[end] - x[seed])
        while start > 0 and x[start - 1] == x[start]:
            start -= 1
        while end < n - 1 and x[end + 1] == x[end]:
            end += 1
        starts[i], ends[i] = start, end + 1


@njit(nogil=True, cache=True)
def lowess_lines(x, y, weights, robustness, seeds, starts, ends, reach, negligible, out):
    """``out[i]``: value at seed i of the line through its window, weighted by tricube distance.

    The weighted mean where the window, or the weighted spread within it, has no width.
    """
    for i in range(seeds.shape[0]):
        start, end, at = starts[i], ends[i], x[seeds[i]]
        window = np.ones(end - start)
        if reach[i] >= negligible:
            for j in range(start, end):
                window[j - start] = (1.0 - (abs(x[j] - at) / reach[i]) ** 3) ** 3
        for j in range(start, end):
            window[j - start] *= weights[j]
        total = 0.0
        for j in range(start, end):
            total += window[j - start] * robustness[j]
        if total > 0.0:
            for j in range(start, end):
                window[j - start] *= robustness[j]
        total = x_mean = y_mean = 0.0
        for j in range(start, end):
            total += window[j - start]
            x_mean += window[j - start] * x[j]
            y_mean += window[j - start] * y[j]
        x_mean, y_mean = x_mean / total, y_mean / total
        square = product = 0.0
        for j in range(start, end):
            away = x[j] - x_mean
            square += window[j - start] * away * away
            product += window[j - start] * away * (y[j] - y_mean)
        out[i] = y_mean
        if reach[i] >= negligible and square >= negligible:
            out[i] += product / square * (at - x_mean)


# -------------------------------------------------------------------------- displacement and noise


@njit(nogil=True, cache=True)
def neighbor_residuals(x, start, neighbors, out):
    """``out[i] = k / (k + 1) ||x_i - m_i||^2``, with ``m_i`` the mean of the ``k`` others listed.

    Row ``i`` of the list belongs to cell ``start + i``, which is one of the ``k + 1`` itself.
    """
    total = np.empty(x.shape[1], np.float64)
    k = neighbors.shape[1] - 1
    for i in range(neighbors.shape[0]):
        total[:] = 0.0
        for at in range(k + 1):
            row = x[neighbors[i, at]]
            for g in range(total.shape[0]):
                total[g] += row[g]
        square = 0.0
        for g in range(total.shape[0]):
            value = np.float64(x[start + i, g])
            away = value - (total[g] - value) / k
            square += away * away
        out[i] = square * k / (k + 1)


@njit(nogil=True, cache=True)
def weighted_rows(neighbors, weights, x, out):
    """``out[i] = sum_a weights[i, a] x[neighbors[i, a]]``."""
    for i in range(neighbors.shape[0]):
        out[i] = 0.0
        for at in range(neighbors.shape[1]):
            weight = weights[i, at]
            row = x[neighbors[i, at]]
            for g in range(out.shape[1]):
                out[i, g] += weight * row[g]


@njit(nogil=True, cache=True)
def sparse_rows(indptr, indices, values, x, out):
    """``out[i] = sum_j m_ij x_j`` for rows of a CSR matrix."""
    for i in range(out.shape[0]):
        out[i] = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            weight = values[at]
            row = x[indices[at]]
            for g in range(out.shape[1]):
                out[i, g] += weight * row[g]


@njit(nogil=True, cache=True)
def composed_variance(
    neighbors, weights, indptr, indices, values, variances, scratch, touched, out
):
    """``out[i] += sum_j (sum_a weights[i, a] m[neighbors[i, a], j])^2 variances[j]``, m in CSR.

    ``scratch``: zeros, one a column, and zeros again afterwards; ``touched``: room for as many
    columns. The product of the two matrices is never held.
    """
    for i in range(neighbors.shape[0]):
        count = 0
        for at in range(neighbors.shape[1]):
            row = neighbors[i, at]
            for place in range(indptr[row], indptr[row + 1]):
                weight = weights[i, at] * values[place]
                if weight > 0.0:
                    column = indices[place]
                    if scratch[column] == 0.0:
                        touched[count] = column
                        count += 1
                    scratch[column] += weight
        total = 0.0
        for place in range(count):
            column = touched[place]
            total += scratch[column] * scratch[column] * variances[column]
            scratch[column] = 0.0
        out[i] += total


@njit(nogil=True, cache=True)
def scale_residuals(points, start, neighbors, factors, counts, x, out):
    """``out[i] = m_i + factors[i] (x_i - m_i)``, with ``m_i`` a local mean of the cells listed.

    They are weighted by a Gaussian whose squared bandwidth is their mean squared distance, which
    is measured between ``points``; those that do not count are left out.
    """
    k = neighbors.shape[1]
    weights = np.empty(k, np.float64)
    total = np.empty(x.shape[1], np.float64)
    for i in range(neighbors.shape[0]):
        own = x[start + i]
        # One by one: the compiler takes seconds for an assignment of rows.
        for g in range(own.shape[0]):
            out[i, g] = own[g]
        if factors[i] == 1.0:
            continue
        bandwidth = 0.0
        for at in range(k):
            weights[at] = square_distance(points[start + i], points[neighbors[i, at]])
            bandwidth += weights[at]
        bandwidth /= k
        if bandwidth == 0.0:
            continue
        total[:] = 0.0
        sum_weights = 0.0
        for at in range(k):
            if not counts[neighbors[i, at]]:
                continue
            weight = np.exp(-weights[at] / bandwidth)
            sum_weights += weight
            row = x[neighbors[i, at]]
            for g in range(total.shape[0]):
                total[g] += weight * row[g]
        if sum_weights == 0.0:
            continue
        for g in range(total.shape[0]):
            mean = total[g] / sum_weights
            out[i, g] = mean + factors[i] * (own[g] - mean)


own_files(globals().values())
