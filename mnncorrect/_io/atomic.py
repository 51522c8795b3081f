"""Files that appear whole or not at all.

The result is written to a temporary file beside its target and renamed when it is complete, so
that a run which fails, is interrupted or is killed never leaves half a file under the target's
name. The temporary file is locked while its run lives; the next run that writes to the same folder
removes what dead ones have left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mnncorrect._io.failures import reason_of
from mnncorrect._io.read_places import files_read
from mnncorrect._log import logger

SUFFIX = ".mnncorrect-tmp"
# Four digits identify the machine: locks of other machines may be invisible in a shared folder.
MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
TEMPORARY = re.compile(
    r"\.(?P<target>.+)\.(?P<machine>[0-9a-f]{4})?[0-9a-f]{8}" + re.escape(SUFFIX), re.DOTALL
)
# What ends the name of a folder while another takes its place.
PUT_ASIDE = "-before"
# Files that tell a folder of zarr, of its versions 2 and 3.
ZARR_METADATA = (".zgroup", "zarr.json")
FULL = {os.strerror(getattr(errno, name, errno.ENOSPC)) for name in ("ENOSPC", "EDQUOT")}


def check_target(target: Path, *, force: bool = False) -> None:
    """Refuse a target that cannot be written, or that exists and ``force`` is not set."""
    if str(target) == "-":
        raise ValueError("files are not written to standard output; give the output a name")
    real = Path(os.path.realpath(target))
    folder = real.parent
    if not folder.exists():
        raise FileNotFoundError(
            f"the output folder {folder} does not exist; make it first: mkdir -p {folder}"
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            f"the output {target} cannot be written: {folder} is a file, not a folder"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"no permission to write to the output folder {folder}; choose another folder"
        )
    if real.is_symlink():  # what is left of one once links are followed
        raise FileExistsError(f"the output {target} is a link to itself; give the name of a file")
    if not real.exists():
        return
    is_zarr = target.suffix.lower() == ".zarr"
    if real.is_dir() and not (is_zarr and any((real / name).exists() for name in ZARR_METADATA)):
        raise IsADirectoryError(f"the output {target} is a folder; give the name of a file in it")
    if not (real.is_dir() or stat.S_ISREG(real.stat().st_mode)):
        raise FileExistsError(f"the output {target} is not a regular file; give the name of one")
    if not force:
        raise FileExistsError(
            f"the output {target} exists; give another name, or replace it with `force=True`"
        )


@contextmanager
def whole_file(target: Path, *, force: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Give a temporary path, an empty file, that becomes `target` when the block ends well.

    The target is checked, and the temporary file made, when the block is entered: what cannot be
    written is reported before any work is done. If the block fails, the temporary file is removed
    and the target stays as it was. A symbolic link is followed. At the end, ``inputs`` that have
    changed meanwhile are refused, as what was read of them may not belong together; so is a target
    that another run has written meanwhile, without `force`.
    """
    check_target(target, force=force)
    states = states_of(inputs)
    real = Path(os.path.realpath(target))
    remove_dead(real)
    temporary, descriptor = _make_temporary(real)
    try:
        yield temporary
        # HDF5 has closed its own descriptor by now; a sync of ours covers the same file.
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise unwritten(temporary, error) from error
        refuse_changed(states)
        if not force and real.exists():
            raise FileExistsError(
                f"the output {target} was written by another run meanwhile; it was not replaced"
            )
        temporary.replace(real)
        _sync_folder(real.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def states_of(inputs: Iterable[Path]) -> dict[Path, Any]:
    """Return the states of all files that are read of inputs."""
    return {file: _file_state(file) for source in inputs for file in files_read(source)}


def refuse_changed(states: Mapping[Path, Any]) -> None:
    """Refuse inputs that are not as they were."""
    for source, state in states.items():
        if _file_state(source) != state:
            raise OSError(
                f"the input {source} changed while it was read; run again when it is whole"
            )


def write_text(path: Path, text: str) -> None:
    """Write text to a temporary path that `whole_file` gave."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: Path, error: BaseException, what: str = "the output") -> OSError:
    """Return an error that says which file could not be written, where, and why."""
    found = TEMPORARY.fullmatch(path.name)
    name = path.name if found is None else found["target"]
    reason = reason_of(error)
    advice = "; make room there, or write to another folder" if reason in FULL else ""
    return OSError(f"{what} {name} could not be written in {path.parent}: {reason}{advice}")


def _file_state(path: Path) -> Any:
    """Return what changes when a file, or one in a folder, does; ``None``: there is none."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return {entry.name: _state_of(entry.stat()) for entry in path.iterdir()}
    except OSError:
        return None
    return _state_of(found)


def _state_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _make_temporary(target: Path) -> tuple[Path, int]:
    # Not tempfile.mkstemp: its mode 0600 would stay with the result; this one heeds the umask.
    while True:
        path = target.with_name(f".{target.name}.{MACHINE}{secrets.token_hex(4)}{SUFFIX}")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except OSError as error:
            raise unwritten(target, error) from error
        if _may_lock():
            hold(descriptor)
        # Another run may have taken the file for a dead one's between its making and its locking.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return path, descriptor
        os.close(descriptor)


def remove_dead(target: Path) -> None:
    """Remove the temporary files of runs that are no longer alive.

    Those with this target; and those of this machine with other targets in its folder.
    """
    # A folder may be writable and yet not be listed.
    entries: list[Path] = []
    with contextlib.suppress(OSError):
        entries = sorted(target.parent.iterdir())
    for entry in entries:
        found = TEMPORARY.fullmatch(entry.name)
        if found is None:
            continue
        if found["target"] != target.name and not (found["machine"] == MACHINE and _may_lock()):
            continue
        # A file of another user, or one that has gone meanwhile, is left to its owner.
        with contextlib.suppress(OSError):
            is_folder = stat.S_ISDIR(entry.lstat().st_mode)
            how = os.O_RDONLY if is_folder else os.O_RDWR
            descriptor = os.open(entry, how | getattr(os, "O_NOFOLLOW", 0))
            try:
                if hold(descriptor):
                    shutil.rmtree(entry) if is_folder else entry.unlink()
            finally:
                os.close(descriptor)


def put_aside(target: Path) -> list[Path]:
    """Return the folders that killed runs put aside to replace ``target`` by another."""
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        folders = sorted(target.parent.iterdir())
    made = [(TEMPORARY.fullmatch(path.name.removesuffix(PUT_ASIDE)), path) for path in folders]
    return [
        path
        for found, path in made
        if found is not None and found["target"] == target.name and path.name.endswith(PUT_ASIDE)
    ]


def restore_put_aside(target: Path) -> None:
    """Give a folder back its name, if a run was killed while it replaced it; or remove it."""
    for path in put_aside(target):
        if target.exists():  # which has taken its place
            shutil.rmtree(path, ignore_errors=True)
        elif not _is_held(path.with_name(path.name.removesuffix(PUT_ASIDE))):
            try:
                path.rename(target)
            except OSError:
                if not target.exists():  # another run has restored or replaced it meanwhile
                    raise
            else:
                logger.warning("restored %s: a run that was killed had put it aside", target)


def _is_held(path: Path) -> bool:
    """Return whether a live run holds a temporary file or folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not hold(descriptor)
    finally:
        os.close(descriptor)


def _may_lock() -> bool:
    """Return whether temporary files are locked: not where HDF5, too, locks what it opens."""
    own = os.environ.get("HDF5_USE_FILE_LOCKING", "").upper()
    return own not in {"TRUE", "1", "BEST_EFFORT"}


def hold(descriptor: int) -> bool:
    """Lock a file or folder for this process's life; False where that is not possible."""
    try:
        import fcntl
    except ImportError:  # Windows: temporary files of dead runs stay
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by a live run, or a file system without locks
        return False
    return True


def _sync_folder(folder: Path) -> None:
    # Some file systems do not sync folders; the rename has happened all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
