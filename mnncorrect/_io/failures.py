"""Whose an error is: the file's that was read, or that of the Python that reads it."""

from __future__ import annotations

import os
import sys
import traceback

from mnncorrect._adata.stored import ERRNO


def of_environment(error: BaseException) -> str | None:
    """Describe an error that no file can be blamed for: a library could not be loaded.

    Parameters
    ----------
    error
        What was raised, by whatever library.

    Returns
    -------
    The cause in one line, with what to do; ``None``: the error is of another kind.

    Examples
    --------
    >>> of_environment(ValueError("no such column")) is None
    True
    >>> of_environment(ModuleNotFoundError("No module named 'numcodecs'"))
    "a library cannot be loaded: No module named 'numcodecs'; install mnncorrect anew"
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
    return f"a library cannot be loaded: {text}; install mnncorrect anew"


def reason_of(error: BaseException) -> str:
    """Return the first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error.args[0]) if error.args else ""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    number = ERRNO.search(text)
    if number is not None:
        text = os.strerror(int(number[1]))
    return " ".join(text.split()) or type(error).__name__
