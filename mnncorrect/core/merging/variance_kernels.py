"""Compiled loops of the variance adjustment, and nothing else.

As in ``kernels``: serial, without the interpreter lock, sums in float64.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, PART, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for

find_place(njit, config)


@njit(**PART)
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


@njit(**PART)
def _line_log_weights(products, coordinates, norms, own_norm, own_coordinate, sigma, out):
    """``-e^2 / sigma`` with ``e`` the distance of each cell to the line of the correction."""
    for y in range(products.shape[0]):
        along = own_coordinate - coordinates[y]
        square = own_norm + norms[y] - 2.0 * products[y] - along * along
        out[y] = -max(square, 0.0) / sigma


@njit(**LOOP)
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
    left_weights = room_for(n_left)
    right_weights = room_for(n_right)
    below = room_for(n_right)
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


own_files(globals().values())
