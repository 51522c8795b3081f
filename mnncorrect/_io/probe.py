"""HDF5 files that would do harm are found by a process of its own, before they are read.

HDF5 walks the tables of a file inside compiled calls that no signal ends. Damaged tables make it
run for ever, take all memory, or crash, and the whole program with it. A file may also point to
others, which HDF5 would read as if they were part of it. So another process, `probe_worker`, goes
through each file first, follows nothing that leads elsewhere, and may take only the time and memory
that the file justifies.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

# CPU time, in seconds, that may pass without progress.
SECONDS = 4
# Files whose verdict is kept.
KEPT_VERDICTS = 4096
WORKER = Path(__file__).with_name("probe_worker.py")
# A process without h5py of its own has no need of more than one thread.
SINGLE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def refuse_deadly(path: Path) -> None:
    """Refuse an HDF5 file that would end, hold up, or lead elsewhere the process that reads it."""
    if not hasattr(os, "fork") or not sys.executable:  # Windows, or Python inside another program
        return
    found = path.stat()
    verdict, place = _verdict_of(
        os.path.realpath(path), found.st_size, found.st_mtime_ns, found.st_ino
    )
    if verdict == "elsewhere":
        raise ValueError(
            f"{path} points to other files ({place} is an external link, external storage or "
            "virtual data), which are not followed; where it was made, load it and write all of it "
            "to one file"
        )
    if verdict == "fine":
        return
    what = {
        "endless": "HDF5 hangs on it",
        "too large": f"{place} says that it holds more than the file can hold",
    }.get(verdict, "HDF5 crashes on it")
    raise OSError(f"{path} is damaged: {what}; copy or make it again")


# A file is opened more than once in a run, and tried once as long as it stays the same.
@lru_cache(KEPT_VERDICTS)
def _verdict_of(path: str, *_: int) -> tuple[str, str]:
    return _WORKER.ask(path)


class _Worker:
    """The process that tries files; it is started with the first one, and ends when it is idle."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._inherited: list[Any] = []

    def ask(self, path: str) -> tuple[str, str]:
        """Return what the process finds of a file: its verdict, and the place in the file."""
        with self._lock:
            code = 0
            while code == 0:  # it was idle, and ended before it was asked
                process, is_new = self._started(path)
                answer, code = self._answer(process, path)
                if answer is not None:
                    return answer["verdict"], answer["place"]
                if is_new and code == 0:
                    code = 1
            if code > 0:
                raise OSError(f"no process could be started to try {path}: {sys.executable} fails")
            looping = -code in {signal.SIGXCPU, signal.SIGKILL}
            return ("endless" if looping else "crash"), ""

    def _started(self, path: str) -> tuple[subprocess.Popen[bytes], bool]:
        if self._process is not None and self._process.poll() is None:
            return self._process, False
        self._close()
        try:
            # It loads nothing of the user's environment or of site-packages, only its arguments.
            self._process = subprocess.Popen(  # noqa: S603 (a program of this package)
                [sys.executable, "-I", "-S", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(SINGLE, "1"),
            )
        except OSError as error:
            raise OSError(
                f"no process could be started to try {path}: {error.strerror}; end some others"
            ) from None
        return self._process, True

    def _answer(
        self, process: subprocess.Popen[bytes], path: str
    ) -> tuple[dict[str, str] | None, int]:
        """Return the answer, or ``None`` and how the process ended."""
        asked = {
            "path": path,
            "seconds": SECONDS,
            "modules": [place for place in sys.path if os.path.isabs(place)],  # noqa: PTH117
            "filters": "hdf5plugin" in sys.modules,
        }
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = _exchange(process.stdin, process.stdout, json.dumps(asked).encode() + b"\n")
        except BaseException:  # an interrupt: its next line answers no question
            process.kill()
            self._close()
            raise
        if line:
            return json.loads(line), 0
        code = process.wait()
        self._close()
        return None, code

    def _close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        process.wait()

    def end(self) -> None:
        """End the process as this one ends."""
        with self._lock:
            self._close()

    def forget(self) -> None:
        """Leave the process to the one that started it: this one is a fork of it."""
        self._lock = Lock()
        self._inherited.append(self._process)
        self._process = None


def _exchange(requests: IO[bytes], answers: IO[bytes], asked: bytes) -> bytes:
    try:
        requests.write(asked)
        requests.flush()
    except BrokenPipeError:
        return b""
    return answers.readline()


_WORKER = _Worker()
atexit.register(_WORKER.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WORKER.forget)
