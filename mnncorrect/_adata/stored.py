"""Values that stay in a file: rows of them read as they are needed, in whatever form they have.

A stored value is an ``h5py.Dataset``, or a sparse matrix as ``anndata.io.sparse_dataset`` gives it;
an AnnData object may hold it in the place of an array. Matrices that cannot be read by rows (CSC,
or dense in chunks as high as the matrix) are written once, by rows, to a scratch file.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from mnncorrect._adata.values import as_floats, refuse_inconsistent
from mnncorrect.core.runtime.threads import row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import h5py
    from numpy.typing import NDArray

    from mnncorrect.core.matrix.rows import RowSource

    Scratch: TypeAlias = Callable[[], h5py.File]

# HDF5 tells of the system's errors by number, among much else.
ERRNO = re.compile(r"errno = (\d+)")
# Files of this process that HDF5 could not write: what it holds of them is not to be asked for.
UNWRITTEN: list[Path] = []
SCRATCH_SUFFIX = ".mnncorrect-scratch"
# What one block of rows takes at most, and what is transposed at a time, if nothing else is said.
BLOCK_BYTES = 1 << 25
# A dense matrix whose chunks have more rows than this is written anew: every block of rows that
# is read would have them all unpacked.
TALL_CHUNK = 1 << 14
# Elements of a chunk that is written: HDF5 holds one of this size while it fills up.
CHUNK = 1 << 16
# An array that says it is larger than this, in bytes, must take some of that in its file: so many
# times less at least (gzip packs to a thousandth at most).
HOLLOW, PACKED = 1 << 28, 5000
# Filters of HDF5 that hdf5plugin brings, by number.
FILTERS = {
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32024: "sz3",
    32026: "blosc2",
}
# Memory that an entry takes while it is transposed: row, column, value, range and order.
ENTRY_BYTES = 48


def is_sparse(value: Any) -> bool:
    """Return whether a value is a sparse matrix in a file."""
    from anndata.abc import CSCDataset, CSRDataset

    return isinstance(value, CSRDataset | CSCDataset)


def is_stored(value: Any) -> bool:
    """Return whether a value is in a file rather than in memory."""
    import h5py

    if isinstance(value, h5py.Dataset | h5py.Group) or is_sparse(value):
        return True
    # An array of a zarr folder, told without importing zarr where there is none.
    return type(value).__module__.partition(".")[0] == "zarr"


def element(value: Any) -> h5py.Dataset | h5py.Group:
    """Return what a stored value is in its file."""
    return value.group if is_sparse(value) else value


def dtype_of(value: Any) -> np.dtype[Any]:
    """Return the type of the numbers of a stored matrix."""
    dtype: np.dtype[Any] = element(value)["data"].dtype if is_sparse(value) else value.dtype
    return dtype


def readable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that numbers of a sparse matrix are read as.

    scipy has no float16, and knows the order of bytes of this machine only.
    """
    native = dtype.newbyteorder("=")
    return np.dtype(np.float32) if native == np.float16 else native


def n_stored(value: Any) -> int:
    """Return how many numbers of a matrix are stored, in a file or in memory."""
    if is_sparse(value):
        return int(element(value)["data"].shape[0])
    return int(value.nnz if hasattr(value, "nnz") else np.prod(value.shape))


def refuse_hollow(value: Any) -> None:
    """Refuse an element of a file that would fill memory with what the file does not hold.

    Raises
    ------
    ValueError
        It has an array that says it is large, and hardly takes any room.
    """
    if not hasattr(value, "dtype"):
        for name in value:
            refuse_hollow(value[name])
        return
    size = int(value.nbytes)
    if size <= HOLLOW:
        return
    stored = value.id.get_storage_size() if hasattr(value, "id") else value.nbytes_stored()
    if size > PACKED * stored:
        msg = (
            f"{value.name} says that it holds {size:,} bytes, and takes {stored:,} in its file; is "
            "it damaged?"
        )
        raise ValueError(msg)


