"""What a correction cost, and how large the effect was that it removed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging import pair_kernels
from mnncorrect.core.runtime import kernels
from mnncorrect.core.runtime.threads import row_blocks, single_blas, sum_blocks

# Above this share, a merge took away more variance of a batch than a batch effect should be.
MUCH_LOST = 0.1
ROW_BLOCK = 16384
# Principal axes that span the plane which angles are measured to.
PLANE = 2


def variance_by_batch(
    x: NDArray[Any], batch: NDArray[np.integer[Any]], *, n_jobs: int = 1
) -> dict[int, float]:
    """Sum over dimensions of the variance of each batch's cells (denominator n - 1).

    NaN for a batch of one cell. Batches are numbers from 0 up.
    """
    sizes = np.bincount(batch)
    blocks = row_blocks(len(x), ROW_BLOCK)

    def total(block: slice) -> NDArray[np.float64]:
        out, counted = np.zeros((len(sizes), x.shape[1])), np.zeros_like(sizes)
        kernels.add_rows(x[block], batch[block], out, counted)
        return out

    def residual(block: slice) -> NDArray[np.float64]:
        out = np.zeros(len(sizes))
        pair_kernels.add_square_residuals(x[block], batch[block], means, out)
        return out

    totals = sum_blocks(total, blocks, n_jobs=n_jobs)
    means = totals / np.maximum(sizes, 1)[:, None]
    squares = sum_blocks(residual, blocks, n_jobs=n_jobs)
    return {
        int(number): float(squares[number] / (sizes[number] - 1)) if sizes[number] > 1 else np.nan
        for number in np.flatnonzero(sizes)
    }


def relative_batch_size(vectors: NDArray[Any]) -> float:
    """Divide the length of the mean of vectors by their root mean squared length."""
    squares = np.square(vectors, dtype=np.float64).sum(1).mean()
    mean = vectors.mean(0, dtype=np.float64)
    return float(np.linalg.norm(mean) / np.sqrt(squares)) if squares > 0 else 0.0


def angles_to_plane(
    vectors: NDArray[np.float64], reference: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Measure the angles of vectors to the plane of the first two principal axes of cells.

    In degrees; a vector of length 0 has NaN.

    Examples
    --------
    >>> flat = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 0.0]])
    >>> angles_to_plane(np.array([[3.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), flat).round(6)
    array([ 0., 45.])
    """
    centred = reference - reference.mean(axis=0)
    with single_blas():
        axes = np.linalg.svd(centred, full_matrices=False)[2][:PLANE]
        inside = vectors @ axes.T
        outside = vectors - inside @ axes
    along, across = np.linalg.norm(inside, axis=1), np.linalg.norm(outside, axis=1)
    angles: NDArray[np.float64] = np.degrees(np.arctan2(across, along))
    angles[np.hypot(along, across) == 0] = np.nan
    return angles
