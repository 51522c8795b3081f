r"""What a command writes to stdout and stderr: text that cannot steer a terminal.

Names come from files of strangers. Whatever does not print is written by its number, as ``\x1b``,
so that a name stays on its line and changes nothing on a terminal. Where stdout cannot be written,
the command fails; where stderr cannot be written, it goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

from mnncorrect.cli.wording import in_file

if TYPE_CHECKING:
    import pandas as pd

# Characters of a line, and of a cell of a table, that people read.
LONGEST_LINE, LONGEST_CELL = 2000, 100
# The share of a text that is kept after the cut, where it is cut in its middle.
TAIL = 0.3


def on_one_line(text: str) -> str:
    r"""Return text on one line, with what does not print written by its number.

    Examples
    --------
    >>> on_one_line("T cell")
    'T cell'
    >>> print(on_one_line("a\x1b[31m\nb"))
    a\x1b[31m\nb
    """
    if text.isprintable():
        return text
    return "".join(char if _prints(char) else _by_number(char) for char in text)


def cut_in_middle(text: str, longest: int = LONGEST_LINE) -> str:
    """Cut a text that is too long to be read in its middle."""
    if len(text) <= longest:
        return text
    room = longest - len("...[] more...") - len(str(len(text)))
    tail = int(room * TAIL)
    left_out = len(text) - room
    return f"{text[: room - tail]}...[{left_out} more]...{text[len(text) - tail :]}"


def line_of(text: str) -> str:
    """Return what stands on one line for people: it prints, and is not too long."""
    return cut_in_middle(on_one_line(text))


def cell_of(text: str) -> str:
    """Return what stands in one cell of a table for people."""
    return cut_in_middle(on_one_line(text), LONGEST_CELL)


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Align the columns of a table for people, to the right but for those on the ``left``."""
    rows = [list(map(cell_of, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(n) if column in left else cell.rjust(n)
            for column, (cell, n) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def tell(lines: Iterable[str]) -> None:
    """Write lines for people to stdout."""
    _write("\n".join(line_of(in_file(line)) for line in lines))


def tell_json(found: Any) -> None:
    """Write an object as JSON to stdout; what does not print is escaped there as well."""
    # What a file holds may be of a type that JSON does not have.
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    # The format escapes what is below a space already; this is lossless too.
    _write(re.sub(r"[^\x00-\x7e]", lambda char: _in_json(char[0]), text))


def tell_table(table: pd.DataFrame) -> None:
    """Write a table with its names for programs to stdout, separated by tabs."""
    texts = table.select_dtypes(exclude="number")
    shown = table.assign(**{str(name): texts[name].map(str).map(on_one_line) for name in texts})
    with _writing():
        shown.to_csv(sys.stdout, sep="\t", index=False)
        sys.stdout.flush()


def complain(line: str) -> None:
    """Write a line to stderr, where that is possible."""
    try:
        typer.echo(line, err=True)
    except OSError:
        send_nowhere(sys.stderr)


class Tolerant:
    """A stream, of which it does no harm that it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, where that is possible."""
        try:
            return self._stream.write(text)
        except OSError:
            send_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flush, where that is possible."""
        try:
            self._stream.flush()
        except OSError:
            send_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(text: str) -> None:
    with _writing():
        typer.echo(text)


@contextlib.contextmanager
def _writing() -> Any:
    """Turn what goes wrong in writing to stdout into one error about it."""
    try:
        yield
    except BrokenPipeError:
        # Who reads our output has had enough of it.
        send_nowhere(sys.stdout)
        raise typer.Exit from None
    except OSError as error:
        send_nowhere(sys.stdout)
        raise OSError(
            f"standard output cannot be written: {error.strerror}; send it to another place"
        ) from error


def send_nowhere(stream: TextIO) -> None:
    """Send a stream that cannot be written, and what waits in it, to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _prints(char: str) -> bool:
    # Spaces other than the common one do no harm, and people have them in names.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _by_number(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _in_json(char: str) -> str:
    return char if _prints(char) else json.dumps(char)[1:-1]
