"""Rows of several matrices below each other, written as one matrix to a file.

A piece is some rows and columns of a matrix, which may be in memory or in a file. Pieces are read
and written by blocks of rows, so that memory holds a block of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from anndata.io import sparse_dataset
from numpy.typing import NDArray

from mnncorrect._adata.stored import (
    BLOCK_BYTES,
    dtype_of,
    element,
    is_stored,
    is_stored_sparse,
    n_stored,
    readable,
)
from mnncorrect._adata.stored_rows import row_reader
from mnncorrect._io.by_rows import csr_writer
from mnncorrect._io.hdf5_filters import refuse_packed
from mnncorrect._io.scratch import Scratch, scratch_when_needed
from mnncorrect.core.runtime.threads import row_blocks

if TYPE_CHECKING:
    import h5py

# What of a dense matrix is packed together: so many rows by so many columns.
DENSE_CHUNK = (64, 1024)
# Bytes of a number of a sparse matrix and its column.
SPARSE_ENTRY_BYTES = 8


@dataclass(frozen=True)
class Piece:
    """Some rows and columns of a matrix."""

    value: Any  # The matrix, in memory or in a file.
    where: str  # What to call it in an error.
    rows: NDArray[np.bool_] | None = None  # Which rows; ``None``: all.
    columns: NDArray[np.int64] | None = None  # Which columns, in which order; ``None``: all.

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are taken."""
        n_rows, n_columns = self.value.shape
        return (
            n_rows if self.rows is None else int(self.rows.sum()),
            n_columns if self.columns is None else len(self.columns),
        )

    @property
    def sparse(self) -> bool:
        """Whether the matrix is a sparse one."""
        return is_stored_sparse(self.value) or sp.issparse(self.value)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers as they are read."""
        dtype = dtype_of(self.value) if is_stored(self.value) else self.value.dtype
        if dtype.kind not in "fiub":
            raise TypeError(f"{self.where} holds {dtype}; real numbers are needed")
        return readable(dtype)


def write_pieces(
    pieces: Sequence[Piece], scratch: Scratch, *, block_bytes: int = BLOCK_BYTES, **how: Any
) -> Any:
    """Write pieces of equal width below each other as one matrix into ``scratch``.

    It is CSR if a piece is sparse, otherwise dense; :func:`joint_type` gives its type. About
    ``block_bytes`` are in memory at a time. ``how``: the compression.
    """
    shape = sum(piece.shape[0] for piece in pieces), pieces[0].shape[1]
    dtype = joint_type([piece.dtype for piece in pieces])
    file = scratch()
    group = file.create_group(f"joined{len(file)}")
    blocks = (
        block for piece in pieces for block in blocks_of(piece, scratch, block_bytes=block_bytes)
    )
    if any(piece.sparse for piece in pieces):
        with csr_writer(group, shape, dtype, **how) as append:
            for block in blocks:
                rows = sp.csr_matrix(block)
                if not rows.has_canonical_format:
                    rows.sum_duplicates()
                append(rows)
        return sparse_dataset(group)
    dense = new_dense(group, "dense", shape, dtype, **how)
    start = 0
    for block in blocks:
        dense[start : start + len(block)] = block
        start += len(block)
    return dense


def dense_chunk(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the chunks that a dense matrix is written in."""
    return tuple(max(1, min(most, size)) for most, size in zip(DENSE_CHUNK, shape, strict=True))


def new_dense(
    group: h5py.Group, name: str, shape: tuple[int, int], dtype: Any, **how: Any
) -> h5py.Dataset:
    """Make a dense matrix in HDF5, as anndata stores one; ``how``: the compression."""
    made = group.create_dataset(name, shape, np.dtype(dtype), chunks=dense_chunk(shape), **how)
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return made


def joint_type(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the type that numbers of several types are kept in."""
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    return np.result_type(*(floats or dtypes))


def blocks_of(piece: Piece, scratch: Scratch, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Any]:
    """Read the rows and columns of a piece, block by block; dense or CSR."""
    refuse_packed(element(piece.value))
    folder = Path(scratch().filename).parent
    n_rows = piece.value.shape[0]
    each = max(1, SPARSE_ENTRY_BYTES * n_stored(piece.value) // max(1, n_rows))
    # What must be turned first goes to a file of its own, which is gone when the piece is read.
    with scratch_when_needed(folder) as own:
        read = row_reader(piece.value, piece.where, scratch=own, block_bytes=block_bytes)
        for rows in row_blocks(n_rows, max(1, min(n_rows, block_bytes // each))):
            kept = None if piece.rows is None else piece.rows[rows]
            if kept is not None and not kept.any():
                continue
            block = read(rows)
            if kept is not None and not kept.all():
                block = block[np.flatnonzero(kept)]
            yield block if piece.columns is None else block[:, piece.columns]