def use_filters() -> None:
    """Let HDF5 use the filters of hdf5plugin, where it is installed."""
    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")


def lacking_filter(value: Any) -> str | None:
    """Say which part of an element of an HDF5 file is packed by a filter that is not installed.

    Parameters
    ----------
    value
        A dataset or group; anything else has no filters of HDF5.
    """
    import h5py

    if isinstance(value, h5py.Group):
        parts = (lacking_filter(value[name]) for name in value)
        return next((part for part in parts if part is not None), None)
    if not isinstance(value, h5py.Dataset):
        return None
    made = value.id.get_create_plist()
    for at in range(made.get_nfilters()):
        code, _, _, name = made.get_filter(at)
        if not h5py.h5z.filter_avail(code):
            called = FILTERS.get(code) or name.decode("utf-8", "replace") or f"filter {code}"
            return (
                f"{value.name} of {value.file.filename} is packed by {called}, which is not "
                "installed; pip install hdf5plugin, or write the file with gzip"
            )
    return None


def refuse_packed(value: Any) -> None:
    """Refuse an element that is packed by a filter that is not installed.

    Raises
    ------
    ValueError
        It is so; the message names the filter.
    """
    msg = lacking_filter(value)
    if msg is not None:
        raise ValueError(msg)


def load(value: Any) -> Any:
    """Read a stored value into memory."""
    refuse_hollow(element(value))
    refuse_packed(element(value))
    if not is_sparse(value):
        return value[...]
    matrix = value.to_memory()
    refuse_inconsistent(matrix, element(value).name)
    return matrix


@contextlib.contextmanager
def hdf5_file(path: Path, mode: str = "w") -> Iterator[h5py.File]:
    """Open an HDF5 file to write to it; what goes wrong in that is raised, and is no crash.

    HDF5 crashes where it closes, or brings to disk, a file of which something could not be written
    before. Such a file is left open, to the end of the process: see ``mnncorrect.__main__``. What
    fails where a dataset is let go is no exception that anybody sees; it is raised at the end.
    """
    import h5py

    file = h5py.File(path, mode, locking=False)
    lost: list[BaseException] = []
    before = sys.unraisablehook

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        if isinstance(found.exc_value, Exception) and ERRNO.search(str(found.exc_value)):
            lost.append(found.exc_value)
        else:
            before(found)

    sys.unraisablehook = unraisable
    try:
        yield file
        if lost:
            raise lost[0]
        file.close()
    except Exception as error:
        if lost or ERRNO.search(str(error)):
            UNWRITTEN.append(path)
            h5py.h5i.inc_ref(file.id)
        raise
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def scratch_file(folder: Path | None = None) -> Iterator[h5py.File]:
    """Give a file for values that memory should not hold; it is gone when the block ends.

    Its name is removed at once where the system allows it, so that a killed run leaves nothing.

    Parameters
    ----------
    folder
        Where it is made; the system's folder of temporary files if not given.
    """
    with tempfile.NamedTemporaryFile(dir=folder, suffix=SCRATCH_SUFFIX, delete=False) as made:
        path = Path(made.name)
    try:
        with hdf5_file(path) as file:
            with contextlib.suppress(OSError):
                path.unlink()
            yield file
    except (OSError, RuntimeError) as error:
        number = ERRNO.search(str(error))
        if number is None or "write" not in str(error):
            raise
        reason = os.strerror(int(number[1]))
        msg = f"a scratch file could not be written in {path.parent}: {reason}"
        raise OSError(msg) from error
    finally:
        path.unlink(missing_ok=True)


def lies_by_rows(value: Any) -> bool:
    """Return whether a stored matrix can be read by rows as it is."""
    if is_sparse(value):
        return bool(value.format == "csr")
    return value.chunks is None or value.chunks[0] <= min(TALL_CHUNK, value.shape[0] - 1)


