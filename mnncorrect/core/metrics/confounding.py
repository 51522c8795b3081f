"""Confounding of a covariate with the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confounding:
    """Confounding of a covariate with the batch."""

    # 0: independent of the batch; 1: fully confounded. For categories, Cramér's V. For numbers,
    # the square root of the share of their variance that lies between batches.
    strength: float
    # Whether it has one value within each batch. Then a correction cannot distinguish its effect
    # from the batch effect.
    fixed: bool
    # Whether, in addition, each value occurs in one batch only. Then it equals the batch.
    identical: bool


def of_categories(values: NDArray[np.integer], batches: NDArray[np.integer]) -> Confounding:
    """Compare categories with batches by Cramér's V; cells below 0 have no category.

    V is the square root of chi-squared over its largest possible value for tables of this shape
    (Cramér 1946, *Mathematical Methods of Statistics*).
    """
    table = _contingency(values, batches)
    total = table.sum()
    if total == 0 or min(table.shape) < 2:
        # With one category or one batch, nothing is confounded.
        return Confounding(0.0, fixed=False, identical=False)
    expected = table.sum(1, keepdims=True) * table.sum(0) / total
    chi_squared = float((np.square(table - expected) / expected).sum())
    strength = float(np.sqrt(min(1.0, chi_squared / (total * (min(table.shape) - 1)))))
    fixed = bool(((table > 0).sum(0) == 1).all())
    return Confounding(
        1.0 if fixed else strength,
        fixed=fixed,
        identical=fixed and bool(((table > 0).sum(1) == 1).all()),
    )


def of_numbers(values: NDArray[np.floating], batches: NDArray[np.integer]) -> Confounding:
    """Compare numbers with batches; values that are not finite are ignored."""
    known = np.isfinite(values)
    x = values[known].astype(np.float64)
    # In units of a power of two, squares neither overflow nor vanish.
    x = np.ldexp(x, -int(np.frexp(np.abs(x).max(initial=0.0))[1]))
    _, codes = np.unique(batches[known], return_inverse=True)
    sizes = np.bincount(codes)
    if len(sizes) < 2 or np.ptp(x) == 0:
        return Confounding(0.0, fixed=False, identical=False)
    means = np.bincount(codes, x) / sizes
    inside = float(np.square(x - means[codes]).sum())
    whole = float(np.square(x - x.mean()).sum())
    least, most = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(least, codes, x)
    np.maximum.at(most, codes, x)
    fixed = bool((least == most).all())
    strength = 1.0 if fixed else float(np.sqrt(max(0.0, 1 - inside / whole)))
    return Confounding(strength, fixed, identical=fixed and len(np.unique(least)) == len(sizes))


def _contingency(values: NDArray[np.integer], batches: NDArray[np.integer]) -> NDArray[np.float64]:
    """Count the cells of each category and batch that occur."""
    known = values >= 0
    _, rows = np.unique(values[known], return_inverse=True)
    _, columns = np.unique(batches[known], return_inverse=True)
    table = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1))
    np.add.at(table, (rows, columns), 1.0)
    return table
