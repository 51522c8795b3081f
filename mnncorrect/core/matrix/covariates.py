r"""Effects of covariates, taken out of expression by least squares.

With :math:`x_c` the expression of cell :math:`c` in batch :math:`b`, :math:`d_c` its covariates and
:math:`\bar d` their mean over all cells, the model is

.. math:: x_c = \mu_b + B^T (d_c - \bar d) + \varepsilon_c,

fitted by ordinary least squares. Each batch has an intercept of its own, so coefficients :math:`B`
come from differences within batches only, and the batch effect stays for the correction. The values
without covariates are :math:`x_c - B^T (d_c - \bar d)`: each gene keeps its mean over all cells.
Where covariates do not determine the coefficients, these are the shortest ones in units of the
standard deviation within batches, so a covariate without variation in any batch has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import resolve_n_jobs, row_blocks, single_blas, sum_blocks

from .gram import block_rows
from .rows import Matrix, Rows, RowSource, as_rows

# Share of the variation of a covariate that lies within batches, below which that is rounding; and
# the same of a direction of several.
LEAST_WITHIN = 1e-12
LEAST_DIRECTION = 1e-9


@dataclass(frozen=True)
class Regression:
    """Effects of covariates on the values of genes."""

    center: NDArray[np.float64]  # Mean of each covariate, which is subtracted from it.
    coefficients: NDArray[np.float64]  # Change of a gene per unit, covariates x genes.

    def effects(
        self, design: NDArray[np.float64], genes: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Compute the effects on the values of some cells and genes, given their covariates."""
        some = self.coefficients if genes is None else self.coefficients[:, genes]
        return (design - self.center) @ some


def within_batches(
    design: NDArray[np.float64], batch: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Subtract the mean of its batch from the covariates of each cell; 0 in batch -1."""
    cells = batch >= 0
    sizes = np.bincount(batch[cells])
    within = np.zeros_like(design)
    for column in range(design.shape[1]):
        values = design[cells, column]
        means = np.bincount(batch[cells], values, len(sizes)) / np.maximum(sizes, 1)
        within[cells, column] = values - means[batch[cells]]
    return within


def regress(
    x: Matrix | RowSource,
    design: NDArray[np.float64],
    batch: NDArray[np.integer[Any]],
    *,
    genes: NDArray[np.bool_] | None = None,
    n_jobs: int | None = None,
) -> Regression:
    """Fit the effects of covariates (cells x covariates) by one pass over the cells.

    Cells of batch -1 do not count. Genes outside ``genes`` get no effects.
    """
    batch = np.asarray(batch)
    center = design[batch >= 0].mean(0)
    within = within_batches(design, batch)
    spread = np.sqrt((within**2).sum(0))
    whole = np.sqrt(((design[batch >= 0] - center) ** 2).sum(0))
    varies = spread**2 > LEAST_WITHIN * whole**2
    spread[~varies] = 1.0
    within = np.where(varies, within / spread, 0.0)
    rows = Rows(as_rows(x), None, None if genes is None else np.flatnonzero(genes))

    def share(some: Rows, block: slice, along: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(along.T @ some.stored(block))

    blocks = row_blocks(rows.shape[0], block_rows(rows.shape[1]))
    products = sum_blocks(
        *rows.each(share, blocks, within), n_jobs=resolve_n_jobs(n_jobs), pure=rows.shared
    )
    coefficients = np.zeros((design.shape[1], rows.x.shape[1]))
    with single_blas():
        squares, directions = np.linalg.eigh(within.T @ within)
        there = squares > LEAST_DIRECTION
        inverse = (directions[:, there] / squares[there]) @ directions[:, there].T
        found = (inverse @ products) / spread[:, None]
    coefficients[:, slice(None) if rows.genes is None else rows.genes] = found
    return Regression(center, coefficients)


def without_covariates(
    x: Matrix | RowSource, design: NDArray[np.float64], regression: Regression
) -> RowSource:
    """Return the rows of a matrix without the effects of covariates; dense, made when asked for."""
    rows = as_rows(x)

    def of_genes(
        block: slice, genes: NDArray[np.int64] | None, own: NDArray[np.float64]
    ) -> NDArray[Any]:
        values = Rows(rows, None, genes)[block]
        values -= regression.effects(own, genes)
        return values.astype(rows.dtype)

    def read(block: slice, own: NDArray[np.float64]) -> NDArray[Any]:
        return of_genes(block, None, own)

    shared = isinstance(rows, RowSource) and rows.shared
    return RowSource(read, rows.shape, rows.dtype, shared, of_genes, design)
