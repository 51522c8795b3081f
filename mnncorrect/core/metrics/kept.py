"""How much of a difference within batches, such as that of a condition, a correction has kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Cells of a level in a batch from which on its mean says something.
LEAST_OF_LEVEL = 10
# A squared difference is clear from so many times its sampling error on: random halves of a batch
# differ by about the error.
CLEAR = 2.0
# A smaller share of a difference than this, or a larger one than its inverse, is warned of.
WELL_KEPT = 0.8


class KeptDifference(NamedTuple):
    """How much of the difference between a level and the rest of its batch has been kept."""

    batch: int
    level: int
    cells: int
    share: float  # 1: all of it; 0: none; below 0: it points the other way.


def well_kept(share: float) -> bool:
    """Tell whether a difference is about as large as before."""
    return WELL_KEPT <= share <= 1 / WELL_KEPT


def kept_differences(
    before: NDArray[Any],
    after: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    levels: NDArray[np.integer[Any]],
) -> list[KeptDifference]:
    """Compare differences between levels within batches before and after a correction.

    A level of a batch has an entry if it has :data:`LEAST_OF_LEVEL` cells, as many others beside
    them, and a clear difference from these (:data:`CLEAR`). The share is the difference of means
    after the correction, along what it was before. Cells of batch -1 are left out.
    """
    found = []
    for number in range(int(batch.max()) + 1):
        own = batch == number
        for level in np.unique(levels[own]).tolist():
            there, rest = own & (levels == level), own & (levels != level)
            if min(there.sum(), rest.sum()) < LEAST_OF_LEVEL:
                continue
            was, now = (
                x[there].mean(0, dtype=np.float64) - x[rest].mean(0, dtype=np.float64)
                for x in (before, after)
            )
            length = float(was @ was)
            if length > CLEAR * _error(before[there]) + CLEAR * _error(before[rest]):
                share = float(now @ was) / length
                found.append(KeptDifference(number, level, int(there.sum()), share))
    return found


def _error(cells: NDArray[Any]) -> float:
    """Estimate the squared error of the mean of some cells, over all dimensions."""
    return float(cells.var(0, ddof=1, dtype=np.float64).sum()) / len(cells)
