"""How many leading dimensions of an embedding stand out from the rest, and how many to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# An embedding of no more dimensions than this is taken whole.
FEW_DIMENSIONS = 10
# Rare populations rarely decide where the elbow is: some dimensions more leave them visible.
LEAST_DIMENSIONS = 5
# Of components that are to be chosen: so many are computed, and at least so many are kept. Others
# are kept if their variance is that many times the mean of the last ones.
MOST_COMPONENTS, LEAST_COMPONENTS, N_TAIL, ABOVE_TAIL = 50, 20, 10, 1.5


def leading_dimensions(variance: NDArray[Any]) -> int:
    """Return how many dimensions come before the elbow of a scree plot, at least 5.

    All of them if there are at most 10, or if there is no elbow: where BIC prefers one level of
    variance to two, as in a latent space whose dimensions have no order. Logarithms of the
    variances are modeled as normal about one level before the elbow and about another after it,
    with one spread; the elbow is where this likelihood is highest (Zhu & Ghodsi 2006,
    doi:10.1016/j.csda.2005.09.010).
    """
    n = len(variance)
    if n <= FEW_DIMENSIONS or not (variance > 0).all():
        return n
    levels = np.log(variance)
    # Sums of squares about the mean of the first q, and of the others.
    splits = range(1, n)
    within = np.array([_level_spread(levels[:q]) + _level_spread(levels[q:]) for q in splits])
    q = int(within.argmin()) + 1
    falls = levels[:q].mean() > levels[q:].mean()
    # Two levels have two parameters more: a second mean and the place of the elbow.
    tiny = np.finfo(np.float64).tiny
    gain = n * (np.log(max(_level_spread(levels), tiny)) - np.log(max(within[q - 1], tiny)))
    return max(q, LEAST_DIMENSIONS) if falls and gain > 2 * np.log(n) else n


def components_above_noise(variance: NDArray[Any], *, least: int = LEAST_COMPONENTS) -> int:
    """Count the components whose variance is more than :data:`ABOVE_TAIL` times that of the last.

    The variances are in decreasing order, and the mean of the last :data:`N_TAIL` counts as noise.
    At least ``least`` are kept, and all if there are at most :data:`LEAST_COMPONENTS`. On seven
    data sets with known cell types this keeps 20 to 27 of 50; docs/benchmarks compares numbers. The
    elbow of the scree plot is at 5 to 10 there, which is too early for rare populations.
    """
    if len(variance) <= LEAST_COMPONENTS:
        return len(variance)
    above = np.flatnonzero(variance > ABOVE_TAIL * variance[-N_TAIL:].mean())
    return max(least, int(above[-1]) + 1 if len(above) else 0)


def _level_spread(levels: NDArray[np.float64]) -> float:
    return float(((levels - levels.mean()) ** 2).sum())
