"""The command line in a fork of this process, with something that goes wrong on the way.

A fork has the libraries loaded already: a run with a fault takes a fraction of a second.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What a run does one after the other: the function that a stage begins with.
STAGES = (
    "mnncorrect._io.atomic._make_temporary",
    "mnncorrect._io.h5ad._open",
    "mnncorrect._prepare.count_survey.survey",
    "mnncorrect._prepare.prepared.gather_genes",
    "mnncorrect._run.execute.correct_by",
    "mnncorrect.core.merging.pairs.mutual_pairs",
    "mnncorrect._run.expression.write_result",
    "mnncorrect._io.hdf5_copies.copy_elements",
    "os.fsync",
    "pathlib.Path.replace",
)
# Datasets of the output that have been begun.
WRITES = (1, 4, 12)


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, or the signal that ended it, below zero; lines on stderr."""

    code: int
    err: list[str]


def run(words: list[Any], fault: Callable[[], Any] | None = None, *, seconds: int = 60) -> Ended:
    """Run the command line in a fork; ``fault`` is called in it first, and may patch what it likes.

    A context manager that ``fault`` returns is entered for the time of the run.
    """
    with tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as out:
        child = os.fork()
        if child == 0:
            _child(words, fault, out.fileno(), err.fileno())
        deadline = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                msg = f"{words} has not ended within {seconds} s"
                raise TimeoutError(msg)
            time.sleep(0.005)
        err.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), err.read().decode().splitlines())


def _child(words: list[Any], fault: Any, out: int, err: int) -> None:
    code = 97
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Under nohup it would be ignored, as whoever calls nohup wants.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        import logging

        for handler in list(logging.getLogger().handlers):  # those of pytest
            logging.getLogger().removeHandler(handler)
        sys.argv = ["mnncorrect", *map(str, words)]
        from mnncorrect.__main__ import main

        context = None if fault is None else fault()
        if context is not None:
            context.__enter__()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001, as an interpreter ends
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # a fault may have closed it
                stream.flush()
        os._exit(code)


@contextmanager
def before(stage: str, do: Callable[[], Any], *, call: int = 1) -> Any:
    """Do something just before a function is called for the n-th time."""
    import pkgutil

    owner_name, _, name = stage.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    real = getattr(owner, name)
    calls = 0

    def called(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            do()
        return real(*args, **more)

    with mock.patch.object(owner, name, called):
        yield


def killed(number: int) -> Callable[[], None]:
    """Return what sends this process a signal, and waits until it has come."""

    def do() -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.01)  # a signal that Python handles is handled between two lines of it

    return do


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, hidden ones too, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
