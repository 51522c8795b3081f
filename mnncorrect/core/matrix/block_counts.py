"""Statistics and transformations of counts, block by block.

Each function takes a block of cells and returns its share of a sum, or the transformed block.
Shares are added in the order of the blocks. So blocks may come from memory or from a file, and any
engine may process them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from . import sparse_kernels

if TYPE_CHECKING:
    from .rows import Matrix


def cell_totals(block: Matrix) -> NDArray[Any]:
    """Sum of each cell, added in float64, in the float type of the block."""
    if not sp.issparse(block):
        totals = np.asarray(block).sum(1, dtype=np.float64)
    else:
        totals = np.empty(block.shape[0])
        sparse_kernels.row_sums(block.data, block.indptr, totals)
    cells: NDArray[Any] = totals.astype(block.dtype)
    return cells


def normalize(
    block: Matrix, totals: NDArray[Any] | None, target: float = 1.0, *, log1p: bool = True
) -> Any:
    """Scale counts of cells to a common total ``target``, and take log1p, with scanpy's arithmetic.

    ``block`` is not changed. Without ``totals``, cells are not scaled; a cell of zeros stays zero.
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


def unlogged(block: Matrix, base: float | None = None) -> Any:
    """Undo log1p to a base (default: natural logarithm); dense or CSR."""
    if base is not None and base != np.e:
        block = block * block.dtype.type(np.log(base))
    return np.expm1(block) if isinstance(block, np.ndarray) else block.expm1()


def rescale(
    block: Matrix, factors: NDArray[np.float64], base: float | None = None, to: float | None = None
) -> Any:
    """Multiply the counts behind log values by one factor for each cell.

    ``base`` and ``to`` are those of the logarithms before and after; ``None``: natural. ``block``
    is not changed. Cells with a factor of 1 keep their exact values.
    """
    values = block.copy()
    stored = values.data if sp.issparse(values) else values
    each = np.repeat(factors, np.diff(values.indptr)) if sp.issparse(values) else factors[:, None]
    scale = 1.0 if base is None else float(np.log(base))
    scale_to = scale if to is None else float(np.log(to))
    made = np.log1p(each * np.expm1(stored.astype(np.float64) * scale)) / scale_to
    stored[...] = made if scale != scale_to else np.where(each == 1, stored, made)
    return values


@dataclass(frozen=True)
class Moments:
    """Sums over the cells of each batch for every gene, for mean and variance.

    Each sum is stored as a number and its rounding error, so it has twice the usual digits.
    Therefore mean and variance are bit-identical for any division of cells into blocks.
    """

    sizes: NDArray[np.int64]  # Number of cells of each batch.
    sums: NDArray[np.float64]  # Sums of values, batches x genes.
    lows: NDArray[np.float64]  # Their rounding errors.
    squares: NDArray[np.float64]  # Sums of squares, batches x genes.
    square_lows: NDArray[np.float64]  # Their rounding errors.
    positive: NDArray[np.int32]  # Number of cells with a value above zero, batches x genes.

    def of_batches(self) -> Iterator[Moments]:
        """Yield the sums of one batch at a time, so that little is computed of all at once."""
        for b in range(len(self.sizes)):
            yield Moments(*(getattr(self, one.name)[b : b + 1] for one in fields(self)))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of every gene, batches x genes."""
        mean: NDArray[np.float64] = (self.sums + self.lows) / np.maximum(self.sizes, 1)[:, None]
        return mean

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of every gene, with denominator n - 1."""
        n = np.maximum(self.sizes, 1)[:, None].astype(np.float64)
        # n times the sum of squares minus the square of the sum; these are nearly equal.
        squares, square_lows = _sum(self.squares, self.square_lows)
        sums, lows = _sum(self.sums, self.lows)
        upper, lower = _product(squares, n)
        square, rest = _product(sums, sums)
        apart, left = _sum(upper, -square)
        apart = apart + (left + (lower + square_lows * n) - (rest + 2 * sums * lows))
        variance: NDArray[np.float64] = np.maximum(apart, 0) / n / np.maximum(n - 1, 1)
        return variance


def _sum(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums and their rounding errors (Dekker 1971)."""
    summed = one + other
    added = summed - one
    return summed, (one - (summed - added)) + (other - added)


def _product(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return products and their rounding errors (Dekker 1971)."""
    product = one * other
    uppers = []
    for x in (one, other):
        upper = x * 134217729.0
        uppers.append(upper - (upper - x))
    lowers = [x - upper for x, upper in zip((one, other), uppers, strict=True)]
    rest = uppers[0] * uppers[1] - product
    rest += uppers[0] * lowers[1] + lowers[0] * uppers[1]
    rest += lowers[0] * lowers[1]
    return product, rest


@dataclass(frozen=True)
class BlockMoments:
    """The sums of a block of cells, of the genes that occur in each batch.

    So many batches and genes take no more memory than the values of the block.
    """

    batches: NDArray[np.int64]  # Numbers of the batches that occur.
    sizes: NDArray[np.int64]  # Number of cells of each.
    starts: NDArray[np.int64]  # Where the genes of each begin below, and the end of the last.
    genes: NDArray[np.int32]
    sums: NDArray[np.float64]  # Of values and of squares, each with its rounding error.
    positive: NDArray[np.int32]  # Number of cells with a value above zero.

    def each(self) -> Iterator[tuple[int, slice]]:
        """Yield the number of each batch, and where its genes stand."""
        for at, batch in enumerate(self.batches):
            yield int(batch), slice(int(self.starts[at]), int(self.starts[at + 1]))


def no_moments(n_batches: int, n_genes: int) -> Moments:
    """Return sums of zero for all batches, for :func:`add_moments`."""
    sums, lows, squares, square_lows = (np.zeros((n_batches, n_genes)) for _ in range(4))
    positive = np.zeros((n_batches, n_genes), np.int32)
    return Moments(np.zeros(n_batches, np.int64), sums, lows, squares, square_lows, positive)


def moments(block: Matrix, batch: NDArray[np.integer[Any]]) -> BlockMoments:
    """Sum the values of every gene in each batch of a block."""
    rows: Any = block if sp.issparse(block) else sp.csr_matrix(block)
    order = np.argsort(batch, kind="stable")
    batches, sizes = np.unique(batch, return_counts=True)
    n_genes = rows.shape[1]
    place = np.full(n_genes, -1, np.int32)
    most = min(rows.nnz, len(batches) * n_genes)
    genes, positive = np.empty(most, np.int32), np.empty(most, np.int32)
    sums = np.empty((most, 4))
    starts = np.zeros(len(batches) + 1, np.int64)
    ends = np.cumsum(sizes)
    for at, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        own = order[end - size : end]
        rest = slice(int(starts[at]), None)
        starts[at + 1] = starts[at] + sparse_kernels.row_sums_by_gene(
            rows.data, rows.indices, rows.indptr, own, place,
            genes[rest], sums[rest], positive[rest],
        )  # fmt: skip
    n = int(starts[-1])
    return BlockMoments(batches.astype(np.int64), sizes, starts, genes[:n], sums[:n], positive[:n])


def add_moments(total: Moments, part: BlockMoments) -> None:
    """Add the sums of a block to the sums over all batches, in place."""
    for b, own in part.each():
        sparse_kernels.add_gene_sums(
            part.genes[own], part.sums[own], part.positive[own],
            total.sums[b], total.lows[b], total.squares[b], total.square_lows[b], total.positive[b],
        )  # fmt: skip
    total.sizes[part.batches] += part.sizes
