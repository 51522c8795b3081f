"""HDF5 files that are written: what fails is raised, and crashes nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py

from mnncorrect._io.failures import ERRNO

# Bytes before HDF5 begins, in formats that have a text there.
USER_BLOCK = 512
# Files of this process that HDF5 could not write: what it holds of them is not to be asked for.
UNWRITTEN: list[Path] = []


@contextlib.contextmanager
def hdf5_file(path: Path, mode: str = "w") -> Iterator[h5py.File]:
    """Open an HDF5 file to write to it; what goes wrong in that is raised, and is no crash.

    HDF5 crashes where it closes, or brings to disk, a file of which something could not be written
    before. Such a file is left open, to the end of the process: see ``mnncorrect.__main__``. What
    fails where a dataset is let go is no exception that anybody sees; it is raised at the end.

    A new file keeps room for what stood in its place, if that was a block of ``USER_BLOCK`` bytes.
    """
    has_block = mode == "w" and path.exists() and path.stat().st_size == USER_BLOCK
    room = {"userblock_size": USER_BLOCK} if has_block else {}
    file = h5py.File(path, mode, locking=False, **room)
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


def element_kinds() -> tuple[type, type]:
    """Return the kinds of elements that an HDF5 file has."""
    return h5py.Dataset, h5py.Group


def kept_open(path: str) -> h5py.File:
    """Open a file to read from it, until the process ends."""
    from mnncorrect._io.hdf5_filters import use_filters

    use_filters()
    return h5py.File(path, "r", locking=False)
