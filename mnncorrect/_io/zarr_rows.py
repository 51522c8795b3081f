"""Matrices written into zarr by rows, many rows at once.

Chunks of an array are files of their own, so several threads or processes write at once if no two
write to the same chunk. A sparse matrix is cut into ranges of entries that end with a chunk; for
each range, the rows that reach into it are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import each_block, map_blocks, row_blocks

# Entries of a sparse matrix, and bytes of a dense one, in a chunk.
ENTRY_CHUNK, DENSE_CHUNK_BYTES = 1 << 19, 1 << 21


@dataclass(frozen=True)
class RowsToWrite:
    """A matrix whose rows are made block by block."""

    # Gives the rows of a slice, dense or CSR, given the numbers of `along` of these cells.
    read: Callable[[slice, Any], Any]
    shape: tuple[int, int]
    dtype: Any
    shared: bool  # Whether other processes can make them.
    sparse: bool
    indptr: NDArray[np.int64] | None = None  # Pointers of a sparse matrix, if they are known.
    along: Callable[[slice], Any] | None = None  # Numbers of some cells that `read` needs.
    # What is made of each block besides; the results are yielded in the order of the rows.
    also: Callable[[Any], Any] | None = None

    def along_of(self, rows: slice) -> Any:
        """Return the numbers that `read` needs."""
        return None if self.along is None else self.along(rows)


class UnlikePointersError(ValueError):
    """Rows have another number of entries than their pointers say, as duplicates were added up."""


def all_chunks() -> contextlib.AbstractContextManager[Any]:
    """Have zarr 3 store chunks of zeros too, as its version 2 does.

    A chunk that is left out cannot be distinguished from one that is lost.
    """
    import zarr

    if zarr.__version__.startswith("2."):
        return contextlib.nullcontext()
    return zarr.config.set({"array.write_empty_chunks": True})


def new_array(group: Any, name: str, shape: tuple[int, ...], dtype: Any, chunks: Any) -> Any:
    """Make an array of zarr as anndata stores one."""
    make = group.create_array if hasattr(group, "create_array") else group.create_dataset
    with all_chunks():  # an array remembers it, also in other processes
        made = make(name, shape=shape, dtype=np.dtype(dtype), chunks=chunks)
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return made


def write_rows(
    parent: Any, name: str, rows: RowsToWrite, *, block_bytes: int, n_jobs: int
) -> Iterator[Any]:
    """Write a matrix as an element of a group of zarr, as anndata stores it.

    Yields what is made of each block besides; nothing is complete before all is taken.
    """
    if not rows.sparse:
        yield from _write_dense(parent, name, rows, block_bytes, n_jobs)
        return
    indptr = _counted(rows, block_bytes, n_jobs) if rows.indptr is None else rows.indptr
    group = parent.create_group(name)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = [int(n) for n in rows.shape]
    stored = int(indptr[-1])
    chunk = (max(1, min(ENTRY_CHUNK, stored)),)
    small = stored <= np.iinfo(np.int32).max
    pointers = new_array(
        group, "indptr", indptr.shape, np.int32 if small else np.int64,
        (min(len(indptr), ENTRY_CHUNK),),
    )  # fmt: skip
    pointers[...] = indptr.astype(pointers.dtype)
    data = new_array(group, "data", (stored,), rows.dtype, chunk)
    indices = new_array(group, "indices", (stored,), np.int32, chunk)
    each = max(1, block_bytes // (8 * chunk[0])) * chunk[0]
    read, also = rows.read, rows.also

    def write(item: tuple[slice, int, NDArray[np.int64], slice, slice, Any]) -> Any:
        some, own, pointers, entries, within, along = item
        block = sp.csr_matrix(read(some, along))
        if not np.array_equal(block.indptr, pointers):
            raise UnlikePointersError
        if entries.stop > entries.start:
            data[entries] = block.data[within]
            indices[entries] = block.indices[within]
        return None if also is None else also(block[own:])

    items = []
    for entries in row_blocks(stored, each) or [slice(0, 0)]:
        first = max(0, int(np.searchsorted(indptr, entries.start, side="right")) - 1)
        own = int(np.searchsorted(indptr[:-1], entries.start, side="left"))
        # Rows without entries where a range begins belong to it too.
        first = min(first, own)
        last = entries.stop == stored
        stop = rows.shape[0] if last else int(np.searchsorted(indptr, entries.stop, side="left"))
        some = slice(first, stop)
        at = indptr[first : stop + 1] - indptr[first]
        shift = int(indptr[first])
        within = slice(entries.start - shift, entries.stop - shift)
        items.append((some, own - first, at, entries, within, rows.along_of(some)))
    yield from each_block(write, items, n_jobs=n_jobs, pure=rows.shared)


def _counted(rows: RowsToWrite, block_bytes: int, n_jobs: int) -> NDArray[np.int64]:
    """Count the entries of each row."""
    read = rows.read

    def count(item: tuple[slice, Any]) -> NDArray[np.int64]:
        return np.diff(sp.csr_matrix(read(*item)).indptr).astype(np.int64)

    # Rows of an unknown number of entries: as if one in twenty were there.
    size = max(1, block_bytes // max(1, 8 * rows.shape[1] // 20))
    blocks = [(block, rows.along_of(block)) for block in row_blocks(rows.shape[0], size)]
    counts = map_blocks(count, blocks, n_jobs=n_jobs, pure=rows.shared)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])


def _write_dense(
    parent: Any, name: str, rows: RowsToWrite, block_bytes: int, n_jobs: int
) -> Iterator[Any]:
    n_rows, n_columns = rows.shape
    width = max(1, n_columns * np.dtype(rows.dtype).itemsize)
    high = max(1, min(n_rows, DENSE_CHUNK_BYTES // width))
    array = new_array(parent, name, rows.shape, rows.dtype, (high, n_columns))
    read, also = rows.read, rows.also

    def write(item: tuple[slice, Any]) -> Any:
        block, along = item
        values = read(block, along)
        array[block] = values
        return None if also is None else also(values)

    blocks = row_blocks(n_rows, max(1, block_bytes // (high * width)) * high)
    items = [(block, rows.along_of(block)) for block in blocks]
    yield from each_block(write, items, n_jobs=n_jobs, pure=rows.shared)
