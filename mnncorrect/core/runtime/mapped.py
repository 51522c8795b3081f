"""Arrays that are mapped from files, so that memory need not hold them.

The system reads pages of such an array when they are used. What is made of a mapped array is mapped
from a temporary file as well (:func:`empty_like`). Pages stay in memory until the system needs it,
unless they are let go (:func:`let_go`).
"""

from __future__ import annotations

import mmap
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

# Bytes of rows that are copied at a time.
MAPPED_BYTES = 1 << 25


@dataclass(frozen=True)
class MapFiles:
    """Where the files of mapped arrays are made."""

    folder: Path | None = None  # ``None``: where the system says.
    # Whether they keep their names, so that other processes can map them too. Then who gave the
    # folder removes them.
    named: bool = False

    def make(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Make an array in such a file."""
        return mapped_array(shape, dtype, self.folder, named=self.named)


# Bytes above which arrays are mapped (``None``: none are), and where.
_large: ContextVar[tuple[int | None, MapFiles]] = ContextVar("_large", default=(None, MapFiles()))


def mapping_of(x: Any) -> np.memmap[Any, Any] | None:
    """Return the map of a file that an array is a view of; ``None``: it is in memory.

    Maps that keep changes in memory (mode ``"c"``) do not count.
    """
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap) and isinstance(x._mmap, mmap.mmap):  # type: ignore[attr-defined]
            return None if x.mode == "c" else x
        x = x.base
    return None


def mapped_array(
    shape: tuple[int, ...], dtype: Any, folder: Path | None, *, named: bool = False
) -> NDArray[Any]:
    """Make an array in a temporary file, which is gone when nothing uses the array.

    ``folder``: where the file is made; ``None``, or a folder that cannot be written: the system's
    folder of temporary files. ``named``: see :class:`MapFiles`.
    """
    size = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
    if folder is not None and not os.access(folder, os.W_OK):
        folder, named = None, False
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    path = folder / (f"map-{secrets.token_hex(8)}" if named else "temporary")
    try:
        # A named file heeds the umask: other processes may be those of another user.
        with path.open("x+b") if named else tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                # A disk that is full is reported here, and would end the process later.
                os.posix_fallocate(file.fileno(), 0, size)
            made = np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise OSError(
            f"a temporary file of {size / 2**30:.1f} GB cannot be made in {folder}: "
            f"{error.strerror or error}; free space there, or name another folder: TMPDIR"
        ) from error
    made.filename = str(path)  # Results are written to the same folder.
    return np.asarray(made)


@dataclass(frozen=True)
class MappedFile:
    """An array in a named file, which any process that sees the file can map."""

    path: str
    offset: int  # Bytes before the array.
    shape: tuple[int, ...]
    dtype: str

    def open(self) -> NDArray[Any]:
        """Map the array."""
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape))


def file_of(x: NDArray[Any]) -> MappedFile | None:
    """Return the file that other processes map the same array from.

    ``None``: it is not a map of a named file, or not all of it lies there in order.
    """
    mapping = mapping_of(x)
    if mapping is None or mapping.filename is None or not x.flags.c_contiguous:
        return None
    path = Path(mapping.filename)
    if not path.is_file():
        return None
    at = x.__array_interface__["data"][0] - mapping.__array_interface__["data"][0]
    return MappedFile(str(path.absolute()), mapping.offset + at, x.shape, x.dtype.str)


def write_out(x: NDArray[Any]) -> None:
    """Write what was put into a map of a named file to that file: other machines read it there."""
    mapping = mapping_of(x)
    if mapping is not None and file_of(x) is not None:
        cast("mmap.mmap", mapping._mmap).flush()  # type: ignore[attr-defined]


@contextmanager
def large_mapped(above: int | None, files: MapFiles) -> Iterator[None]:
    """Have arrays of more than ``above`` bytes mapped from temporary files (:func:`large_array`).

    ``above=None``: none are.
    """
    token = _large.set((above, files))
    try:
        yield
    finally:
        _large.reset(token)


def large_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Make an array with a row for each cell: in memory, or mapped if it is too large for that."""
    above, files = _large.get()
    if above is None or np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize <= above:
        return np.empty(shape, dtype)
    return files.make(shape, dtype)


def empty_like(x: NDArray[Any], dtype: Any = None) -> NDArray[Any]:
    """Make an array of the same shape: in memory, or mapped if the other one is."""
    dtype, mapping = x.dtype if dtype is None else dtype, mapping_of(x)
    if mapping is None:
        return np.empty(x.shape, dtype)
    name = mapping.filename
    return mapped_array(x.shape, dtype, None if name is None else Path(name).parent)


def copy_of(x: NDArray[Any]) -> NDArray[Any]:
    """Copy an array: into memory, or into a map if it is mapped."""
    if mapping_of(x) is None:
        return x.copy()
    made = empty_like(x)
    fill(made, lambda rows: x[rows], source=x)
    return made


def fill(
    made: NDArray[Any],
    read: Callable[[slice], NDArray[Any]],
    *,
    source: Any = None,
    multiple: int = 1,
) -> None:
    """Write the rows of a mapped array in blocks, of a ``multiple`` of rows.

    ``source``: what is let go after each block.
    """
    for rows in mapped_blocks(made, multiple):
        made[rows] = read(rows)
        let_go(made)
        let_go(source)
    write_out(made)


def near_rows(x: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Part places in ``rows``: those whose rows lie in one block of a mapped array, in order.

    So each page is read once, and few are in memory at a time.
    """
    order = np.argsort(rows)
    starts = [block.start for block in mapped_blocks(x)]
    cuts = np.searchsorted(rows[order], starts)
    for some in np.split(order, cuts[1:]):
        if len(some):
            yield some


def column_of(x: NDArray[Any], column: int) -> NDArray[Any]:
    """Return a column of an array; of a mapped one, a copy that is read in blocks."""
    if mapping_of(x) is None:
        return x[:, column]
    made = np.empty(len(x), x.dtype)
    for rows in mapped_blocks(x):
        made[rows] = x[rows, column]
        let_go(x)
    return made


def mapped_blocks(x: NDArray[Any], multiple: int = 1) -> Iterator[slice]:
    """Cut the rows of an array into blocks of which memory holds one at a time."""
    size = max(1, MAPPED_BYTES * len(x) // max(1, x.nbytes))
    size = -(-size // multiple) * multiple
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


def let_go(x: Any) -> None:
    """Have the system take the pages of a mapped array out of memory; its values stay."""
    mapping = mapping_of(x)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        cast("mmap.mmap", mapping._mmap).madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
