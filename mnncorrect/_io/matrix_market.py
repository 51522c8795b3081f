"""Matrix Market files: a strict grammar, checked before a library reads the numbers.

scipy's reader takes the digits that a number begins with and drops the rest: under a header that
says ``integer`` it reads ``3.7`` as 3 and ``3e2`` as 3. So every byte is checked first, by a table
of states in one pass, and a file that breaks the grammar is refused with the line that does.
"""

from __future__ import annotations

import gzip
import re
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata.stored import PACKED_TIMES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BANNER = re.compile(r"%%?MatrixMarket\s+matrix\s+(\w+)\s+([\w-]+)\s+([\w-]+)\s*", re.ASCII)
# Entries by the words of the header, as regular expressions of their values; None: no value.
ENTRY_FIELDS = {
    "integer": "integer",
    "unsigned-integer": "unsigned",
    "real": "real",
    "double": "real",
    "pattern": None,
}
# How a value is written: in each state, which bytes lead to which state. Values end in the states
# that are named in ENDS. A sign before a positive number is not read by scipy.
DIGITS = "0123456789"
VALUES: dict[str, dict[str, dict[str, str]]] = {
    "unsigned": {"": {DIGITS: "whole"}, "whole": {DIGITS: "whole"}},
    "integer": {
        "": {DIGITS: "whole", "-": "sign"},
        "sign": {DIGITS: "whole"},
        "whole": {DIGITS: "whole"},
    },
    "real": {
        "": {DIGITS: "whole", "-": "sign", ".": "point"},
        "sign": {DIGITS: "whole", ".": "point"},
        "whole": {DIGITS: "whole", ".": "part", "eE": "power"},
        "point": {DIGITS: "part"},
        "part": {DIGITS: "part", "eE": "power"},
        "power": {DIGITS: "tens", "+-": "power sign"},
        "power sign": {DIGITS: "tens"},
        "tens": {DIGITS: "tens"},
    },
}
ENDS = frozenset({"whole", "part", "tens"})
BLANK = " \t"
READ_BYTES = 1 << 22
# A line of a header, and the part of a wrong line that is shown.
LONGEST_HEADER_LINE, SHOWN = 1 << 16, 60
LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Header:
    """What a file says of itself."""

    shape: tuple[int, int]  # Rows and columns.
    entries: int  # How many numbers it holds.
    dense: bool  # Whether these are all numbers of the matrix, without their places.
    field: str  # What the numbers are: ``integer``, ``real``, ``pattern``...
    line: int  # The number of the first line after the header.
    start: int  # The byte that it begins at.


def checked_header(path: Path) -> Header:
    """Check every byte of a file, which gzip may have packed, and return what its header says.

    An error names the line that breaks the grammar.
    """
    with _open_text(path) as file:
        header = _header(file, path)
        if header.entries > path.stat().st_size * PACKED_TIMES:
            raise ValueError(
                f"{path} says that it holds {header.entries:,} {header.field} numbers; is it whole?"
            )
        _check_entries(file, header, path)
    return header


def read_checked(path: Path, header: Header) -> Any:
    """Read a file that was checked: a sparse matrix, or an array."""
    import scipy.io

    with warnings.catch_warnings():
        # Both kinds of sparse matrix that it may return become one below.
        warnings.filterwarnings("ignore", message="(?s).*`spmatrix`", category=DeprecationWarning)
        matrix: Any = scipy.io.mmread(path)
    numbers = matrix if header.dense else matrix.data
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"{path} has numbers above 1e308, which no value of a cell is; make it again"
        )
    if header.dense:
        return matrix
    rows = matrix.tocsr()
    if rows.nnz < matrix.nnz:
        twice = matrix.nnz - rows.nnz
        raise ValueError(
            f"{path} gives {twice:,} of its {matrix.nnz:,} entries a second time (same row and "
            "column); make it again"
        )
    return rows


