"""Cosine normalization, and rows of dense and sparse matrices in one form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.runtime import kernels
from mnncorrect.core.runtime.threads import map_blocks, row_blocks, rows_per_block

Values: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[Any] | sp.csr_matrix | sp.csc_matrix | sp.csr_array | sp.csc_array

# Cells shorter than this are divided by it instead: a zero cell stays zero (as the reference).
MIN_NORM = 1e-8
ROW_BLOCK = 4096
# Numbers of a matrix in memory that a thread takes at a time.
TAKEN_CELLS = 1 << 19


@dataclass(frozen=True)
class RowSource:
    """A matrix whose rows are made when they are asked for: read from a file, or computed."""

    # Gives a slice of rows, dense or CSR; called from several threads.
    read: Callable[..., Any]
    shape: tuple[int, int]  # Cells, and genes.
    dtype: Any  # Float type of the values.
    # Whether other processes can read it too, as its rows are read from a file.
    shared: bool = False
    # Gives some genes of a slice of rows, where that takes less than all of them.
    of_genes: Callable[..., Any] | None = None
    # Numbers of each cell, of which those of the slice are given to both as well. Other processes
    # get those of their own cells only.
    along: NDArray[Any] | None = None
    start: int = 0  # The row that the first of `along` belongs to.

    def __getitem__(self, block: slice) -> Any:
        return as_rows(self.read(block, *self._along(block)))

    def genes(self, block: slice, genes: NDArray[np.int64]) -> Any:
        """Return some genes of a slice of rows."""
        if self.of_genes is None:
            return self[block][:, genes]
        return as_rows(self.of_genes(block, genes, *self._along(block)))

    def _along(self, block: slice) -> tuple[Any, ...]:
        if self.along is None:
            return ()
        return (self.along[block.start - self.start : block.stop - self.start],)


def rows_of(x: Any, block: Any, genes: NDArray[np.int64] | None) -> Any:
    """Take rows of a matrix in the form of :func:`as_rows`, and some of its genes."""
    if genes is None:
        return x[block]
    if isinstance(x, RowSource):
        return x.genes(block, genes)
    return x[block][:, genes]


def as_rows(x: Matrix | RowSource) -> Any:
    """Bring a matrix into the form kernels take: C-ordered or CSR with sorted indices, float.

    A source of rows does so for each block that is taken of it.
    """
    if isinstance(x, RowSource):
        return x
    if not sp.issparse(x):
        x = np.asarray(x)
        return np.ascontiguousarray(
            x, x.dtype if x.dtype in (np.float32, np.float64) else np.float32
        )
    if x.format != "csr":
        x = x.tocsr()
    elif not x.has_sorted_indices:
        x = x.sorted_indices()
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def row_norms(
    x: Matrix | RowSource, mask: NDArray[np.bool_] | None = None, *, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Return the length of every cell over ``mask``, or refuse lengths beyond float64."""
    given: Any = as_rows(x)
    rows = Rows(given, None, None if mask is None else np.flatnonzero(mask))

    def measure(rows: Rows, block: slice, _: None) -> NDArray[np.float64]:
        part = rows_of(rows.x, block, rows.genes)
        some = np.empty(part.shape[0], np.float64)
        if isinstance(part, np.ndarray):
            kernels.dense_square_norms(np.ascontiguousarray(part), some)
        else:
            kernels.sparse_square_norms(part.data, part.indptr, some)
        return some

    stored = isinstance(given, RowSource)
    blocks = row_blocks(given.shape[0], ROW_BLOCK) if stored else _equal_blocks(*given.shape)
    measured = map_blocks(*rows.each(measure, blocks), n_jobs=n_jobs, pure=rows.shared)
    squares: NDArray[np.float64] = np.concatenate([np.empty(0), *measured])
    if not np.isfinite(squares).all():
        raise ValueError(
            "values are too large to be squared (above about 1e150), or not finite; scale them"
        )
    return np.sqrt(squares)


def _equal_blocks(n_rows: int, n_columns: int) -> list[slice]:
    size = rows_per_block(n_columns, n_rows=n_rows, cells=TAKEN_CELLS)
    return row_blocks(n_rows, min(ROW_BLOCK, size))


def cosine_normalize(x: Matrix, norms: NDArray[np.float64] | None = None) -> Any:
    """Divide every cell by its Euclidean length, or by the given ``norms``.

    Kind and float type stay; integers become float32. Cells shorter than 1e-8 are divided by 1e-8,
    so a cell of zeros stays zero.
    """
    scale = np.maximum(row_norms(x) if norms is None else norms, MIN_NORM)
    if sp.issparse(x):
        out = x.astype(x.dtype if x.dtype in (np.float32, np.float64) else np.float32, copy=True)
        rows = (
            out.indices
            if out.format == "csc"
            else np.repeat(np.arange(out.shape[0]), np.diff(out.indptr))
        )
        out.data = (out.data / scale[rows]).astype(out.dtype)
        return out
    return take_dense(x, np.arange(x.shape[0]), None, scale)


