"""Regression of batches, or of a given design, out of expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.matrix.normalize import sum_by_batch
from mnncorrect.core.matrix.rows import Matrix, Rows, as_rows
from mnncorrect.core.runtime.threads import (
    map_blocks,
    resolve_n_jobs,
    row_blocks,
    rows_per_block,
    single_blas,
    sum_blocks,
)

# A column of which less than this share is left beside the columns before it adds nothing.
RANK_TOLERANCE = 1e-7


def regress_batches(
    x: Matrix,
    batch: NDArray[np.integer[Any]],
    *,
    design: NDArray[Any] | None = None,
    keep: Sequence[int] = (),
    restrict: NDArray[np.bool_] | None = None,
    n_jobs: int | None = None,
) -> NDArray[Any]:
    """Subtract what a linear model explains from each gene; return residuals in the type of ``x``.

    ``design`` is cells x coefficients of full rank, by default one indicator for each batch; the
    effect of the columns ``keep`` stays. The model is fitted to the cells of ``restrict``, and all
    cells are corrected. As batchelor's ``regressBatches``, but ``restrict`` works with any number
    of batches.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    batch = np.asarray(batch)
    used = np.ones(len(batch), np.bool_) if restrict is None else np.asarray(restrict, np.bool_)
    rows = Rows(as_rows(x))
    blocks = row_blocks(rows.shape[0], rows_per_block(rows.shape[1]))
    if design is None:
        sizes = np.bincount(batch, used)
        _refuse_empty(sizes)
        total = sum_by_batch(rows.x, batch, used.astype(np.float64), n_jobs=n_jobs)
        coefficients = total / sizes[:, None]
    else:
        design = np.asarray(design, np.float64)
        _check_design(design, len(batch))
        solver = _solver(design, used)
        coefficients = sum_blocks(lambda at: solver[:, at] @ rows[at], blocks, n_jobs=n_jobs)
    coefficients[_kept_columns(len(coefficients), keep)] = 0
    out = np.empty(rows.shape, rows.dtype)

    def subtract(at: slice) -> None:
        effect = coefficients[batch[at]] if design is None else design[at] @ coefficients
        out[at] = rows[at] - effect

    map_blocks(subtract, blocks, n_jobs=n_jobs)
    return out


def _refuse_empty(sizes: NDArray[Any]) -> None:
    if not sizes.all():
        raise ValueError(
            f"restrict leaves no cells of batches number {np.flatnonzero(sizes == 0).tolist()}; "
            "every batch needs one to be fitted"
        )


def _check_design(design: NDArray[np.float64], n_cells: int) -> None:
    if design.ndim != 2 or len(design) != n_cells or not design.shape[1]:
        raise ValueError(
            f"design has shape {design.shape}; it must be ({n_cells}, number of coefficients)"
        )
    if not np.isfinite(design).all():
        raise ValueError(
            "design has values that are NaN or infinite; fill them in or leave these cells out"
        )


def _kept_columns(n_columns: int, keep: Sequence[int]) -> list[int]:
    unknown = [column for column in keep if not 0 <= column < n_columns]
    if unknown:
        raise ValueError(
            f"keep names columns {unknown} of the design; it has columns 0 to {n_columns - 1}"
        )
    return list(keep)


def _solver(design: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Make the matrix, coefficients x cells, that takes values to least-squares coefficients.

    Its columns of cells that are not used are 0.
    """
    from scipy.linalg import solve_triangular

    part = design[used]
    lengths = np.sqrt(np.square(part).sum(0))
    unit = part / np.where(lengths > 0, lengths, 1.0)
    with single_blas():
        q, r = np.linalg.qr(unit)
    left_over = np.abs(np.diag(r)) if len(part) >= design.shape[1] else np.zeros(1)
    if left_over.min() < RANK_TOLERANCE:
        raise ValueError(
            f"the design's {design.shape[1]} columns are not independent over the {len(part)} "
            "cells that the model is fitted to; leave out columns that others add up to, and let "
            "restrict keep cells of every batch"
        )
    solver = np.zeros(design.T.shape)
    with single_blas():
        solver[:, used] = solve_triangular(r, q.T) / lengths[:, None]
    return solver
