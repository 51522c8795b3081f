"""Compiled loops over the stored values of sparse rows, and nothing else.

As in ``kernels``: serial, without the interpreter lock, sums in float64.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, PART, find_place, own_files

find_place(njit, config)

# Bytes that a core's cache holds.
CACHED = 1 << 20


@njit(**LOOP)
def row_sums(values, indptr, out):
    """``out[i] = sum_g x[i, g]``."""
    for i in range(out.shape[0]):
        total = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            total += np.float64(values[at])
        out[i] = total


@njit(**PART, inline="always")
def add_exactly(total, low, value):
    """Add a value to a sum of two parts, and keep what rounding leaves of it (Dekker 1971)."""
    summed = total + value
    other = summed - total
    low += (total - (summed - other)) + (value - other)
    return summed, low


@njit(**LOOP)
def row_sums_by_gene(values, indices, indptr, rows, place, genes, sums, positive):
    """Add up values and their squares of each gene over some rows, to twice the usual digits.

    ``place`` has -1 for each gene on entry and on return. The genes that occur are written to
    ``genes``, and their sums to the columns of ``sums``: values, their rounding error, squares,
    theirs. ``positive`` counts values above zero. Returns how many genes occur. The sums depend on
    the order of rows, and on how rows are put into blocks, only far beyond the digits that are used
    of them.
    """
    n = 0
    for i in rows:
        for at in range(indptr[i], indptr[i + 1]):
            g = indices[at]
            to = place[g]
            if to < 0:
                to, place[g], genes[n] = n, n, g
                sums[n], positive[n] = 0.0, 0
                n += 1
            value = np.float64(values[at])
            sums[to, 0], sums[to, 1] = add_exactly(sums[to, 0], sums[to, 1], value)
            square = value * value
            # The upper half of the digits, whose products are exact (Veltkamp's splitting).
            upper = value * 134217729.0
            upper = upper - (upper - value)
            lower = value - upper
            rest = ((upper * upper - square) + 2.0 * upper * lower) + lower * lower
            sums[to, 2], sums[to, 3] = add_exactly(sums[to, 2], sums[to, 3] + rest, square)
            if value > 0:
                positive[to] += 1
    for at in range(n):
        place[genes[at]] = -1
    return n


@njit(**LOOP)
def add_gene_sums(genes, part, positive, sums, lows, squares, square_lows, n_positive):
    """Add what ``row_sums_by_gene`` found to the sums of all genes of a group."""
    for at in range(genes.shape[0]):
        g = genes[at]
        summed, rest = add_exactly(sums[g], 0.0, part[at, 0])
        sums[g] = summed
        lows[g] += rest + part[at, 1]
        summed, rest = add_exactly(squares[g], 0.0, part[at, 2])
        squares[g] = summed
        square_lows[g] += rest + part[at, 3]
        n_positive[g] += positive[at]


@njit(**LOOP)
def add_gram(values, indices, indptr, weights, out):
    """``out[g, h] += sum_i w_i x[i, g] x[i, h]`` for ``g <= h``; indices are sorted.

    Goes through all rows for some ``g`` at a time, so that their part of ``out`` stays in the
    processor's cache: that takes half the time.
    """
    n = weights.shape[0]
    reached = indptr[:n].copy()
    width = max(1, CACHED // (8 * max(1, out.shape[1])))
    for begin in range(0, out.shape[0], width):
        end = begin + width
        for i in range(n):
            stop = indptr[i + 1]
            at = reached[i]
            while at < stop and indices[at] < end:
                row = out[indices[at]]
                value = weights[i] * values[at]
                for other in range(at, stop):
                    row[indices[other]] += value * values[other]
                at += 1
            reached[i] = at


@njit(**LOOP)
def row_ranges(values, indptr, n_columns, smallest, largest, total, negative, above, broken):
    """Look at the values of each row, zeros that are not stored included.

    ``negative``, ``above`` and ``broken`` count values below zero, values above zero, and those of
    the latter that are not whole.
    """
    for i in range(total.shape[0]):
        least, most, added = np.inf, -np.inf, 0.0
        if indptr[i + 1] - indptr[i] < n_columns:
            least, most = 0.0, 0.0
        for at in range(indptr[i], indptr[i + 1]):
            value = np.float64(values[at])
            least, most = min(least, value), max(most, value)
            added += value
            if value < 0:
                negative[i] += 1
            elif value > 0:
                above[i] += 1
                if value != np.floor(value):
                    broken[i] += 1
        smallest[i], largest[i], total[i] = least, most, added


own_files(globals().values())
