"""The log and the warnings of this package: where they go in Python, and what is noted of them.

``scanpy.settings.verbosity`` decides which lines are shown.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

logger = logging.getLogger("mnncorrect")

# A level below all others, so that the filter sees every line. Any other is one a user has set.
ALL_LEVELS = 1


class ByVerbosity(logging.Filter):
    """Hand lines to scanpy's log, unless Python's logging is set up to show them.

    scanpy's settings say which of them are shown, in what form and where. Where scanpy has not
    been imported, warnings are shown.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether Python's logging is to show a line."""
        if record.levelno >= _own_level() and logger.hasHandlers():
            return True
        _to_scanpy(record)
        return False


def follow_scanpy() -> None:
    """Let scanpy's settings decide what Python users see of the log."""
    if not any(isinstance(entry, ByVerbosity) for entry in logger.filters):
        logger.addFilter(ByVerbosity())
        logger.setLevel(logger.level or ALL_LEVELS)


def _own_level() -> int:
    """Return the level that Python's logging has been set to."""
    if logger.level != ALL_LEVELS or logger.parent is None:
        return logger.level
    return logger.parent.getEffectiveLevel()


def _to_scanpy(record: logging.LogRecord) -> None:
    scanpy: Any = sys.modules.get("scanpy")
    show = getattr(getattr(scanpy, "logging", None), record.levelname.lower(), None)
    if show is not None:
        show(record.getMessage())
    elif record.levelno >= logging.WARNING and logging.lastResort is not None:
        logging.lastResort.handle(record)


_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)
_muted: ContextVar[tuple[type[Warning], ...]] = ContextVar("muted", default=())
# How a message is written for who reads it; the command line has words of its own.
words: ContextVar[Callable[[object], str]] = ContextVar("words", default=str)


class _Noting(logging.Filter):
    """Note warnings of the log, and let every line pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True."""
        if record.levelno == logging.WARNING:
            note(record.getMessage())
        return True


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Gather what is warned of in the block, or in the block around it that gathers it already.

    Whether the warning is shown makes no difference.
    """
    outer = _notes.get()
    if outer is not None:
        yield outer
        return
    texts: list[str] = []
    token = _notes.set(texts)
    noting = _Noting()
    # Before the filter that decides what is shown.
    logger.filters.insert(0, noting)
    try:
        yield texts
    finally:
        logger.filters.remove(noting)
        _notes.reset(token)


@contextlib.contextmanager
def without(*categories: type[Warning]) -> Iterator[None]:
    """Give no warnings of some categories in the block."""
    token = _muted.set((*_muted.get(), *categories))
    try:
        yield
    finally:
        _muted.reset(token)


def in_words(message: object) -> str:
    """Return a message or what an error says, on one line, in the words of who reads it."""
    if isinstance(message, BaseException) and len(message.args) == 1:
        (message,) = message.args
    return " ".join(words.get()(message).split())


def note(message: object) -> None:
    """Note a warning, where warnings are gathered."""
    texts = _notes.get()
    if texts is not None:
        text = in_words(message)
        if text not in texts:
            texts.append(text)


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn whoever called the package, with their line, and note it."""
    if issubclass(category, _muted.get()):
        return
    note(message)
    warnings.warn(message, category, stacklevel=_levels_up())


def _levels_up() -> int:
    """Count the frames from the one that warns to the first outside the package."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(module: str) -> bool:
    # It enters and leaves blocks of ours.
    if module == "contextlib":
        return True
    return module.startswith("mnncorrect.") and not module.startswith("mnncorrect.cli.")
