"""A folder of zarr for values that memory should not hold, which other processes can use too.

It lies inside the output that is being written. What becomes part of the output is moved there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from anndata.io import sparse_dataset
from numpy.typing import NDArray

from mnncorrect._adata.stored import element, is_stored_sparse
from mnncorrect._adata.stored_rows import lies_by_rows, row_reader
from mnncorrect._io.pieces import Piece, joint_type
from mnncorrect._io.zarr_rows import RowsToWrite, UnlikePointersError, write_rows

if TYPE_CHECKING:
    from mnncorrect._io.scratch import Scratch

SCRATCH = ".mnncorrect-scratch"


@dataclass(frozen=True)
class ZarrScratch:
    """Where matrices are written by rows, at once by all processes there are."""

    folder: Path  # The folder of the output.
    scratch: Scratch  # For matrices that have to be turned first.
    block_bytes: int
    n_jobs: int
    _made: list[Any] = field(default_factory=list)
    _joined: list[str] = field(default_factory=list)

    def group(self) -> Any:
        """Return the group that matrices are written to."""
        if not self._made:
            self._made.append(open_zarr(self.folder / SCRATCH, "a"))
        return self._made[0]

    def __call__(self, pieces: Sequence[Piece], /) -> Any:
        """Write pieces of equal width below each other, and return what was written."""
        name = f"joined{len(self._joined)}"
        self._joined.append(name)
        for _ in self.write(name, rows_to_write(pieces, self)):
            pass
        return stored_in(self.group()[name])

    def write(self, name: str, rows: RowsToWrite) -> Iterator[Any]:
        """Write a matrix, and yield what is made of its blocks besides."""
        how: Any = {"block_bytes": self.block_bytes, "n_jobs": self.n_jobs}
        return write_rows(self.group(), name, rows, **how)

    def drop(self, name: str) -> None:
        """Remove a matrix, if it was written."""
        if name in self.group():
            del self.group()[name]

    def get(self, name: str) -> Any:
        """Return a matrix that was written."""
        return stored_in(self.group()[name])


def open_zarr(path: Path, mode: Any) -> Any:
    """Open or make a folder of zarr, in the format that anndata writes."""
    try:
        import zarr
    except ImportError:
        raise ValueError(
            f"{path.name} is zarr data, and zarr is not installed; pip install zarr"
        ) from None
    how: Any = {} if zarr.__version__.startswith("2.") else {"zarr_format": 2}
    return zarr.open_group(str(path), mode=mode, **how)


def stored_in(value: Any) -> Any:
    """Return an element of zarr as objects hold it."""
    return value if hasattr(value, "dtype") else sparse_dataset(value)


def rows_to_write(pieces: Sequence[Piece], store: ZarrScratch) -> RowsToWrite:
    """Return the rows of pieces below each other."""
    dtype = joint_type([piece.dtype for piece in pieces])
    sparse = any(piece.sparse for piece in pieces)
    parts: list[_PartRows] = []
    start, shared = 0, True
    for piece in pieces:
        how: Any = {"scratch": store.scratch, "block_bytes": store.block_bytes}
        read = row_reader(piece.value, piece.where, **how)
        shared &= hasattr(read, "store") and lies_by_rows(piece.value)
        at = None if piece.rows is None or piece.rows.all() else np.flatnonzero(piece.rows)
        stop = start + piece.shape[0]
        parts.append(_PartRows(slice(start, stop), read, at, piece.columns))
        start = stop
    indptr = None
    if len(pieces) == 1 and parts[0].at is None and parts[0].columns is None and shared:
        indptr = pointers_of(pieces[0].value)
    shape = (start, pieces[0].shape[1])
    joined = partial(_read_joined, parts, dtype, sparse=sparse)
    return RowsToWrite(joined, shape, dtype, shared, sparse, indptr)


def pointers_of(value: Any) -> NDArray[np.int64] | None:
    """Return the pointers of a CSR matrix in a file; ``None``: it is none."""
    if not (is_stored_sparse(value) and value.format == "csr"):
        return None
    return element(value)["indptr"][...].astype(np.int64)


def copy_into(group: Any, name: str, value: Any, store: ZarrScratch, where: str) -> None:
    """Write a matrix that lies in a file by rows as an element of a group of zarr."""
    how: Any = {"block_bytes": store.block_bytes, "n_jobs": store.n_jobs}
    rows = rows_to_write([Piece(value, where)], store)
    try:
        for _ in write_rows(group, name, rows, **how):
            pass
    except UnlikePointersError:
        del group[name]
        for _ in write_rows(group, name, replace(rows, indptr=None), **how):
            pass


@dataclass(frozen=True)
class _PartRows:
    """Rows of one piece among those of all."""

    rows: slice  # Which rows of all these are.
    read: Callable[[slice], Any]
    at: NDArray[np.int64] | None  # Which rows of the piece; ``None``: all.
    columns: NDArray[np.int64] | None


def _read_joined(
    parts: Sequence[_PartRows], dtype: Any, rows: slice, _: Any, *, sparse: bool
) -> Any:
    """Read rows of pieces below each other."""
    blocks: list[Any] = []
    for part in parts:
        start, stop = max(rows.start, part.rows.start), min(rows.stop, part.rows.stop)
        if start >= stop:
            continue
        start, stop = start - part.rows.start, stop - part.rows.start
        if part.at is None:
            block = part.read(slice(start, stop))
        else:
            wanted = part.at[start:stop]
            block = part.read(slice(int(wanted[0]), int(wanted[-1]) + 1))[wanted - wanted[0]]
        block = block if part.columns is None else block[:, part.columns]
        blocks.append(sp.csr_matrix(block) if sparse else block)
    if not sparse:
        return np.concatenate(blocks).astype(dtype, copy=False)
    whole = blocks[0] if len(blocks) == 1 else sp.vstack(blocks, format="csr")
    if not whole.has_canonical_format:
        whole.sum_duplicates()
    return whole.astype(dtype, copy=False)
