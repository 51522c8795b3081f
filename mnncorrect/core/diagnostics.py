"""What a correction cost, and how large the effect was that it removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def variance_by_batch(x: NDArray[Any], batch: NDArray[np.integer[Any]]) -> dict[int, float]:
    """Sum over dimensions of the variance of each batch's cells (denominator n - 1).

    NaN for a batch of one cell.
    """
    found = {}
    for number in np.unique(batch):
        cells = x[batch == number]
        centred = cells - cells.mean(0, dtype=np.float64)
        spare = len(cells) - 1
        found[int(number)] = float(np.square(centred).sum() / spare) if spare else np.nan
    return found


def relative_batch_size(vectors: NDArray[Any]) -> float:
    """Compare the mean of pair vectors with their typical length.

    Parameters
    ----------
    vectors
        Mean pair vectors, anchors x dimensions.

    Returns
    -------
    Length of the mean over the root of the mean squared length, 0..1: 1 if all agree, near 0 if
    they point everywhere; 0 if all are zero.
    """
    squares = np.square(vectors, dtype=np.float64).sum(1).mean()
    mean = vectors.mean(0, dtype=np.float64)
    return float(np.linalg.norm(mean) / np.sqrt(squares)) if squares > 0 else 0.0
