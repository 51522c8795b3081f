"""Matrices written by rows: CSR by blocks, CSC turned, dense ones in chunks of few rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.io import sparse_dataset
from numpy.typing import NDArray

from mnncorrect._adata.stored import element, readable
from mnncorrect._adata.stored_rows import index_of
from mnncorrect._io.zarr_rows import ENTRY_CHUNK, new_array
from mnncorrect.core.runtime.threads import row_blocks

# Elements of a chunk that is written: HDF5 holds one of this size while it fills up.
CSR_CHUNK = 1 << 16
# Memory that an entry takes while it is transposed: row, column, value, range and order.
TURNED_BYTES = 48


def transposed(value: Any, target: h5py.Group, block_bytes: int) -> Any:
    """Write a CSC matrix as CSR, going twice over its entries.

    Rows are divided into ranges of as many entries as memory has room for. Entries are written
    to their ranges in a file, and each range is sorted.
    """
    source, (n_rows, n_columns) = element(value), value.shape
    indptr = source["indptr"][...].astype(np.int64)
    data, indices = source["data"], source["indices"]
    dtype = readable(data.dtype)
    size = max(1, 8 * block_bytes // TURNED_BYTES)
    parts = row_blocks(int(indptr[-1]), size)
    counts = np.zeros(n_rows, np.int64)
    for part in parts:
        counts += np.bincount(index_of(indices[part], n_rows), minlength=n_rows)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    ranges = _row_ranges(pointers, size)
    beside = target.file.create_group(f"{target.name}-entries")
    kinds = {"row": np.dtype(np.int32), "column": np.dtype(np.int32), "data": dtype}
    dealt = {
        name: beside.create_dataset(name, (int(indptr[-1]),), kind) for name, kind in kinds.items()
    }
    filled = pointers[[rows.start for rows in ranges]]
    range_of = np.repeat(np.arange(len(ranges)), [rows.stop - rows.start for rows in ranges])
    for part in parts:
        row = index_of(indices[part], n_rows)
        at = np.arange(part.start, part.stop)
        found = {
            "row": row,
            "column": (np.searchsorted(indptr, at, side="right") - 1).astype(np.int32),
            "data": data[part].astype(dtype, copy=False),
        }
        belongs = range_of[row]
        # Entries of one range stay in the order of columns.
        order = np.argsort(belongs, kind="stable")
        ends = np.cumsum(np.bincount(belongs, minlength=len(ranges)))
        for number in np.unique(belongs):
            taken = order[ends[number - 1] if number else 0 : ends[number]]
            place = slice(int(filled[number]), int(filled[number]) + len(taken))
            for name, dataset in dealt.items():
                dataset[place] = found[name][taken]
            filled[number] = place.stop
    with csr_writer(target, (n_rows, n_columns), dtype) as append:
        for rows in ranges:
            place = slice(int(pointers[rows.start]), int(pointers[rows.stop]))
            piece = dealt["data"][place], (dealt["row"][place] - rows.start, dealt["column"][place])
            height = rows.stop - rows.start
            append(sp.coo_matrix(piece, shape=(height, n_columns)).tocsr())
    del target.file[beside.name]
    return sparse_dataset(target)


def _row_ranges(pointers: NDArray[np.int64], size: int) -> list[slice]:
    """Divide rows into ranges of up to ``size`` entries, but of one row at least."""
    ranges, start, n_rows = [], 0, len(pointers) - 1
    while start < n_rows:
        stop = int(np.searchsorted(pointers, pointers[start] + size, side="right")) - 1
        stop = min(n_rows, max(stop, start + 1))
        ranges.append(slice(start, stop))
        start = stop
    return ranges


def repacked(source: h5py.Dataset, group: h5py.Group, block_bytes: int) -> h5py.Dataset:
    """Write a dense matrix in chunks of few rows, reading each of its own chunks once."""
    n_rows, n_columns = source.shape
    high, wide = source.chunks
    few = max(1, min(n_rows, block_bytes // max(1, n_columns * source.dtype.itemsize)))
    target = group.create_dataset(
        "dense", source.shape, source.dtype, chunks=(few, wide), compression="lzf"
    )
    for across in row_blocks(n_columns, wide):
        for down in row_blocks(n_rows, high):
            target[down, across] = source[down, across]
    return target


@contextlib.contextmanager
def csr_writer(
    group: Any, shape: tuple[int, int], dtype: Any, **how: Any
) -> Iterator[Callable[[sp.csr_matrix], None]]:
    """Write a CSR matrix into an empty group by blocks of rows, as anndata stores it.

    Yields a function that takes the rows of each block, in their order. ``group``: of HDF5, where
    ``how`` is the compression; or of zarr.
    """
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = [int(n) for n in shape]
    in_zarr = not isinstance(group, h5py.Group)

    def growing(name: str, kind: Any) -> Any:
        if in_zarr:
            return new_array(group, name, (0,), kind, (ENTRY_CHUNK,))
        return group.create_dataset(name, (0,), kind, chunks=(CSR_CHUNK,), maxshape=(None,), **how)

    data, indices = growing("data", dtype), growing("indices", np.dtype(np.int32))
    pointers = [np.zeros(1, np.int64)]

    def append(block: sp.csr_matrix) -> None:
        start = int(pointers[-1][-1])
        for array, values in ((data, block.data), (indices, block.indices)):
            array.resize((start + block.nnz,))
            array[start : start + block.nnz] = values
        pointers.append(block.indptr[1:].astype(np.int64) + start)

    yield append
    whole = np.concatenate(pointers)
    if whole[-1] <= np.iinfo(np.int32).max:
        whole = whole.astype(np.int32)
    if in_zarr:
        new_array(group, "indptr", whole.shape, whole.dtype, whole.shape)[...] = whole
        return
    group.create_dataset("indptr", data=whole, **how)
    for dataset in group.values():
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
