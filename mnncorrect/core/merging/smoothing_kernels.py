"""Compiled loops over cells and anchors: distances between them, and weights."""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for, square_distance

find_place(njit, config)


@njit(**LOOP)
def direct_square_distances(x, y, out):
    """``out[i, j] = ||x_i - y_j||^2`` from the differences: exact zeros, no cancellation."""
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            out[i, j] = square_distance(x[i], y[j])


@njit(**LOOP)
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


@njit(**LOOP)
def gaussian_densities(square_distances, sigma, out):
    """``out[i] = sum_j exp(-d_ij^2 / sigma)``: how crowded the anchors are around each."""
    for i in range(square_distances.shape[0]):
        total = 0.0
        for j in range(square_distances.shape[1]):
            total += np.exp(-np.float64(square_distances[i, j]) / sigma)
        out[i] = total


@njit(**LOOP)
def gaussian_weights(square_distances, sigma, log_densities):
    """Turn squared distances into weights ``exp(-d^2 / sigma) / D_j`` that sum to 1 in each row.

    The largest exponent of a row is subtracted first, so that no row underflows to zeros.
    """
    n = square_distances.shape[1]
    weights = room_for(n)
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


@njit(**LOOP)
def tricube_average(distances, indices, vectors, ndist, floor, out):
    """Average the vectors of each row's neighbors with tricube weights.

    The bandwidth is ``max(floor, ndist * d)`` with ``d`` the lower median of the row's sorted
    distances; ``w = (1 - min(1, d / bandwidth)^3)^3``. A row without any weight becomes NaN.
    """
    k = distances.shape[1]
    weights = room_for(k)
    total = room_for(vectors.shape[1])
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


own_files(globals().values())
