"""Whose an error is: the file's that was read, or that of the Python that reads it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from importlib import metadata

# How anndata notes which element it was reading, and names an encoding that it does not know.
READING = re.compile(r"reading key '(?P<key>.*)' of .* from (?P<place>/.*)")
ENCODING = re.compile(r"No read method registered for IOSpec\(encoding_type=('.*?')")
# Number of an error of the system in the longer text of HDF5.
ERRNO = re.compile(r"errno = (\d+)")
# How the names of variables begin that libraries read when they are loaded.
LIBRARY_VARIABLES = ("NUMBA_", "OMP_", "OPENBLAS_", "MKL_", "MPL", "HDF5_", "BLIS_")


class LibraryError(OSError):
    """A library that reads files could not be loaded."""


def of_environment(error: BaseException) -> str | None:
    """Describe an error that no file can be blamed for: a library could not be loaded.

    Returns the cause in one line, with what to do; ``None``: the error is of another kind.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # Python leaves its own frames out of the traceback of an import.
    loading = any(
        frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__"
        for frame in frames
    )
    if not isinstance(error, ImportError) and not loading:
        return None
    text = " ".join(str(error).split()) or type(error).__name__
    if sys.flags.optimize > 1:
        return f"a library cannot be loaded without docstrings ({text}); unset PYTHONOPTIMIZE"
    names = ", ".join(sorted(name for name in os.environ if name.startswith(LIBRARY_VARIABLES)))
    if names and not isinstance(error, ImportError):
        return f"a library cannot be loaded: {text}; unset {names}, or correct what is set"
    return f"a library cannot be loaded: {text}; install mnncorrect anew"


def reason_of(error: BaseException) -> str:
    """Return the first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error.args[0]) if error.args else ""
    if isinstance(error, UnicodeError):
        text = f"text that is not UTF-8 ({error})"
    unknown = ENCODING.search(text)
    if unknown is not None:
        version = metadata.version("anndata")
        text = f"anndata {version} does not know its encoding {unknown[1]}; update it"
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    number = ERRNO.search(text)
    if number is not None:
        text = os.strerror(int(number[1]))
    return " ".join(text.split()) or type(error).__name__


def place_of(error: BaseException | None) -> str | None:
    """Return the element that was read when an error was raised, as anndata notes it."""
    while error is not None:
        for note in getattr(error, "__notes__", ()):
            found = READING.search(note)
            if found is not None:
                return f"{found['place'].rstrip('/')}/{found['key']}"
        error = error.__cause__
    return None
