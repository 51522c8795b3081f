"""The table of inputs that ``--sheet`` names."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnncorrect._adata.lookup import listed

COLUMN_SEPARATORS = {".tsv": "\t", ".csv": ","}
PATH, BATCH = "path", "batch"
CELL_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


@dataclass(frozen=True)
class Sheet:
    """The inputs of a table."""

    paths: list[Path]  # Of the inputs, in order.
    about: list[dict[str, Any]]  # What becomes a column of obs: batch and covariates of each.


def read_sheet(path: Path) -> Sheet:
    """Read a table of inputs, separated as its name says; paths are relative to its folder.

    A covariate whose values are all numbers is one of numbers; of others, empty values are missing.
    """
    separator = COLUMN_SEPARATORS.get(path.suffix.lower())
    if separator is None:
        raise ValueError(f"the sheet {path} is neither .tsv nor .csv; rename it by its separator")
    rows = _rows(path, separator)
    if not rows:
        raise ValueError(f"the sheet {path} is empty; it needs a header with {PATH} and {BATCH}")
    header, *lines = [[cell.strip() for cell in row] for row in rows]
    _check_header(path, header)
    if not lines:
        raise ValueError(f"the sheet {path} names no inputs; it has a header only")
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            by = "tabs" if separator == "\t" else "commas"
            raise ValueError(
                f"the sheet {path}, row {number}: {len(line)} values, but the header has "
                f"{len(header)}; is it separated by {by}?"
            )
    columns = {name: [line[at] for line in lines] for at, name in enumerate(header)}
    for name in (PATH, BATCH):
        empty = [number for number, cell in enumerate(columns[name], 2) if cell == ""]
        if empty:
            raise ValueError(f"the sheet {path}, row {listed(empty)}: the column {name} is empty")
    paths = [path.parent / cell for cell in columns.pop(PATH)]
    missing = [str(each) for each in paths if not each.exists()]
    if missing:
        raise FileNotFoundError(
            f"the sheet {path} names inputs that do not exist: {listed(missing, 5)}"
        )
    values = {name: cells if name == BATCH else _typed(cells) for name, cells in columns.items()}
    return Sheet(paths, [{name: values[name][i] for name in values} for i in range(len(paths))])


def _rows(path: Path, separator: str) -> list[list[str]]:
    if path.is_dir():
        raise IsADirectoryError(f"the sheet {path} is a folder")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter=separator))
            return [row for row in rows if any(map(str.strip, row))]
    except FileNotFoundError:
        raise FileNotFoundError(f"the sheet {path} does not exist") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the sheet {path} is not a table of text: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    for name in (PATH, BATCH):
        if name not in header:
            raise ValueError(f"the sheet {path} has no column {name!r}; it has: {listed(header)}")
    if len(set(header)) < len(header) or "" in header:
        raise ValueError(
            f"the sheet {path} has columns without a name, or of one name: {listed(header)}"
        )


def _typed(cells: list[str]) -> list[Any]:
    """Return the values of a covariate: all numbers, or all text, and what is missing."""
    some = [cell for cell in cells if cell]
    if some and all(CELL_NUMBER.fullmatch(cell) for cell in some):
        whole = all("." not in cell for cell in some) and len(some) == len(cells)
        return [int(cell) if whole else float(cell or "nan") for cell in cells]
    return [cell or None for cell in cells]
