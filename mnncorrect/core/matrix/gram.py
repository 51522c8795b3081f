"""Sums over the cells of a matrix that principal components stand on, block by block.

Rows with few numbers are not made dense: their products are added to the sums one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import row_blocks, sum_blocks

if TYPE_CHECKING:
    from .rows import Rows

# Share of numbers that are not zero from which on a matrix product of dense blocks is quicker.
SPARSE_SHARE = 0.2
# Cells of a block, and of the sum of a thread where that is large.
ROW_BLOCK = 4096
GRAM_BLOCK = 1 << 15
# Such sums there are at most, as each has 8 bytes for each two genes: blocks of more cells. Workers
# send 32 MB for each sum of 2,000 genes.
MOST_SUMS = 16
# Genes that a block of so many cells is made for: 128 MB of float64. Of more, it has fewer cells.
BLOCK_GENES = 4000


def block_rows(n_genes: int, rows: int = ROW_BLOCK) -> int:
    """Return how many cells of so many genes make a dense block."""
    return rows if n_genes <= BLOCK_GENES else max(1, rows * BLOCK_GENES // n_genes)


def has_few_values(rows: Rows) -> bool:
    """Judge by the first rows whether a matrix has few numbers."""
    part: Any = rows.stored(slice(0, min(ROW_BLOCK, rows.shape[0])))
    if isinstance(part, np.ndarray):
        return False
    return bool(part.nnz < SPARSE_SHARE * part.shape[0] * part.shape[1])


def weighted_mean(rows: Rows, cells: NDArray[np.float64], n_jobs: int) -> NDArray[np.float64]:
    """Mean of each gene, with a weight for each cell."""
    few = has_few_values(rows)

    def share(some: Rows, block: slice, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        out: NDArray[np.float64] = weights @ (some.stored(block) if few else some[block])
        return out

    blocks = row_blocks(rows.shape[0], block_rows(rows.shape[1], ROW_BLOCK))
    total = sum_blocks(*rows.each(share, blocks, cells), n_jobs=n_jobs, pure=rows.shared)
    mean: NDArray[np.float64] = total / cells.sum()
    return mean


def gram(
    rows: Rows, cells: NDArray[np.float64], mean: NDArray[np.float64], n_jobs: int
) -> NDArray[np.float64]:
    """Multiply the centered genes with each other, with a weight for each cell (genes x genes)."""
    if has_few_values(rows):
        blocks = _blocks_to_sum(rows.shape[0], GRAM_BLOCK)
        upper = sum_blocks(*rows.each(_sparse_gram, blocks, cells), n_jobs=n_jobs, pure=rows.shared)
        product: NDArray[np.float64] = upper + np.triu(upper, 1).T
        product -= cells.sum() * np.outer(mean, mean)
        return product

    def dense(some: Rows, block: slice, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros((len(mean), len(mean)))
        for part in row_blocks(block.stop - block.start, ROW_BLOCK):
            here = slice(block.start + part.start, block.start + part.stop)
            z = np.sqrt(weights[part])[:, None] * (some[here] - mean)
            out += z.T @ z
        return out

    blocks = _blocks_to_sum(rows.shape[0], ROW_BLOCK)
    return sum_blocks(*rows.each(dense, blocks, cells), n_jobs=n_jobs, pure=rows.shared)


def _blocks_to_sum(n_rows: int, size: int) -> list[slice]:
    """Cut rows into blocks of ``size``, or of so many that there are not too many sums."""
    return row_blocks(n_rows, max(size, -(-n_rows // (MOST_SUMS * ROW_BLOCK)) * ROW_BLOCK))


def _sparse_gram(rows: Rows, block: slice, cells: NDArray[np.float64]) -> NDArray[np.float64]:
    from . import sparse_kernels

    out = np.zeros((rows.shape[1], rows.shape[1]))
    for part in row_blocks(block.stop - block.start, ROW_BLOCK):
        here = slice(block.start + part.start, block.start + part.stop)
        some: Any = rows.stored(here)
        weights = cells[part]
        sparse_kernels.add_gram(some.data, some.indices, some.indptr, weights, out)
    return out