def _open_text(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _header(file: Any, path: Path) -> Header:
    banner = _line(file)
    found = BANNER.fullmatch(banner.decode("ascii", "replace"))
    if found is None:
        raise ValueError(
            f"line 1 of {path} is {_excerpt(banner)}, not the first line of a Matrix Market file: "
            "%%MatrixMarket matrix coordinate integer general"
        )
    layout, field, symmetry = (word.lower() for word in found.groups())
    if field not in ENTRY_FIELDS or layout not in {"coordinate", "array"}:
        raise ValueError(
            f"{path} holds {layout} data of {field} numbers, which are not counts; make it again"
        )
    number, start = 1, len(banner)
    while True:
        line = _line(file)
        number, start = number + 1, start + len(line)
        if line == b"":
            raise ValueError(f"{path} ends within its header; copy or make it again")
        if line.strip() and not line.startswith(b"%"):
            break
    sizes = line.split()
    wanted = 3 if layout == "coordinate" else 2
    if len(sizes) != wanted or not all(size.isdigit() and len(size) < 19 for size in sizes):
        raise ValueError(
            f"line {number} of {path} is {_excerpt(line)}; {wanted} whole numbers are expected"
        )
    n_rows, n_columns, *rest = map(int, sizes)
    if max(n_rows, n_columns) > LARGEST:
        raise ValueError(
            f"{path} says that it has {n_rows:,} rows and {n_columns:,} columns; is it damaged?"
        )
    if symmetry != "general" and (symmetry != "symmetric" or n_rows != n_columns):
        raise ValueError(
            f"{path} calls its {n_rows} x {n_columns} values {symmetry}, which values of genes and "
            "cells are not; give its entries in full, and write general in its first line"
        )
    dense = layout == "array"
    entries = n_rows * n_columns if dense else rest[0]
    return Header((n_rows, n_columns), entries, dense, field, number + 1, start)


def _line(file: Any) -> bytes:
    line: bytes = file.readline(LONGEST_HEADER_LINE)
    return line


def _check_entries(file: Any, header: Header, path: Path) -> None:
    """Go through all lines after the header."""
    from mnncorrect._io.text_kernels import follow

    table, resting = _state_table(0 if header.dense else 2, ENTRY_FIELDS[header.field])
    state, line, tail = 1, header.line, b""
    while True:
        block = file.read(READ_BYTES)
        if not block:
            break
        state, at = follow(table, np.frombuffer(block, np.uint8), state)
        line += block.count(b"\n", 0, at)
        if state == 0:
            begun = (tail + block[:at]).rpartition(b"\n")[2]
            rest = (block[at : at + LONGEST_HEADER_LINE] + file.read(SHOWN)).partition(b"\n")[0]
            raise ValueError(_refusal(begun + rest, line, header, path))
        _, newline, rest = block.rpartition(b"\n")
        tail = (rest if newline else tail + block)[-LONGEST_HEADER_LINE:]
    if state not in resting:
        raise ValueError(_refusal(tail, line, header, path))


def _refusal(line: bytes, number: int, header: Header, path: Path) -> str:
    parts = ([] if header.dense else ["row", "column"]) + (
        [] if header.field == "pattern" else ["value"]
    )
    hint = ""
    table, resting = _state_table(0 if header.dense else 2, "real")
    if header.field.endswith("integer") and _fits(line, table, resting):
        hint = f"; write real in the place of {header.field} in its first line"
    return (
        f"line {number:,} of {path} is {_excerpt(line)}; {', '.join(parts)} are expected, and the "
        f"file says that its values are {header.field}{hint}"
    )


def _fits(line: bytes, table: NDArray[np.uint8], resting: frozenset[int]) -> bool:
    """Return whether a line has the grammar of a table."""
    from mnncorrect._io.text_kernels import follow

    return follow(table, np.frombuffer(line, np.uint8), 1)[0] in resting


def _excerpt(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


@cache
def _state_table(n_places: int, value: str | None) -> tuple[NDArray[np.uint8], frozenset[int]]:
    """Make the table of states of a line: so many whole numbers, then a value.

    Returns the next state by state and byte, where 0 refuses and 1 is the beginning of a line; and
    the states that the file may end in.
    """
    tokens = [VALUES["unsigned"]] * n_places + ([] if value is None else [VALUES[value]])
    names = ["refused", (0, ""), "end", "return"]
    names += [
        (n, state) for n, token in enumerate(tokens) for state in token if (n, state) != (0, "")
    ]
    number = {name: at for at, name in enumerate(names)}
    table = np.zeros((len(names), 256), np.uint8)

    def lead(state: Any, signs: str, to: Any) -> None:
        for sign in signs:
            table[number[state], ord(sign)] = number[to]

    ends = []
    for n, token in enumerate(tokens):
        lead((n, ""), BLANK, (n, ""))
        for state, ways in token.items():
            for signs, to in ways.items():
                lead((n, state), signs, (n, to))
            if state in ENDS and n + 1 < len(tokens):
                lead((n, state), BLANK, (n + 1, ""))
            elif state in ENDS:
                ends.append((n, state))
    done: list[Any] = [*ends, "end"]
    for state in done:
        lead(state, BLANK, "end")
    resting: list[Any] = [*done, (0, "")]
    for state in resting:
        lead(state, "\r", "return")
    resting.append("return")
    for state in resting:
        lead(state, "\n", (0, ""))
    return table, frozenset(number[state] for state in resting)
