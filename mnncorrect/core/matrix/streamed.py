"""Counts, block by block: what is read off a block of rows, and what is made of it.

Every function takes a block of cells and returns its share of a sum, or the block changed; shares
are put together in the order of the blocks. So blocks may come from a matrix in memory or from a
file, and be worked on by whatever engine deals them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from . import sparse_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rows import Matrix

# Values looked at together, so that no large array of truth values is made.
LOOKED_AT = 1 << 20


@dataclass(frozen=True)
class Range:
    """What values are like.

    Attributes
    ----------
    smallest, largest
        Of all values, those of a sparse matrix that are not stored included.
    n_negative
        How many are below zero.
    whole
        Whether all that are not negative are whole numbers.
    """

    smallest: float = np.inf
    largest: float = -np.inf
    n_negative: int = 0
    whole: bool = True

    def __add__(self, other: Range) -> Range:
        return Range(
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
            self.n_negative + other.n_negative,
            self.whole and other.whole,
        )

    @property
    def are_counts(self) -> bool:
        """Whether they look like counts: whole numbers, some above one."""
        return self.whole and self.largest > 1


def value_range(block: Matrix) -> Range:
    """Look at the values of a block."""
    stored: NDArray[Any] = block.data if sp.issparse(block) else np.ravel(block)
    found = Range()
    if stored.size < block.shape[0] * block.shape[1]:
        found = Range(0.0, 0.0)
    for start in range(0, stored.size, LOOKED_AT):
        part = stored[start : start + LOOKED_AT]
        negative = part < 0
        n_negative = int(negative.sum())
        whole = part == np.rint(part)
        found += Range(
            float(part.min()),
            float(part.max()),
            n_negative,
            bool((whole | negative).all() if n_negative else whole.all()),
        )
    return found


def cell_totals(block: Matrix) -> NDArray[Any]:
    """Sum of each cell, in the float type of the block; added in float64."""
    if not sp.issparse(block):
        totals = np.asarray(block).sum(1, dtype=np.float64)
    else:
        totals = np.empty(block.shape[0])
        sparse_kernels.row_sums(block.data, block.indptr, totals)
    cells: NDArray[Any] = totals.astype(block.dtype)
    return cells


def normalise(
    block: Matrix, totals: NDArray[Any] | None, target: float = 1.0, *, log1p: bool = True
) -> Any:
    """Scale cells to a common total, and take the logarithm of one plus the value.

    Parameters
    ----------
    block
        Counts, cells x genes, float; dense or CSR. It is not changed.
    totals
        Of the cells of the block; ``None``: cells are not scaled.
    target
        The total that each cell gets; a cell of zeros stays so.
    log1p
        Whether the logarithm is taken.

    Returns
    -------
    The same kind of matrix in the same float type, by scanpy's arithmetic.
    """
    values = block.copy()
    stored = values.data if sp.issparse(values) else values
    if totals is not None:
        scale = totals / values.dtype.type(target)
        scale[scale == 0] = 1
        if sp.issparse(values):
            stored /= np.repeat(scale, np.diff(values.indptr))
        else:
            stored /= scale[:, None]
    if log1p:
        np.log1p(stored, out=stored)
    return values


@dataclass(frozen=True)
class Moments:
    """Mean and spread of every gene within batches.

    Attributes
    ----------
    batches
        Numbers of the batches that the rows below stand for.
    sizes
        Cells of each.
    mean
        Batches x genes.
    squares
        Sum of squared deviations from the mean, batches x genes.
    positive
        How many cells have a value above zero, batches x genes.
    """

    batches: NDArray[np.int64]
    sizes: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    positive: NDArray[np.int64]

    @property
    def variance(self) -> NDArray[np.float64]:
        """With denominator n - 1."""
        return self.squares / np.maximum(self.sizes - 1, 1)[:, None]


def no_moments(n_batches: int, n_genes: int) -> Moments:
    """Start the sums over all batches that :func:`add_moments` adds to."""
    shape = (n_batches, n_genes)
    return Moments(
        np.arange(n_batches),
        np.zeros(n_batches, np.int64),
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape, np.int64),
    )


def moments(block: Matrix, batch: NDArray[np.integer[Any]]) -> Moments:
    """Mean and spread of every gene in the batches that a block has cells of."""
    rows: Any = block if sp.issparse(block) else sp.csr_matrix(block)
    batches, group = np.unique(batch, return_inverse=True)
    sizes = np.bincount(group, minlength=len(batches))
    shape = (len(batches), rows.shape[1])
    mean, squares, positive = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
    sparse_kernels.group_moments(
        rows.data, rows.indices, rows.indptr, group, sizes, mean, squares, positive
    )
    return Moments(batches.astype(np.int64), sizes, mean, squares, positive)


def add_moments(total: Moments, part: Moments) -> None:
    """Add a block's share to the sums over all batches, in place (Chan, Golub & LeVeque 1983)."""
    for at, b in enumerate(part.batches):
        before, more = total.sizes[b], part.sizes[at]
        n = before + more
        apart = part.mean[at] - total.mean[b]
        total.squares[b] += part.squares[at] + apart**2 * (before * more / n)
        total.mean[b] += apart * (more / n)
        total.positive[b] += part.positive[at]
        total.sizes[b] = n
