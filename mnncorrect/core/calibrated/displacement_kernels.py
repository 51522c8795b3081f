"""Compiled loops of displacements and of the noise about them, and nothing else.

As in ``kernels``: serial, sums in float64. Loops that take microseconds in a merge of many batches
keep the interpreter lock, and others let it go: two threads that merge would hand it to each other
in more time than such a loop takes.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, SHORT, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for, square_distance

find_place(njit, config)


@njit(**LOOP)
def neighbor_residuals(x, start, neighbors, out):
    """``out[i] = k / (k + 1) ||x_i - m_i||^2``, with ``m_i`` the mean of the ``k`` others listed.

    Row ``i`` of the list belongs to cell ``start + i``, which is one of the ``k + 1`` itself.
    """
    total = room_for(x.shape[1])
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


@njit(**LOOP)
def weighted_rows(neighbors, weights, x, out):
    """``out[i] = sum_a weights[i, a] x[neighbors[i, a]]``, added in their order.

    Four rows are added at a time, so that the sum is read and written less often.
    """
    n = neighbors.shape[1]
    whole = n - n % 4
    for i in range(neighbors.shape[0]):
        sums, near, shares = out[i], neighbors[i], weights[i]
        sums[:] = 0.0
        for at in range(0, whole, 4):
            a, b, c, d = shares[at], shares[at + 1], shares[at + 2], shares[at + 3]
            p, q, r, s = x[near[at]], x[near[at + 1]], x[near[at + 2]], x[near[at + 3]]
            for g in range(sums.shape[0]):
                sums[g] = (((sums[g] + a * p[g]) + b * q[g]) + c * r[g]) + d * s[g]
        for at in range(whole, n):
            weight, row = shares[at], x[near[at]]
            for g in range(sums.shape[0]):
                sums[g] += weight * row[g]


@njit(**SHORT)
def mean_values(values, neighbors, out):
    """``out[i]`` = mean of ``values[neighbors[i]]``, in eight running sums, as numpy adds them."""
    k = neighbors.shape[1]
    whole = k - k % 8
    sums = room_for(8)
    for i in range(neighbors.shape[0]):
        sums[:] = 0.0
        for at in range(0, whole, 8):
            for lane in range(8):
                sums[lane] += values[neighbors[i, at + lane]]
        total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + (
            (sums[4] + sums[5]) + (sums[6] + sums[7])
        )
        for at in range(whole, k):
            total += values[neighbors[i, at]]
        out[i] = total / k


@njit(**SHORT)
def points_among(neighbors, number, near, weights):
    """List the first points among the neighbors of each cell, by number, each with the weight 1.

    ``number[cell]`` is -1 if the cell is no point; ``near`` and ``weights`` are zeros.
    """
    for i in range(neighbors.shape[0]):
        count = 0
        for at in range(neighbors.shape[1]):
            if number[neighbors[i, at]] >= 0:
                near[i, count], weights[i, count] = number[neighbors[i, at]], 1.0
                count += 1
                if count == near.shape[1]:
                    break


@njit(**SHORT)
def keep_wanted(lists, counts, wanted):
    """Keep the wanted cells of each list, in their order, and its first cell."""
    for i in range(lists.shape[0]):
        count = 1
        for at in range(1, counts[i]):
            cell = lists[i, at]
            if wanted[cell]:
                lists[i, count] = cell
                count += 1
        counts[i] = count


@njit(**SHORT)
def approach_median(vectors, median, floor, tolerance, steps):
    """Move a point to the geometric median of vectors by Weiszfeld's steps.

    No distance counts as less than ``floor``. Steps end after ``steps``, or when they are not
    longer than ``tolerance``.
    """
    total = room_for(median.shape[0])
    for _ in range(steps):
        total[:] = 0.0
        weights = 0.0
        for i in range(vectors.shape[0]):
            weight = 1.0 / max(np.sqrt(square_distance(vectors[i], median)), floor)
            weights += weight
            for g in range(total.shape[0]):
                total[g] += weight * vectors[i, g]
        change = 0.0
        for g in range(total.shape[0]):
            moved = total[g] / weights
            change += (moved - median[g]) ** 2
            median[g] = moved
        if np.sqrt(change) <= tolerance:
            break


@njit(**LOOP)
def sparse_rows(indptr, indices, values, x, out):
    """``out[i] = sum_j m_ij x_j`` for rows of a CSR matrix."""
    for i in range(out.shape[0]):
        out[i] = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            weight = values[at]
            row = x[indices[at]]
            for g in range(out.shape[1]):
                out[i, g] += weight * row[g]


@njit(**LOOP)
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


@njit(**LOOP)
def scale_residuals(points, start, neighbors, factors, chance, x, out):
    """``out[i] = m_i + factors[i] (x_i - m_i)``, with ``m_i`` a local mean of the cells listed.

    They are weighted by a Gaussian whose squared bandwidth is their mean squared distance, which
    is measured between ``points``, and by the chance that both or neither have a counterpart.
    """
    k = neighbors.shape[1]
    weights = room_for(k)
    total = room_for(x.shape[1])
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
            own_chance, chance_there = chance[start + i], chance[neighbors[i, at]]
            alike = own_chance * chance_there + (1.0 - own_chance) * (1.0 - chance_there)
            weight = alike * np.exp(-weights[at] / bandwidth)
            sum_weights += weight
            row = x[neighbors[i, at]]
            for g in range(total.shape[0]):
                total[g] += weight * row[g]
        if sum_weights == 0.0:
            continue
        for g in range(total.shape[0]):
            mean = total[g] / sum_weights
            out[i, g] = mean + factors[i] * (own[g] - mean)


@njit(**SHORT)
def share_odds(odds, counted, caution, fitted_share, least, steps, out):
    """Turn odds into probabilities, with the share of cells that these probabilities give.

    Each step adjusts the odds to the share of the step before; the first takes ``fitted_share``.
    ``counted`` are the weights of cells in the share, which is mixed with ``fitted_share`` by
    ``caution``, and lies between ``least`` and 1 - ``least``.
    """
    share = fitted_share
    for _ in range(steps):
        factor = share / (1.0 - share) * (1.0 - fitted_share) / fitted_share
        mean = 0.0
        for i in range(odds.shape[0]):
            times = odds[i] * factor
            out[i] = times / (1.0 + times)
            mean += out[i] * counted[i]
        share = caution * fitted_share + (1.0 - caution) * mean
        share = min(max(share, least), 1.0 - least)


own_files(globals().values())
