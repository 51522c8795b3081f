"""Compiled loops over the stored values of sparse rows, and nothing else.

As in ``kernels``: serial, without the interpreter lock, sums in float64.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import find_place, own_files

find_place(njit, config)


@njit(nogil=True, cache=True)
def row_sums(values, indptr, out):
    """``out[i] = sum_g x[i, g]``."""
    for i in range(out.shape[0]):
        total = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            total += np.float64(values[at])
        out[i] = total


@njit(nogil=True, cache=True)
def group_moments(values, indices, indptr, group, sizes, mean, squares, positive):
    """Mean of each gene in groups of rows, and the sum of squared deviations from it.

    ``mean``, ``squares`` and ``positive`` are groups x genes and zero on entry. Deviations are
    summed once the mean is known, so that nothing cancels; the zeros that are not stored count.
    """
    n_groups, n_genes = mean.shape
    stored = np.zeros((n_groups, n_genes), np.int64)
    for i in range(group.shape[0]):
        b = group[i]
        for at in range(indptr[i], indptr[i + 1]):
            g = indices[at]
            value = np.float64(values[at])
            mean[b, g] += value
            stored[b, g] += 1
            if value > 0:
                positive[b, g] += 1
    for b in range(n_groups):
        for g in range(n_genes):
            mean[b, g] /= sizes[b]
            squares[b, g] = (sizes[b] - stored[b, g]) * mean[b, g] * mean[b, g]
    for i in range(group.shape[0]):
        b = group[i]
        for at in range(indptr[i], indptr[i + 1]):
            g = indices[at]
            deviation = np.float64(values[at]) - mean[b, g]
            squares[b, g] += deviation * deviation


@njit(nogil=True, cache=True)
def add_gram(values, indices, indptr, weights, out):
    """``out[g, h] += sum_i w_i x[i, g] x[i, h]`` for ``g <= h``; indices are sorted."""
    for i in range(weights.shape[0]):
        stop = indptr[i + 1]
        for at in range(indptr[i], stop):
            row = out[indices[at]]
            value = weights[i] * values[at]
            for other in range(at, stop):
                row[indices[other]] += value * values[other]


own_files(globals().values())