def take_dense(
    x: Matrix | RowSource,
    rows: NDArray[np.int64],
    mask: NDArray[np.bool_] | None,
    scale: NDArray[np.float64] | None,
    *,
    n_jobs: int = 1,
) -> NDArray[Any]:
    """Copy some cells and genes into a dense matrix, each cell divided by its ``scale``."""
    genes = None if mask is None else np.flatnonzero(mask)
    n_genes = x.shape[1] if genes is None else len(genes)
    dtype = x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    out = np.empty((len(rows), n_genes), dtype)

    def copy(place: tuple[Any, Callable[[], Any]]) -> None:
        block, take = place
        part = take()
        part = part if isinstance(part, np.ndarray) else part.toarray()
        out[block] = part if scale is None else part / scale[block][:, None]

    map_blocks(copy, _places(x, rows, genes), n_jobs=n_jobs)
    return out


def _places(
    x: Matrix | RowSource, rows: NDArray[np.int64], genes: NDArray[np.int64] | None
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield positions in ``rows``, and what takes the rows that stand there, of some genes."""
    if isinstance(x, RowSource):
        for block in row_blocks(x.shape[0], ROW_BLOCK):
            at = np.flatnonzero((rows >= block.start) & (rows < block.stop))
            if len(at):
                yield at, partial(_read_rows, x, block, rows[at] - block.start, genes)
        return
    values: Any = x.tocsr() if sp.issparse(x) and x.format != "csr" else x
    for block in _equal_blocks(len(rows), x.shape[1]):
        yield block, partial(rows_of, values, rows[block], genes)


def _read_rows(
    x: RowSource, block: slice, rows: NDArray[np.int64], genes: NDArray[np.int64] | None
) -> Any:
    return rows_of(x, block, genes)[rows]


@dataclass(frozen=True)
class Rows:
    """Blocks of rows of a matrix, dense and float64, cells scaled and genes chosen."""

    x: Any  # As :func:`as_rows` makes it.
    scale: NDArray[np.float64] | None = None  # What each cell is divided by; 1 if not given.
    genes: NDArray[np.int64] | None = None  # Columns taken; all if not given.
    start: int = 0  # The row that the first of `scale` belongs to.

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, and genes that are taken."""
        return self.x.shape[0], self.x.shape[1] if self.genes is None else len(self.genes)

    @property
    def dtype(self) -> Any:
        """Float type of the whole matrix."""
        return self.x.dtype

    @property
    def shared(self) -> bool:
        """Whether other processes can read it too."""
        return isinstance(self.x, RowSource) and self.x.shared

    def __getitem__(self, block: slice) -> NDArray[np.float64]:
        part = rows_of(self.x, block, self.genes)
        dense = part if isinstance(part, np.ndarray) else part.toarray()
        values: NDArray[np.float64] = dense.astype(np.float64)
        if self.scale is not None:
            values /= self._scale_of(block)[:, None]
        return values

    def _scale_of(self, block: slice) -> NDArray[np.float64]:
        assert self.scale is not None
        return self.scale[block.start - self.start : block.stop - self.start]

    def each(
        self,
        function: Callable[[Rows, slice, Any], Any],
        blocks: Sequence[slice],
        along: NDArray[Any] | None = None,
    ) -> tuple[Callable[[Any], Any], list[Any]]:
        """Return a function of blocks, and blocks, that hold no more of each cell than they need.

        ``function`` is given rows, a block of them, and that block of ``along``.
        """
        beside = self.x.along if isinstance(self.x, RowSource) else None
        bare_x = self.x if beside is None else replace(self.x, along=None)
        bare, scale = replace(self, x=bare_x, scale=None), self.scale

        def of_block(item: tuple[slice, Any, Any, Any]) -> Any:
            block, own, weights, numbers = item
            some = replace(bare, scale=own, start=block.start)
            if numbers is not None:
                some = replace(some, x=replace(some.x, along=numbers, start=block.start))
            return function(some, block, weights)

        def cut(values: NDArray[Any] | None, block: slice) -> NDArray[Any] | None:
            return None if values is None else values[block]

        return of_block, [
            (block, cut(scale, block), cut(along, block), cut(beside, block)) for block in blocks
        ]

    def stored(self, block: slice) -> Any:
        """Return the same sparse, with sorted indices, where the matrix is."""
        part = rows_of(self.x, block, self.genes)
        if isinstance(part, np.ndarray):
            return self[block]
        values = part.data.astype(np.float64)
        if self.scale is not None:
            values /= np.repeat(self._scale_of(block), np.diff(part.indptr))
        made = sp.csr_matrix((values, part.indices, part.indptr), shape=part.shape)
        made.sort_indices()
        return made
