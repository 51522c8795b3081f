"""How many leading dimensions of an embedding stand out from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# An embedding of no more dimensions than this is taken whole.
FEW_DIMENSIONS = 10
# Rare populations rarely decide where the elbow is: some dimensions more leave them visible.
LEAST_DIMENSIONS = 5


def leading_dimensions(variance: NDArray[Any]) -> int:
    """Find the elbow of a scree plot, by its profile likelihood.

    Parameters
    ----------
    variance
        Variance of each dimension, in their order.

    Returns
    -------
    How many dimensions come before the elbow, at least 5. All of them if there are no more than
    10, or if there is no elbow: where BIC prefers one level of variance to two, as in a latent
    space whose dimensions have no order.

    Notes
    -----
    Logarithms of the variances are modelled as normal about one level before the elbow and about
    another after it, with one spread. The elbow is where the likelihood is highest. Logarithms
    make it independent of the scale, and of a first dimension that dwarfs all others.

    References
    ----------
    Zhu & Ghodsi 2006, doi:10.1016/j.csda.2005.09.010.

    Examples
    --------
    >>> leading_dimensions(np.array([9, 8, 8, 7, 7, 7, *[0.5] * 6, *[0.4] * 6]))
    6
    >>> leading_dimensions(np.linspace(1, 1.1, 20))
    20
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


def _level_spread(levels: NDArray[np.float64]) -> float:
    return float(((levels - levels.mean()) ** 2).sum())
