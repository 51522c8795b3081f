"""HDF5 files that would do harm are found out by a process of its own, before they are read.

HDF5 walks the tables of a file inside compiled calls that no signal ends: zeros in the wrong place
make it go round for ever, other bytes make it crash, and the whole program with it. And a file may
point to others, which HDF5 would read as if they were part of it. So a fork of this process goes
through what describes the data first, and follows nothing that leads elsewhere; what becomes of it
tells.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import h5py

# CPU time, in seconds, that a fork may take: some, and as much as slow reading of the file would.
SECONDS, BYTES_PER_SECOND = 4, 10_000_000
# Values of datasets up to this size are read; of larger ones the first and the last.
SMALL = 1 << 16
# How the fork ends: well, or with a file that points to others; or by a signal, told below zero.
OK, ELSEWHERE = 0, 3


def refuse_deadly(path: Path) -> None:
    """Refuse an HDF5 file that would end, hold up, or lead elsewhere the process that reads it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        It is damaged in such a way; or no process can be started that would tell.
    ValueError
        Some of its data are in other files.
    """
    if not hasattr(os, "fork"):  # Windows: read without a trial
        return
    found = path.stat()
    code = _tried(os.path.realpath(path), found.st_size, found.st_mtime_ns, found.st_ino)
    if code == ELSEWHERE:
        msg = (
            f"{path} points to other files (by external links, external storage or virtual data), "
            "which are not followed; where it was made, load it and write all of it to one file"
        )
        raise ValueError(msg)
    if code >= 0:
        return
    looping = -code in {signal.SIGXCPU, signal.SIGKILL}
    what = "does not come to an end with it" if looping else "crashes on it"
    msg = f"{path} is damaged: HDF5 {what}; copy or make it again"
    raise OSError(msg)


# A file is opened more than once in a run, and tried once as long as it stays the same.
@cache
def _tried(path: str, size: int, *_: int) -> int:
    """Return how a fork that went through the file ended: its exit code, or minus the signal."""
    return _forked(path, lambda: _go_through(path, SECONDS + size // BYTES_PER_SECOND))


def refuse_crashing(path: Path, read: Callable[[Path], object]) -> None:
    """Refuse a file that ends the process that reads it: a fork of this one reads it first.

    Raises
    ------
    OSError
        It is so; or no process can be started that would tell.
    """
    if hasattr(os, "fork") and _forked(str(path), lambda: _read_alone(path, read)) < 0:
        msg = f"{path} is damaged: its reader crashes on it; copy or make it again"
        raise OSError(msg)


def _read_alone(path: Path, read: Callable[[Path], object]) -> None:
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        read(path)
    finally:
        os._exit(OK)


def _forked(path: str, do: Callable[[], None]) -> int:
    """Return how a fork ended that did something with a file: exit code, or minus the signal."""
    # Python and others warn of forks beside threads; its own thread is all that it needs.
    try:
        with warnings.catch_warnings(action="ignore"):
            child = os.fork()
    except OSError as error:
        msg = f"no process could be started to try {path}: {error.strerror}; end some others"
        raise OSError(msg) from None
    if child == 0:
        do()
    try:
        status = os.waitpid(child, 0)[1]
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(status)


def _go_through(path: str, seconds: int) -> None:
    """Read what describes the data of a file, and end this process."""
    import resource

    code = OK
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # What the C library says of a crash is for nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        import h5py

        with h5py.File(path, "r") as file:
            code = _walk(file)
    finally:
        # Errors are told by those who read the file for its content.
        os._exit(code)


def _walk(file: h5py.File) -> int:
    """Look at all that is in a file, in spite of what of it cannot be read."""
    import h5py

    waiting: list[Any] = [file]
    seen = set()
    while waiting:
        place = waiting.pop()
        with contextlib.suppress(Exception):
            found = h5py.h5o.get_info(place.id)
            if found.addr in seen:
                continue
            seen.add(found.addr)
        for name in _names(h5py.h5a, place.id):
            with contextlib.suppress(Exception):
                _ = place.attrs[name]
        if isinstance(place, h5py.Dataset):
            if _is_elsewhere(place):
                return ELSEWHERE
            _read(place)
        elif isinstance(place, h5py.Group):
            for name in _names(place.id.links):
                with contextlib.suppress(Exception):
                    link = place.get(name, getlink=True)
                    if isinstance(link, h5py.ExternalLink):
                        return ELSEWHERE
                    if isinstance(link, h5py.HardLink):
                        waiting.append(place[name])
    return OK


def _names(of: Any, *place: Any) -> list[bytes]:
    """Return the names of links or attributes, as far as they can be read."""
    names: list[bytes] = []
    with contextlib.suppress(Exception):
        of.iterate(*place, names.append)
    return names


def _is_elsewhere(dataset: h5py.Dataset) -> bool:
    """Return whether values of a dataset are in other files."""
    import h5py

    with contextlib.suppress(Exception):
        made = dataset.id.get_create_plist()
        if made.get_external_count():
            return True
        if made.get_layout() == h5py.h5d.VIRTUAL:
            sources = range(made.get_virtual_count())
            return any(made.get_virtual_filename(source) != "." for source in sources)
    return False


def _read(dataset: h5py.Dataset) -> None:
    with contextlib.suppress(Exception):
        if not dataset.size:
            return
        # Text lies in a heap of its own, and is read whole.
        if dataset.nbytes <= SMALL or dataset.dtype.hasobject:
            dataset[...]
            return
        dataset[(0,) * dataset.ndim]
        dataset[(-1,) * dataset.ndim]