def stored_rows(
    value: Any,
    where: str,
    *,
    scratch: Scratch | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> RowSource:
    """Give the rows of a stored matrix, float32 or float64, dense or CSR.

    Parameters
    ----------
    value
        The stored matrix, cells x genes.
    where
        What to call it in an error.
    scratch
        Gives the file for a matrix that has to be written by rows first.
    block_bytes
        How much of that is in memory at a time, roughly.

    Raises
    ------
    TypeError
        If it does not hold real numbers, or cannot be read by rows and there is no scratch file.
    """
    from mnncorrect.core.matrix.rows import RowSource

    dtype = as_floats(np.empty((0, 0), dtype_of(value)), where).dtype
    read = row_reader(value, where, scratch=scratch, block_bytes=block_bytes)
    return RowSource(lambda block: as_floats(read(block), where), value.shape, dtype)


def row_reader(
    value: Any,
    where: str,
    *,
    scratch: Scratch | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Callable[[slice], Any]:
    """Give what reads rows of a matrix in memory or in a file: dense or CSR, of its own type.

    Parameters and errors as :func:`stored_rows`; float16, which sparse matrices cannot have in
    memory, is read as float32.
    """
    if not is_stored(value):
        rows: Any = value.tocsr() if hasattr(value, "tocsr") else np.asarray(value)
        return lambda block: rows[block]
    refuse_packed(element(value))
    n_columns = value.shape[1]
    store: Any
    if is_sparse(value):
        store = element(value)
        _refuse_inconsistent(store, value.shape[value.format != "csr"], where)
        if not lies_by_rows(value):
            store = _by_rows(where, scratch)
            _transpose(element(value), value.shape, store, 8 * block_bytes)
        reader = _csr_reader(store, n_columns)
    else:
        store = value
        if not lies_by_rows(value):
            store = _repacked(value, _by_rows(where, scratch), block_bytes)
        reader = store.__getitem__

    def read(block: slice) -> Any:
        try:
            return reader(block)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            msg = f"{where} of {_file_of(store)} cannot be read; is it damaged? ({reason})"
            raise OSError(msg) from error

    return read


def _file_of(store: Any) -> str:
    """Name the file that a dataset or group is in."""
    return str(store.file.filename if hasattr(store, "file") else store.store_path)


def refuse_odd_arrays(group: Any, where: str) -> None:
    """Refuse a sparse matrix whose arrays are not of the types that such a matrix has.

    Raises
    ------
    ValueError
        Its indices or pointers are no whole numbers, or an array is no row of values.
    """
    for name in ("indices", "indptr", "data"):
        array = group.get(name)
        if array is None:
            msg = f"{where} lacks {name}, one of the arrays of a sparse matrix; is it damaged?"
            raise ValueError(msg)
        if getattr(array, "ndim", 0) != 1:
            msg = f"{where} is no valid sparse matrix ({name} is no list of values); is it damaged?"
            raise ValueError(msg)
        if name != "data" and array.dtype.kind not in "iu":
            msg = (
                f"{where} is no valid sparse matrix ({name} holds {array.dtype}, and whole numbers "
                "are needed); is it damaged?"
            )
            raise ValueError(msg)


def _refuse_inconsistent(group: h5py.Group, n_lines: int, where: str) -> None:
    """Refuse a sparse matrix whose arrays do not fit each other, before anything is read by them.

    Raises
    ------
    ValueError
        It is so.
    """
    refuse_odd_arrays(group, where)
    indptr = group["indptr"]
    stored = min(group["data"].shape[0], group["indices"].shape[0])
    fits = indptr.shape == (n_lines + 1,)
    if fits:
        pointers = indptr[...].astype(np.int64)
        fits = bool(pointers[0] == 0 and pointers[-1] <= stored and (np.diff(pointers) >= 0).all())
    if not fits:
        msg = f"{where} is no valid sparse matrix (its pointers lead out of it); is it damaged?"
        raise ValueError(msg)


def _index_of(indices: NDArray[Any], size: int) -> NDArray[np.int32]:
    """Return indices below ``size`` as they are used here; refuse others."""
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        msg = (
            f"a sparse matrix has entries outside of it (indices {indices.min()} to "
            f"{indices.max()}, of {size}); is it damaged?"
        )
        raise ValueError(msg)
    return indices.astype(np.int32, copy=False)


def _by_rows(where: str, scratch: Scratch | None) -> h5py.Group:
    if scratch is None:
        msg = f"{where} is stored by columns; load it into memory first"
        raise TypeError(msg)
    file = scratch()
    return file.create_group(f"rows{len(file)}")


def _csr_reader(group: h5py.Group, n_columns: int) -> Callable[[slice], sp.csr_matrix]:
    indptr = group["indptr"][...].astype(np.int64)
    data, indices = group["data"], group["indices"]

    def read(block: slice) -> sp.csr_matrix:
        start, stop, _ = block.indices(len(indptr) - 1)
        pointers = indptr[start : stop + 1]
        part = slice(int(pointers[0]), int(pointers[-1]))
        columns = _index_of(indices[part], n_columns)
        pointers = (pointers - pointers[0]).astype(np.int32)
        numbers = data[part].astype(readable(data.dtype), copy=False)
        return sp.csr_matrix((numbers, columns, pointers), shape=(stop - start, n_columns))

    return read


def _transpose(source: h5py.Group, shape: tuple[int, int], target: h5py.Group, memory: int) -> None:
    """Write a CSC matrix as CSR, going twice over its entries.

    Rows are divided into ranges of as many entries as memory has room for. Entries are dealt out
    to their ranges in a file, and each range is put in order.
    """
    n_rows, n_columns = shape
    indptr = source["indptr"][...].astype(np.int64)
    data, indices = source["data"], source["indices"]
    dtype = readable(data.dtype)
    size = max(1, memory // ENTRY_BYTES)
    parts = row_blocks(int(indptr[-1]), size)
    counts = np.zeros(n_rows, np.int64)
    for part in parts:
        counts += np.bincount(_index_of(indices[part], n_rows), minlength=n_rows)
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
        row = _index_of(indices[part], n_rows)
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


def _row_ranges(pointers: NDArray[np.int64], size: int) -> list[slice]:
    """Divide rows into ranges of up to ``size`` entries, but of one row at least.

    Examples
    --------
    >>> _row_ranges(np.array([0, 2, 4, 9, 10]), 4)
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    ranges, start, n_rows = [], 0, len(pointers) - 1
    while start < n_rows:
        stop = int(np.searchsorted(pointers, pointers[start] + size, side="right")) - 1
        stop = min(n_rows, max(stop, start + 1))
        ranges.append(slice(start, stop))
        start = stop
    return ranges


def _repacked(source: h5py.Dataset, group: h5py.Group, block_bytes: int) -> h5py.Dataset:
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
    group: h5py.Group, shape: tuple[int, int], dtype: Any, **how: Any
) -> Iterator[Callable[[sp.csr_matrix], None]]:
    """Write a CSR matrix by blocks of rows, as anndata stores it.

    Parameters
    ----------
    group
        Where it is written; empty.
    shape
        Of the whole matrix.
    dtype
        Of the numbers.
    how
        How the datasets are compressed.

    Yields
    ------
    What is called with the rows of each block, from the first to the last.
    """
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array(shape, np.int64)
    data, indices = (
        group.create_dataset(name, (0,), kind, chunks=(CHUNK,), maxshape=(None,), **how)
        for name, kind in (("data", dtype), ("indices", np.dtype(np.int32)))
    )
    pointers = [np.zeros(1, np.int64)]

    def append(block: sp.csr_matrix) -> None:
        start = int(pointers[-1][-1])
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((start + block.nnz,))
            dataset[start:] = values
        pointers.append(block.indptr[1:].astype(np.int64) + start)

    yield append
    whole = np.concatenate(pointers)
    small = whole[-1] <= np.iinfo(np.int32).max
    group.create_dataset("indptr", data=whole.astype(np.int32) if small else whole, **how)
    for dataset in group.values():
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
