"""Adjustments of corrections in gene space: variance along them, biology out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import map_blocks, row_blocks, rows_per_block, single_blas

from . import variance_kernels

if TYPE_CHECKING:
    from mnncorrect.core.runtime.threads import Progress

# Lengths and singular values below this share of the typical one are rounding, not signal.
NEGLIGIBLE_LENGTH = 1e-12


def quantile_scaling(
    left: NDArray[Any],
    right: NDArray[Any],
    corrections: NDArray[Any],
    sigma: float,
    *,
    restrict_left: NDArray[np.int64] | None = None,
    restrict_right: NDArray[np.int64] | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Find how much each cell's correction must be lengthened to keep the batch's spread.

    Along the direction of its correction, a cell has a quantile in its own batch (``right``) and
    one in the reference, both weighted by the distance of the other cells to the line through it,
    with bandwidth ``sigma``. The correction is lengthened until they agree; it is never shortened.
    The factor is 1 where there is no correction.

    Quantiles are not interpolated, so the last bits decide on a cell at the upper end of its batch
    where the kernel is narrow. Products are float64, which keeps float32 and float64 input
    together.
    """
    lengths = np.sqrt(np.einsum("cg,cg->c", corrections, corrections, dtype=np.float64))
    typical = np.sqrt(np.mean(lengths**2))
    lengths[lengths <= NEGLIGIBLE_LENGTH * typical] = 0.0
    chosen_right = np.arange(len(right)) if restrict_right is None else restrict_right
    others = [
        (left if restrict_left is None else left[restrict_left]).astype(np.float64),
        right[chosen_right].astype(np.float64),
    ]
    centre = others[0].mean(0)
    for other in others:
        other -= centre
    norms = [np.einsum("cg,cg->c", other, other) for other in others]
    positions = np.full(len(right), -1, np.int64)
    positions[chosen_right] = np.arange(len(chosen_right))
    scaling = np.ones(len(right))

    def scale(block: slice) -> None:
        x = right[block] - centre
        direction = corrections[block] / np.where(lengths[block] > 0, lengths[block], 1.0)[:, None]
        direction = direction.astype(np.float64, copy=False)
        variance_kernels.quantile_scaling(
            x @ others[0].T, direction @ others[0].T, norms[0],
            x @ others[1].T, direction @ others[1].T, norms[1],
            np.einsum("cg,cg->c", x, x), np.einsum("cg,cg->c", x, direction),
            positions[block], lengths[block], sigma, scaling[block],
        )  # fmt: skip

    size = rows_per_block(2 * (len(others[0]) + len(others[1])), n_rows=len(right))
    map_blocks(
        scale, row_blocks(len(right), size), n_jobs=n_jobs, progress=progress, stage="variance"
    )
    return scaling


def biological_span(
    cells: NDArray[Any], n_svd: int, genes: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Find up to ``n_svd`` leading directions of variation among cells (genes x directions).

    They are orthonormal over ``genes``; the others are projected onto them.
    """
    centred = cells.astype(np.float64) - cells.mean(0, dtype=np.float64)
    sought = centred if genes is None else centred[:, genes]
    with single_blas():
        scores, values, directions = np.linalg.svd(sought, full_matrices=False)
        # Centring leaves a direction without variance; the reference subtracts whatever it is.
        size = np.linalg.norm(cells if genes is None else cells[:, genes])
        n = min(n_svd, int((values > NEGLIGIBLE_LENGTH * size).sum()))
        if genes is None:
            return directions[:n].T
        span = np.empty((cells.shape[1], n))
        span[genes] = directions[:n].T
        span[~genes] = (centred[:, ~genes].T @ scores[:, :n]) / values[:n]
    return span


def remove_span(
    corrections: NDArray[Any],
    span: NDArray[np.float64],
    genes: NDArray[np.bool_] | None = None,
    *,
    n_jobs: int = 1,
) -> None:
    """Subtract from corrections, in place, what lies along ``span`` (measured over ``genes``)."""
    measured = span if genes is None else span[genes]

    def remove(block: slice) -> None:
        part = corrections[block] if genes is None else corrections[block][:, genes]
        corrections[block] -= (part @ measured) @ span.T

    blocks = row_blocks(len(corrections), rows_per_block(corrections.shape[1]))
    map_blocks(remove, blocks, n_jobs=n_jobs)
