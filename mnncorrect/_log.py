"""Where the lines of this package's log go in Python: as ``scanpy.settings.verbosity`` says."""

from __future__ import annotations

import logging
import sys
from typing import Any

logger = logging.getLogger("mnncorrect")

# A level below all others, so that the filter sees every line. Any other is one a user has set.
ALL = 1


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
        logger.setLevel(logger.level or ALL)


def _own_level() -> int:
    """Return the level that Python's logging has been set to."""
    if logger.level != ALL or logger.parent is None:
        return logger.level
    return logger.parent.getEffectiveLevel()


def _to_scanpy(record: logging.LogRecord) -> None:
    scanpy: Any = sys.modules.get("scanpy")
    show = getattr(getattr(scanpy, "logging", None), record.levelname.lower(), None)
    if show is not None:
        show(record.getMessage())
    elif record.levelno >= logging.WARNING and logging.lastResort is not None:
        logging.lastResort.handle(record)
