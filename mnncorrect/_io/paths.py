"""Which paths may be written: none that is another path of the same call, or lies inside one.

All paths of a call are compared together, before anything is opened. Two paths are the same if
links lead both to one file, if both are hard links of one file, or if their names differ only in
case or in Unicode form, since many file systems take these for one name.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Identity: TypeAlias = tuple[int, int]

# How a line of a log file begins; a file that begins otherwise is not overwritten by a log.
LOG_TIME = "%Y-%m-%d %H:%M:%S"
LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
LOG_START = 20
STANDARD = {1: "standard output", 2: "standard error"}


@dataclass(frozen=True)
class NamedPath:
    """A path of a call."""

    what: str  # Its role for the user: ``the output``, ``the input file``.
    path: Path  # The path, as it was given.
    option: str = ""  # How the user names another path instead: ``--output``.

    def __str__(self) -> str:
        return f"{self.what} {self.path}"


def refuse_overlaps(written: Sequence[NamedPath], read: Sequence[NamedPath]) -> None:
    """Refuse to write a path that is another one of the call, or lies inside one."""
    for number, one in enumerate(written):
        for other in written[:number]:
            _refuse_pair(other, one)
    by_name = {os.path.realpath(source.path): source for source in read}
    by_identity = {_identity(source.path): source for source in read}
    by_identity.pop(None, None)
    for target in written:
        for place in _upwards(target.path):
            source = by_name.get(place) or by_identity.get(_identity(place))
            if source is not None:
                raise ValueError(_clash(target, source))
    _refuse_streams([*written, *read])


def refuse_foreign_log(path: Path) -> None:
    """Refuse to open a log over anything but a log of this program or an empty file.

    A terminal, a pipe or ``/dev/null`` holds nothing that could be lost.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error) from error
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(
            f"the log file {path} is a folder; give the name of a file with --log-file"
        )
    # A pipe with a name waits for a reader; one that the shell has made has one.
    if stat.S_ISCHR(kind) or (stat.S_ISFIFO(kind) and not os.path.exists(os.path.realpath(path))):  # noqa: PTH110
        return
    if not stat.S_ISREG(kind):
        raise FileExistsError(
            f"the log file {path} is not a regular file; give another name with --log-file"
        )
    try:
        with path.open("rb") as file:
            start = file.read(LOG_START)
    except OSError as error:
        raise _unusable(path, error) from error
    if start and LOG_LINE.fullmatch(start) is None:
        raise FileExistsError(
            f"the log file {path} exists, and is not a log of mnncorrect, so it is not"
            " overwritten; give another name with --log-file"
        )


def _unusable(path: Path, error: OSError) -> OSError:
    msg = f"the log file {path} cannot be written: {error.strerror}; give another with --log-file"
    return OSError(msg)


def _refuse_pair(one: NamedPath, other: NamedPath) -> None:
    """Refuse two written paths that are one file, or of which one lies inside the other."""
    first, second = os.path.realpath(one.path), os.path.realpath(other.path)
    same_file = _identity(one.path) is not None and _identity(one.path) == _identity(other.path)
    if first == second or same_file:
        raise ValueError(
            f"{one} and {other} are the same file; give another name with {other.option}"
        )
    if _folded(first) == _folded(second):
        raise ValueError(
            f"{one} and {other} differ only in upper and lower case, which many file systems take"
            f" for one name; give another name with {other.option}"
        )
    for inner, outer, place in ((one, other, second), (other, one, first)):
        if place in _upwards(inner.path):
            raise ValueError(f"{inner} lies inside {outer}; give another name with {inner.option}")


def _refuse_streams(named: Sequence[NamedPath]) -> None:
    """Refuse a path that the shell has redirected standard output or standard error to."""
    for number, stream in STANDARD.items():
        try:
            found = os.fstat(number)
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            continue
        for one in named:
            if _identity(one.path) == (found.st_dev, found.st_ino):
                raise ValueError(
                    f"{one} is the file that {stream} goes to; redirect {stream} to another file"
                )


def _clash(target: NamedPath, source: NamedPath) -> str:
    inside = os.path.realpath(target.path) != os.path.realpath(source.path) and (
        _identity(target.path) != _identity(source.path)
    )
    relation = "lies inside" if inside else "is"
    return (
        f"{target} {relation} {source}, and inputs are never changed; "
        f"give another name with {target.option}"
    )


def _upwards(path: Path) -> Iterator[str]:
    """Name the place that a path leads to, and the folders that it lies in."""
    real = Path(os.path.realpath(path))
    yield str(real)
    yield from map(str, real.parents)


def _identity(place: Path | str) -> Identity | None:
    """Return device and number of what a path leads to; ``None``: there is nothing."""
    try:
        found = os.stat(place)  # noqa: PTH116 (given text as well)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
