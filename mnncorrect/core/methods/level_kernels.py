"""Compiled loops that level cells along vectors, and sum what they vary by."""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import find_place, own_files

find_place(njit, config)


@njit(nogil=True, cache=True)
def add_rows_and_squares(x, totals):
    """Add up rows in ``totals[:-1]``, and the squares of all values in ``totals[-1]``."""
    square = 0.0
    for i in range(x.shape[0]):
        for g in range(x.shape[1]):
            value = np.float64(x[i, g])
            totals[g] += value
            square += value * value
    totals[x.shape[1]] += square


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
