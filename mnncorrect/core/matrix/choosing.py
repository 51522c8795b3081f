"""Choose between fits of a mixture: of those that are equally good, the most typical clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A criterion that exceeds the lowest one by no more than so many standard errors is as good.
STANDARD_ERRORS = 5.0


def as_good_as_best(criterion: NDArray[np.float64], by_cell: NDArray[np.float64]) -> list[int]:
    """List the fits whose criterion is not clearly above the lowest, in the order of criteria.

    Parameters
    ----------
    criterion
        Criterion of each fit; lower is better.
    by_cell
        Fits x cells: what each cell adds to the criterion. What is left is the penalty.

    Notes
    -----
    The standard error of a difference between two fits is that of a sum over cells: the standard
    deviation of the differences by cell, times the square root of the number of cells.

    References
    ----------
    Vuong 1989, doi:10.2307/1912557.
    """
    best = int(criterion.argmin())
    errors = np.sqrt(by_cell.shape[1]) * np.std(by_cell - by_cell[best], axis=1)
    good = criterion - criterion[best] <= STANDARD_ERRORS * errors
    return [int(at) for at in np.argsort(criterion, kind="stable") if good[at]]


def most_typical(labels: Sequence[NDArray[np.int64]]) -> tuple[int, float]:
    """Find the clusters that agree best with the others.

    Parameters
    ----------
    labels
        Cluster of each cell, one array a fit.

    Returns
    -------
    Its place, the first of several; and its mean adjusted Rand index with the others, 1 if there
    are none.
    """
    from sklearn.metrics import adjusted_rand_score

    n = len(labels)
    if n == 1:
        return 0, 1.0
    agreement = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            agreement[i, j] = agreement[j, i] = adjusted_rand_score(labels[i], labels[j])
    means = agreement.sum(axis=1) / (n - 1)
    place = int(means.argmax())
    return place, float(means[place])
