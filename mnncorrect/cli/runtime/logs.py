"""What a command says while it works: lines on stderr, and in a file if one is wanted.

Lines for stderr are held back until the input has been found fit to work on, so that a failure is
the one line that says why. With ``--verbose`` or ``--debug`` nothing is held back.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mnncorrect._io.paths import LOG_TIME
from mnncorrect._wording import Worded, for_shell
from mnncorrect.cli import streams
from mnncorrect.cli.wording import on_shell

if TYPE_CHECKING:
    from mnncorrect.cli.options.shared import Reporting

logger = logging.getLogger("mnncorrect")


def error(text: str) -> None:
    """Say why a command fails, instead of what is still held back."""
    for handler in logger.handlers:
        if isinstance(handler, _Stderr):
            handler.held = None
    logger.error(text)


def release() -> None:
    """Let out what was held back, and hold back no more."""
    for handler in logger.handlers:
        if isinstance(handler, _Stderr):
            handler.release_held()


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warnings in the block, as the command tells them itself; the log file has them."""
    muted = [handler for handler in logger.handlers if isinstance(handler, _Stderr)]

    def is_no_warning(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING

    for handler in muted:
        handler.addFilter(is_no_warning)
    try:
        yield
    finally:
        for handler in muted:
            handler.removeFilter(is_no_warning)


@contextlib.contextmanager
def attached(options: Reporting) -> Iterator[None]:
    """Send the lines of the package's logger, and warnings, where the options say."""
    level = logging.DEBUG if options.verbose else logging.INFO
    with contextlib.ExitStack() as stack:
        hold = not (options.verbose or options.debug)
        handlers: list[logging.Handler] = [
            _Stderr(logging.WARNING if options.quiet else level, hold=hold)
        ]
        if options.log_file is not None:
            handlers.append(_file(options.log_file, level))
        before = logger.level, logger.propagate
        logger.setLevel(level)
        logger.propagate = False
        stack.callback(_restore, *before)
        for handler in handlers:
            handler.setFormatter(handler.formatter or _Line())
            handler.addFilter(_Once())
            logger.addHandler(handler)
            stack.callback(handler.close)
            stack.callback(logger.removeHandler, handler)
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = _log_warning
        # Whatever the environment says of warnings: ours are lines of the log.
        warnings.filterwarnings("always", category=UserWarning, module=r"mnncorrect\b")
        yield
        release()


def _restore(level: int, propagate: bool) -> None:
    logger.setLevel(level)
    logger.propagate = propagate


def _file(path: Path, level: int) -> logging.Handler:
    """Open the log file anew, as a rule of a workflow expects; what it replaces was checked."""
    try:
        handler = _File(path, mode="w", encoding="utf-8")
    except OSError as cause:
        raise OSError(f"the log file {path} cannot be written: {cause.strerror}") from cause
    handler.setLevel(level)
    handler.setFormatter(_Line("%(asctime)s "))
    return handler


class _File(logging.FileHandler):
    """Write to a file while that goes well; a failure is logged once and ends no run."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        self._tell(sys.exc_info()[1])

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        if not self.failed:
            self.failed = True
            reason = getattr(error, "strerror", None) or error
            line = f"warning: the log file {self.baseFilename} is not whole: {reason}"
            streams.complain(streams.line_of(line))


class _Stderr(logging.Handler):
    """Write to what stderr is when a line comes, since a progress bar may have taken its place."""

    def __init__(self, level: int, *, hold: bool) -> None:
        super().__init__(level)
        self.held: list[str] | None = [] if hold else None

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if self.held is None:
            streams.complain(line)
        else:
            self.held.append(line)

    def release_held(self) -> None:
        lines, self.held = self.held, None
        for line in lines or ():
            streams.complain(line)


class _Once(logging.Filter):
    """Let each line pass once: steps that see the same object say the same of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        is_new = line not in self.seen
        self.seen.add(line)
        return is_new


class _Line(logging.Formatter):
    """One line a record; what is more than information begins with its level."""

    def __init__(self, start: str = "") -> None:
        super().__init__(f"{start}%(message)s", datefmt=LOG_TIME)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        if isinstance(record.args, tuple) and record.args:
            record.message = str(record.msg) % tuple(map(_worded, record.args))
        # Code is shown as it is typed in Python.
        text = record.message if hasattr(record, "is_code") else on_shell(record.message)
        record.message = streams.line_of(kind + " ".join(text.split()))
        return super().formatMessage(record)


def _worded(value: object) -> object:
    return for_shell(value) if isinstance(value, Worded) else value


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Log a warning; what concerns developers only is for ``--verbose``."""
    if issubclass(category, UserWarning):
        logger.warning("%s", for_shell(message))
    else:
        logger.debug("%s (%s, %s line %d)", message, category.__name__, filename, lineno)
