"""Rows of matrices that stay in a file, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.numbers import as_floats
from mnncorrect._adata.other_arrays import is_dask, lazy_reader
from mnncorrect._adata.stored import (
    BLOCK_BYTES,
    dtype_of,
    element,
    is_stored,
    is_stored_sparse,
    readable,
)

if TYPE_CHECKING:
    from mnncorrect.core.matrix.rows import RowSource

# A dense matrix whose chunks have more rows than this is written anew: every block of rows that
# is read would have them all unpacked.
TALL_CHUNK = 1 << 14


class WritesByRows(Protocol):
    """Writes a matrix anew that cannot be read by rows: CSC, or dense in tall chunks."""

    def by_rows(self, value: Any, block_bytes: int) -> Any:
        """Return the same matrix, stored by rows; ``block_bytes`` of it are in memory at a time."""


def lies_by_rows(value: Any) -> bool:
    """Return whether a stored matrix can be read by rows as it is."""
    if is_stored_sparse(value):
        return bool(value.format == "csr")
    return value.chunks is None or value.chunks[0] <= min(TALL_CHUNK, value.shape[0] - 1)


def stored_rows(
    value: Any, where: str, *, scratch: WritesByRows | None = None, block_bytes: int = BLOCK_BYTES
) -> RowSource:
    """Give the rows of a stored matrix, float32 or float64, dense or CSR.

    ``where`` names it in errors. A matrix that cannot be read by rows is first written by rows to
    ``scratch``, about ``block_bytes`` at a time; without ``scratch`` it is refused.
    """
    from mnncorrect.core.matrix.rows import RowSource

    dtype = as_floats(np.empty((0, 0), dtype_of(value)), where).dtype
    read = row_reader(value, where, scratch=scratch, block_bytes=block_bytes)
    shared = lies_by_rows(value)
    return RowSource(lambda block: as_floats(read(block), where), value.shape, dtype, shared)


def row_reader(
    value: Any, where: str, *, scratch: WritesByRows | None = None, block_bytes: int = BLOCK_BYTES
) -> Callable[[slice], Any]:
    """Give what reads rows of a matrix in memory or in a file: dense or CSR, of its own type.

    Parameters and errors as :func:`stored_rows`; float16, which sparse matrices cannot have in
    memory, is read as float32.
    """
    if is_dask(value):
        return lazy_reader(value)
    if not is_stored(value):
        rows: Any = value.tocsr() if hasattr(value, "tocsr") else np.asarray(value)
        return lambda block: rows[block]
    if is_stored_sparse(value):
        _refuse_inconsistent(element(value), value.shape[value.format != "csr"], where)
    if not lies_by_rows(value):
        if scratch is None:
            raise TypeError(f"{where} is stored by columns; load it into memory first")
        value = scratch.by_rows(value, block_bytes)
    store = element(value)
    reader = _CsrReader(store, value.shape[1]) if is_stored_sparse(value) else store.__getitem__
    return _StoredReader(store, where, reader)


@dataclass(frozen=True)
class _StoredReader:
    """Reads rows of a matrix in a file, with errors that name it."""

    store: Any  # The matrix in its file.
    where: str  # What to call it.
    reader: Callable[[slice], Any]  # Reads the rows.

    def __call__(self, block: slice) -> Any:
        try:
            return self.reader(block)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            store = self.store
            path = store.file.filename if hasattr(store, "file") else store.store_path
            raise OSError(
                f"{self.where} of {path} cannot be read; is it damaged? ({reason})"
            ) from error


def refuse_odd_arrays(group: Any, where: str) -> None:
    """Refuse a sparse matrix whose arrays are not of the types that such a matrix has."""
    for name in ("indices", "indptr", "data"):
        array = group.get(name)
        is_list = getattr(array, "ndim", 0) == 1
        if not is_list or (name != "data" and array.dtype.kind not in "iu"):
            problem = f"lacks {name}" if array is None else f"has an unfit {name}"
            raise ValueError(f"{where} {problem}, an array of a sparse matrix; is it damaged?")


def _refuse_inconsistent(group: Any, n_lines: int, where: str) -> None:
    """Refuse a sparse matrix whose arrays do not fit each other, before it is read."""
    refuse_odd_arrays(group, where)
    indptr = group["indptr"]
    stored = min(group["data"].shape[0], group["indices"].shape[0])
    fits = indptr.shape == (n_lines + 1,)
    if fits:
        pointers = indptr[...].astype(np.int64)
        fits = bool(pointers[0] == 0 and pointers[-1] <= stored and (np.diff(pointers) >= 0).all())
    if not fits:
        raise ValueError(
            f"{where} is no valid sparse matrix (its pointers lead out of it); is it damaged?"
        )


def index_of(indices: NDArray[Any], size: int) -> NDArray[np.int32]:
    """Return indices below ``size`` as they are used here; refuse others."""
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        raise ValueError(
            f"a sparse matrix has entries outside of it (indices {indices.min()} to "
            f"{indices.max()}, of {size}); is it damaged?"
        )
    return indices.astype(np.int32, copy=False)


class _CsrReader:
    """Reads rows of a CSR matrix in a file.

    Where the matrix is opened, all pointers are held. Other processes, which this object is sent
    to, read those of each block.
    """

    def __init__(self, group: Any, n_columns: int) -> None:
        self.n_columns = n_columns
        # Arrays of zarr are opened once: each opening reads their metadata.
        self.data, self.indices, self.indptr = (group[k] for k in ("data", "indices", "indptr"))
        self.n_rows = self.indptr.shape[0] - 1
        self.pointers: NDArray[np.int64] | None = self.indptr[...].astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pointers": None}

    def __call__(self, block: slice) -> sp.csr_matrix:
        start, stop, _ = block.indices(self.n_rows)
        if self.pointers is None:
            pointers = self.indptr[start : stop + 1].astype(np.int64)
        else:
            pointers = self.pointers[start : stop + 1]
        data, indices = self.data, self.indices
        part = slice(int(pointers[0]), int(pointers[-1]))
        columns = index_of(indices[part], self.n_columns)
        pointers = (pointers - pointers[0]).astype(np.int32)
        numbers = data[part].astype(readable(data.dtype), copy=False)
        return sp.csr_matrix((numbers, columns, pointers), shape=(stop - start, self.n_columns))
