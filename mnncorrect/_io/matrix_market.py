"""Matrix Market files: a strict grammar, checked before a library reads the numbers.

scipy's reader takes the digits that a number begins with and drops the rest: under a header that
says ``integer`` it reads ``3.7`` as 3 and ``3e2`` as 3. So every line is checked first, and a file
that breaks the grammar is refused with the line that does.
"""

from __future__ import annotations

import gzip
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnncorrect._adata.stored import PACKED_TIMES

BANNER = re.compile(r"%%?MatrixMarket\s+matrix\s+(\w+)\s+([\w-]+)\s+([\w-]+)\s*", re.ASCII)
# How a value is written, by the word of the header. No repeat of them gives back what it took, so a
# match is one pass. A sign before a positive number is not read by scipy.
WHOLE, BLANK = b"[0-9]++", b"[ \t]"
REAL = rb"-?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+"
ENTRY_FIELDS: dict[str, list[bytes]] = {
    "integer": [rb"-?+" + WHOLE],
    "unsigned-integer": [WHOLE],
    "real": [REAL],
    "double": [REAL],
    "pattern": [],
}
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
    """Check every line of a file, which gzip may have packed, and return what its header says.

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
    return file.readline(LONGEST_HEADER_LINE)


def _check_entries(file: Any, header: Header, path: Path) -> None:
    """Go through all lines after the header."""
    lines = _lines_of(header, ENTRY_FIELDS[header.field])
    line, rest = header.line, b""
    while True:
        block = file.read(READ_BYTES)
        whole, newline, rest = (rest + block).rpartition(b"\n") if block else (rest, b"\n", b"")
        text = whole + newline
        found = lines.match(text)
        right = found.end() if found else 0
        line += text.count(b"\n", 0, right)
        if right < len(text) or len(rest) > LONGEST_HEADER_LINE:
            wrong = (text[right:] or rest).partition(b"\n")[0]
            raise ValueError(_refusal(wrong, line, header, path))
        if not block:
            break


def _refusal(line: bytes, number: int, header: Header, path: Path) -> str:
    parts = ([] if header.dense else ["row", "column"]) + (
        [] if header.field == "pattern" else ["value"]
    )
    hint = ""
    if header.field.endswith("integer") and _lines_of(header, [REAL]).fullmatch(line + b"\n"):
        hint = f"; write real in the place of {header.field} in its first line"
    return (
        f"line {number:,} of {path} is {_excerpt(line)}; {', '.join(parts)} are expected, and the "
        f"file says that its values are {header.field}{hint}"
    )


def _lines_of(header: Header, value: list[bytes]) -> re.Pattern[bytes]:
    """Return what any number of lines looks like, each empty or with its places and a value."""
    places = [] if header.dense else [WHOLE, WHOLE]
    entry = (BLANK + b"++").join(places + value) + BLANK + b"*+"
    return re.compile(b"(?:" + BLANK + b"*+(?:" + entry + b")?+\\r?+\n)*+")


def _excerpt(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
