"""What a command says while it works: lines on stderr, and in a file if one is wanted."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mnncorrect.cli.options import Reporting

logger = logging.getLogger("mnncorrect")
HDF5_SIGNATURE = b"\x89HDF"


def error(text: str) -> None:
    """Say why a command fails."""
    logger.error(text)


@contextlib.contextmanager
def attached(options: Reporting) -> Iterator[None]:
    """Send the lines of the package's logger, and warnings, where the options say."""
    level = logging.DEBUG if options.verbose else logging.INFO
    with contextlib.ExitStack() as stack:
        handlers: list[logging.Handler] = [_Stderr(logging.WARNING if options.quiet else level)]
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
        yield


def _restore(level: int, propagate: bool) -> None:
    logger.setLevel(level)
    logger.propagate = propagate


def _file(path: Path, level: int) -> logging.Handler:
    """Open the log file, which is replaced, as a rule of a workflow expects it."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
                msg = f"the log file {path} is an HDF5 file, which is not overwritten"
                raise FileExistsError(msg)
    try:
        handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    except OSError as cause:
        msg = f"the log file {path} cannot be written: {cause.strerror}"
        raise OSError(msg) from cause
    handler.setLevel(level)
    handler.setFormatter(_Line("%(asctime)s "))
    return handler


class _Stderr(logging.Handler):
    """Write to what stderr is when a line comes, since a progress bar may have taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)


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
    """One line a record; what is more than information begins with what it is."""

    def __init__(self, start: str = "") -> None:
        super().__init__(f"{start}%(message)s", datefmt="%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        record.message = kind + " ".join(record.message.split())
        return super().formatMessage(record)


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
        logger.warning("%s", message)
    else:
        logger.debug("%s (%s, %s line %d)", message, category.__name__, filename, lineno)
