"""Files that HDF5 crashes on, or never comes to an end with, are found out by a process of its own.

HDF5 walks the tables of a file inside compiled calls that no signal ends: zeros in the wrong place
make it go round for ever, other bytes make it crash, and the whole program with it. So a fork of
this process goes through what describes the data first; what becomes of it tells.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

# CPU time, in seconds, that a fork may take: some, and as much as slow reading of the file would.
SECONDS, BYTES_PER_SECOND = 4, 10_000_000
# Values of datasets up to this size are read; of larger ones the first and the last.
SMALL = 1 << 16
OK = 0


def refuse_deadly(path: Path) -> None:
    """Refuse an HDF5 file that would end, or hold up, the process that reads it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        It is damaged in such a way.
    """
    if not hasattr(os, "fork"):  # Windows: read without a trial
        return
    found = path.stat()
    ended_by = _ended_by(os.path.realpath(path), found.st_size, found.st_mtime_ns, found.st_ino)
    if ended_by == OK:
        return
    looping = ended_by in {signal.SIGXCPU, signal.SIGKILL}
    what = "does not come to an end with it" if looping else "crashes on it"
    msg = f"{path} is damaged: HDF5 {what}; copy or make it again"
    raise OSError(msg)


# A file is opened more than once in a run, and tried once as long as it stays the same.
@cache
def _ended_by(path: str, size: int, *_: int) -> int:
    """Return the number of the signal that ended a fork which read the file."""
    # Python and others warn of forks beside threads; its own thread is all that it needs.
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if child == 0:
        _go_through(path, SECONDS + size // BYTES_PER_SECOND)
    try:
        status = os.waitpid(child, 0)[1]
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else OK


def _go_through(path: str, seconds: int) -> None:
    """Read what describes the data of a file, and end this process."""
    import resource

    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # What the C library says of a crash is for nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        import h5py

        with h5py.File(path, "r") as file:
            dict(file.attrs)
            file.visititems(lambda _, value: _look_at(value))
    finally:
        # Errors are told by those who read the file for its content.
        os._exit(OK)


def _look_at(value: h5py.Dataset | h5py.Group) -> None:
    import h5py

    with contextlib.suppress(Exception):
        dict(value.attrs)
        if not isinstance(value, h5py.Dataset) or not value.size:
            return
        # Text lies in a heap of its own, and is read whole.
        if value.nbytes <= SMALL or value.dtype.hasobject:
            value[...]
            return
        value[(0,) * value.ndim]
        value[(-1,) * value.ndim]
