"""Compiled loops that level cells, or what is known of them, along vectors."""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, PART, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for

find_place(njit, config)


@njit(**LOOP)
def add_rows_and_squares(x, totals):
    """Add up rows in ``totals[:-1]``, and the squares of all values in ``totals[-1]``."""
    square = 0.0
    for i in range(x.shape[0]):
        for g in range(x.shape[1]):
            value = np.float64(x[i, g])
            totals[g] += value
            square += value * value
    totals[x.shape[1]] += square


@njit(**PART)
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


@njit(**LOOP)
def level_along(x, units, levels, out):
    """Give every row the same coordinate along unit vectors, one after the other.

    ``out[i] = x_i + sum_v (levels[v] - <x_i, u_v>) u_v``, each from what the last one left.
    """
    row = room_for(x.shape[1])
    for i in range(x.shape[0]):
        for g in range(row.shape[0]):
            row[g] = x[i, g]
        for v in range(units.shape[0]):
            shift = levels[v] - _dot(row, units[v])
            for g in range(row.shape[0]):
                row[g] += shift * units[v, g]
        for g in range(row.shape[0]):
            out[i, g] = row[g]


@njit(**LOOP)
def level_maps(batches, units, levels, maps, shifts, means, centers, scatters):
    """Level what is known of batches along unit vectors, as :func:`level_along` does their cells.

    Of each batch in ``batches``: what its cells still go through, ``x -> x @ map + shift``; the
    means of all its cells and of some; and the scatter of its cells about their mean.
    """
    n = units.shape[1]
    along = room_for(n)
    for batch in batches:
        for v in range(units.shape[0]):
            unit = units[v]
            for row in maps[batch]:
                length = _dot(row, unit)
                for g in range(n):
                    row[g] -= length * unit[g]
            for row in (shifts[batch], means[batch], centers[batch]):
                away = levels[v] - _dot(row, unit)
                for g in range(n):
                    row[g] += away * unit[g]
            scatter = scatters[batch]
            for g in range(n):
                along[g] = _dot(scatter[g], unit)
            twice = _dot(along, unit)
            for h in range(n):
                row, one, other = scatter[h], along[h], unit[h]
                for g in range(n):
                    row[g] -= one * unit[g] + other * (along[g] - twice * unit[g])


@njit(**LOOP)
def map_rows(x, rows, owners, pending, maps, shifts, out):
    """``out[i] = x[rows[i]] @ maps[b] + shifts[b]`` with ``b`` the row's owner.

    Rows of an owner of which nothing is pending are copied.
    """
    total, whole = room_for(x.shape[1]), x.shape[1] - x.shape[1] % 4
    for i in range(rows.shape[0]):
        owner, row = owners[i], x[rows[i]]
        if not pending[owner]:
            for g in range(row.shape[0]):
                out[i, g] = row[g]
            continue
        for g in range(row.shape[0]):
            total[g] = shifts[owner, g]
        for h in range(0, whole, 4):
            # Four at a time, for which each total is read and written once.
            a, b = np.float64(row[h]), np.float64(row[h + 1])
            c, d = np.float64(row[h + 2]), np.float64(row[h + 3])
            own = maps[owner, h : h + 4]
            for g in range(row.shape[0]):
                total[g] = total[g] + a * own[0, g] + b * own[1, g] + c * own[2, g] + d * own[3, g]
        for h in range(whole, row.shape[0]):
            value, direction = np.float64(row[h]), maps[owner, h]
            for g in range(row.shape[0]):
                total[g] += value * direction[g]
        for g in range(row.shape[0]):
            out[i, g] = total[g]


own_files(globals().values())
