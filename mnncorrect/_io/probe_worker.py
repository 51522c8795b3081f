"""Go through HDF5 files in a process that may crash, hang, or run out of memory.

Started by path, as a program: it needs h5py, and nothing of this package. It reads requests from
stdin, a line of JSON each, and answers each with one on stdout: ``{"verdict": ..., "place": ...}``.
Where it ends without an answer, its exit code tells why.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What is found: nothing wrong; data in other files; more data than memory that the file justifies.
FINE, DATA_ELSEWHERE, TOO_LARGE = "fine", "elsewhere", "too large"
# Datasets of up to so many bytes are read; of larger ones the first value and the last.
SMALL_DATASET = 1 << 16
# Texts are read so many at a time.
TEXTS_AT_ONCE = 1 << 14
# Memory that a file may take, in bytes: some, and a multiple of its size. Text is not packed, so it
# cannot be longer than its file; in memory it exists up to three times.
ROOM, COPIES = 1 << 28, 3
# A chunk is unpacked whole, and a large one is allowed more. One that says that it unpacks to more
# than so many times the room its dataset takes is not read: packers do not reach that.
LARGE_DATASET, MOST_PACKED = 1 << 26, 5000
# Bytes of a chunk that are unpacked in a second, at least.
UNPACKED_PER_SECOND = 10_000_000
# Seconds that this process waits for a request.
IDLE = 10.0
MEMORY_ERRORS = ("alloc", "memory")


class TooLargeError(Exception):
    """Something needs more memory than its file justifies."""


class ProcessLimits:
    """What this process may take: time since the last progress, and memory."""

    def __init__(self, seconds: int, size: int) -> None:
        self.seconds = seconds
        self.memory = _address_space() + ROOM + COPIES * size
        self.allowed = 0.0
        self.allow(0)

    def tick(self) -> None:
        """Note progress: the time that is allowed begins anew."""
        if time.process_time() > self.allowed - self.seconds + 0.5:
            self.allow(0)

    def allow(self, size: int) -> None:
        """Allow time and memory for the next step, which may unpack so many bytes."""
        self.allowed = time.process_time() + self.seconds + size / UNPACKED_PER_SECOND
        _limit(resource.RLIMIT_CPU, int(self.allowed) + 1)
        if _address_space():
            _limit(resource.RLIMIT_AS, self.memory + 2 * size)


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (value, hard))


def _address_space() -> int:
    """Return the address space of this process in bytes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def try_file(path: str, seconds: int) -> dict[str, str]:
    """Go through what describes the data of a file, and read its texts and small data."""
    import h5py

    limits = ProcessLimits(seconds, Path(path).stat().st_size)
    place = "/"
    try:
        with h5py.File(path, "r") as file:
            for place, step in _steps(file, limits):
                if step == DATA_ELSEWHERE:
                    return {"verdict": DATA_ELSEWHERE, "place": place}
    except (TooLargeError, MemoryError) as error:
        return {"verdict": TOO_LARGE, "place": str(error) or place}
    except (OSError, RuntimeError, ValueError, KeyError):
        pass  # whoever reads the content of the file reports errors
    return {"verdict": FINE, "place": ""}


def _steps(file: Any, limits: ProcessLimits) -> Iterator[tuple[str, str]]:
    """Look at all that is in a file, in spite of what of it cannot be read."""
    import h5py
    import numpy as np

    # Places, and not what is there: thousands of open objects take much memory.
    waiting = [b"/"]
    seen = set()
    while waiting:
        path = waiting.pop()
        place, found = path.decode(errors="replace"), None
        with _lenient(place):
            found = file[path]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
        limits.tick()
        yield place, FINE
        if found is None:
            continue
        for name in _link_names(limits, h5py.h5a, found.id):
            with _lenient(f"{place}: attribute {name.decode(errors='replace')}"):
                attribute = h5py.h5a.open(found.id, name)
                attribute.read(np.empty(attribute.shape, attribute.dtype))
        if isinstance(found, h5py.Dataset):
            if _is_elsewhere(found):
                yield place, DATA_ELSEWHERE
            _read_dataset(place, found, limits)
        elif isinstance(found, h5py.Group):
            for name in _link_names(limits, found.id.links):
                inside = path.rstrip(b"/") + b"/" + name
                with _lenient(place):
                    kind = found.id.links.get_info(name).type
                    if kind == h5py.h5l.TYPE_HARD:
                        waiting.append(inside)
                    elif kind != h5py.h5l.TYPE_SOFT:
                        yield inside.decode(errors="replace"), DATA_ELSEWHERE


@contextlib.contextmanager
def _lenient(place: str) -> Iterator[None]:
    """Pass over what cannot be read, but not over what takes too much memory."""
    try:
        yield
    except MemoryError:
        raise TooLargeError(place) from None
    except GeneratorExit:
        raise
    # What is damaged can make its reader fail in any way.
    except Exception as error:  # noqa: BLE001
        if any(word in str(error) for word in MEMORY_ERRORS):
            raise TooLargeError(place) from None


def _link_names(limits: ProcessLimits, of: Any, *place: Any) -> list[bytes]:
    """Return the names of links or attributes, as far as they can be read."""
    names: dict[bytes, None] = {}

    def take(name: bytes) -> None:
        if name not in names:  # a table that loops gives the same ones again
            names[name] = None
            limits.tick()

    with _lenient("a table of names"):
        of.iterate(*place, take)
    return list(names)


def _is_elsewhere(dataset: Any) -> bool:
    """Return whether values of a dataset are in other files."""
    import h5py

    with _lenient(dataset.name or ""):
        made = dataset.id.get_create_plist()
        if made.get_external_count():
            return True
        if made.get_layout() == h5py.h5d.VIRTUAL:
            sources = range(made.get_virtual_count())
            return any(made.get_virtual_filename(source) != "." for source in sources)
    return False


def _read_dataset(place: str, dataset: Any, limits: ProcessLimits) -> None:
    chunk = 0
    with _lenient(place):
        if not dataset.size:
            return
        chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
        if chunk > LARGE_DATASET:
            if chunk > MOST_PACKED * dataset.id.get_storage_size():
                return
            limits.allow(chunk)
        if dataset.dtype.hasobject:
            # Text lies in a heap of its own, and is read whole.
            if dataset.ndim != 1:
                dataset[...]
                return
            for start in range(0, dataset.size, TEXTS_AT_ONCE):
                dataset[start : start + TEXTS_AT_ONCE]
                limits.tick()
        elif dataset.nbytes <= SMALL_DATASET:
            dataset[...]
        else:
            dataset[(0,) * dataset.ndim]
            dataset[(-1,) * dataset.ndim]
    if chunk > LARGE_DATASET:
        limits.allow(0)


def main() -> None:
    """Answer requests until there are none."""
    # Ctrl-C is for the process that asks, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(resource.RLIMIT_CORE, 0)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "w")
    # What the C library says of a crash is for nobody.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    while select.select([requests], [], [], IDLE)[0]:
        line = requests.readline()
        if not line:
            return
        asked = json.loads(line)
        sys.path[:] = asked["modules"]
        if asked["filters"]:
            with contextlib.suppress(ImportError):
                importlib.import_module("hdf5plugin")  # registers filters
        answers.write(json.dumps(try_file(asked["path"], asked["seconds"])) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
