"""Which genes of two inputs are the same, by their names; and why they are not, where few are.

In messages, arguments stand in backticks, for the command line to write as options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import listed

# An identifier of Ensembl and its version; the copy of a gene on the Y chromosome stays another.
ENSEMBL = re.compile(r"((?:ENS[A-Z]*|MGP_[0-9A-Za-z]+_)[EGPT]\d{5,})(?:\.\d+)?(_PAR_Y)?")
# What Cell Ranger writes before the names of genes where a reference has several genomes.
GENOME = re.compile(r"(?:GRC[a-z]+\d+|hg\d\d|mm\d\d?|rn\d|dm\d|danRer\d+)(?:[_.-]p?\d+)?_+(?=.)")
# Names are of a kind if this share of them is.
MOSTLY_OF_KIND = 0.8
# A difference of names is reported if at least this share of the genes would match without it.
WORTH_TELLING = 0.05
# Names that this share of genes shares are names, and tell which gene is meant.
DISTINCT = 0.9
# So many columns of var are looked through.
MOST_NAME_COLUMNS = 50
# Fewer shared genes than this share of an input's are few; where they are fewer than the number
# besides, nothing sensible is left.
LEAST_SHARE_MATCHED, LEAST_SHARED = 1 / 3, 20


def cleaned(names: Iterable[Any], *, strip_versions: bool = False) -> list[str]:
    """Take white space off the ends of names, and versions off those of Ensembl if wanted."""
    texts = [str(name).strip() for name in names]
    return [without_version(text) for text in texts] if strip_versions else texts


def without_version(name: str) -> str:
    """Take the version off an identifier of Ensembl; other names stay as they are."""
    found = ENSEMBL.fullmatch(name) if "." in name else None
    return name if found is None else found[1] + (found[2] or "")


def white_space(names: Iterable[Any]) -> str:
    """Say how many names have white space at an end, with an example; empty if none has."""
    padded = [str(name) for name in names if str(name) != str(name).strip()]
    if not padded:
        return ""
    return f"{len(padded)} gene names begin or end with white space, such as {padded[0]!r}"


@dataclass(frozen=True)
class NamedGenes:
    """The genes of an input."""

    what: str  # What the input is called in messages.
    names: Sequence[str]  # Names of its genes.
    table: pd.DataFrame | None = None  # Their table, a row a name; ``None``: there is none.


def kind_of_names(names: Sequence[str]) -> str:
    """Tell what names are: "Ensembl ids", "row numbers", "numbers", or "symbols"."""
    if not len(names):
        return "symbols"
    if np.mean([name.isdecimal() for name in names]) >= MOSTLY_OF_KIND:
        numbers = {int(name) for name in names if name.isdecimal()}
        start = min(numbers)
        in_rows = start <= 1 and numbers == set(range(start, start + len(names)))
        return "row numbers" if in_rows else "numbers"
    ids = np.mean([ENSEMBL.fullmatch(name) is not None for name in names])
    return "Ensembl ids" if ids >= MOSTLY_OF_KIND else "symbols"


def difference(one: NamedGenes, other: NamedGenes) -> str:
    """Say in what the names of two inputs differ, with an example and a remedy; empty: unknown."""
    shared, least = _shared(one, other)
    if min(len(one.names), len(other.names)) - len(shared) < least:
        return ""
    found = [
        text
        for alike, told in DIFFERENCES
        if (text := _alike(one, other, shared, least, alike, told))
    ]
    kinds = kind_of_names(one.names), kind_of_names(other.names)
    if kinds[0] != kinds[1]:
        found.append(
            f"{one.what} names genes by {kinds[0]} ({listed(one.names[:2])}), and {other.what} by "
            f"{kinds[1]} ({listed(other.names[:2])})"
        )
    column, versions = _matching_column(one, other, len(shared) + least)
    if column:
        also = " and `strip_versions=True`" if versions else ""
        found.append(f"var[{column!r}] has names that match: give `gene_key={column!r}`{also}")
    return "; ".join(found)


def remedy(inputs: Sequence[NamedGenes]) -> dict[str, Any]:
    """Return the arguments by which the genes of inputs match better than by their names.

    Those that :func:`judge_gene_names` names: ``strip_versions``, or else ``gene_key``, or both.
    """
    first, *others = inputs
    for other in others:
        found = _contradicting_column(first, other)
        if found is not None:
            return {"gene_key": found[0]}
    worst = _least_shared(first, others)
    shared, least = _shared(first, worst)
    if min(len(first.names), len(worst.names)) - len(shared) < least:
        return {}
    if _alike(first, worst, shared, least, *DIFFERENCES[0]):
        return {"strip_versions": True}
    column, versions = _matching_column(first, worst, len(shared) + least)
    return ({"gene_key": column} if column else {}) | ({"strip_versions": True} if versions else {})


def _shared(one: NamedGenes, other: NamedGenes) -> tuple[set[str], float]:
    """Return the names that two inputs share, and how many more are worth telling."""
    fewest = min(len(one.names), len(other.names))
    return set(one.names) & set(other.names), max(1, WORTH_TELLING * fewest)


def _least_shared(first: NamedGenes, others: Sequence[NamedGenes]) -> NamedGenes:
    """Return the input that shares the smallest part of its names with the first."""
    names = set(first.names)
    return min(others, key=lambda other: len(names & set(other.names)) / max(1, len(other.names)))


def _alike(
    one: NamedGenes,
    other: NamedGenes,
    shared: set[str],
    least: float,
    alike: Callable[[str], str],
    told: str,
) -> str:
    """Say how many more genes are the same by another reading of names, with an example."""
    left = {alike(name): name for name in one.names if name not in shared}
    right = {alike(name): name for name in other.names if name not in shared}
    more = [name for name in left if name in right]
    if len(more) < least:
        return ""
    example = f"{left[more[0]]!r}, {right[more[0]]!r}"
    return f"{len(more)} genes of {one.what} and {other.what} {told.format(example=example)}"


# Other readings of a name, and the text for a message if names match by them.
DIFFERENCES: tuple[tuple[Callable[[str], str], str], ...] = (
    (
        without_version,
        "differ only in the version of Ensembl ids ({example}): give `strip_versions=True`",
    ),
    (
        str.casefold,
        "differ only in case ({example}), as human and mouse genes do: rename those of one input",
    ),
    (
        lambda name: GENOME.sub("", name, count=1),
        "differ only in the genome before the name ({example}): rename those of one input",
    ),
)


def _matching_column(one: NamedGenes, other: NamedGenes, least: float) -> tuple[str, bool]:
    """Find the column of var by which most genes match; where only one has it, by names there.

    Returns the column, if there is any, and whether versions must be stripped.
    """
    best, most, versions = "", least, False
    tables = [table for table in (one.table, other.table) if table is not None]
    columns = dict.fromkeys(column for table in tables for column in _text_columns(table))
    for column in list(columns)[:MOST_NAME_COLUMNS]:
        for strip in (False, True):
            values = [
                named.table[column].dropna()
                if named.table is not None and column in named.table
                else named.names
                for named in (one, other)
            ]
            left, right = (set(cleaned(some, strip_versions=strip)) for some in values)
            if len(left & right) > most:
                best, most, versions = column, len(left & right), strip
    return best, versions


def _text_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that hold text of which most values differ."""
    return [
        str(column)
        for column in table
        if not pd.api.types.is_numeric_dtype(table[column])
        and not pd.api.types.is_bool_dtype(table[column])
        and table[column].nunique() >= DISTINCT * len(table)
    ]


def _filled(column: pd.Series[Any]) -> Any:
    """Return the values of a column, empty where they are missing."""
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = ""
    return values


def contradiction(one: NamedGenes, other: NamedGenes) -> str:
    """Say if a column of both tables calls genes of one name by different names; else empty."""
    found = _contradicting_column(one, other)
    if found is None:
        return ""
    column, name, left, right = found
    return (
        f"genes of one name are others by var[{column!r}]: {name!r} is {left!r} in {one.what} and "
        f"{right!r} in {other.what}; match genes by that column: `gene_key={column!r}`"
    )


def _contradicting_column(one: NamedGenes, other: NamedGenes) -> tuple[str, str, str, str] | None:
    """Find a column that calls genes of one name by different names: it, and an example."""
    if one.table is None or other.table is None:
        return None
    indices = [pd.Index(np.array(named.names, dtype=object)) for named in (one, other)]
    shared = indices[0].intersection(indices[1])
    if not len(shared):
        return None
    # Of a doubled name, the first.
    firsts = [np.flatnonzero(~index.duplicated()) for index in indices]
    rows = [
        first[index[first].get_indexer(shared)]
        for index, first in zip(indices, firsts, strict=True)
    ]
    for column in [column for column in one.table if column in other.table][:MOST_NAME_COLUMNS]:
        raw = [
            _filled(named.table[column])[at]
            for named, at in zip((one, other), rows, strict=True)
            if named.table is not None
        ]
        # As they stand, most agree, in almost all inputs.
        if np.mean(raw[0] == raw[1]) > 1 / 2 or not {column} & set(
            _text_columns(one.table[[column]])
        ):
            continue
        left, right = (np.array(cleaned(some, strip_versions=True), object) for some in raw)
        differ = left != right
        if differ.mean() > 1 / 2 and len(set(left) & set(right)) > len(left) / 2:
            at = int(np.flatnonzero(differ)[0])
            return str(column), str(shared[at]), str(left[at]), str(right[at])
    return None


def judge_gene_names(inputs: Mapping[str, NamedGenes], n_shared: int) -> list[str]:
    """Judge how well the genes of inputs match by their names; return what to warn of.

    Refused are inputs that share no gene or a few of many, and names that mean different genes.
    """
    first, *others = inputs.values()
    if not others:
        return []
    sizes = {name: len(named.names) for name, named in inputs.items()}
    for other in others:
        problem = contradiction(first, other)
        if problem:
            raise ValueError(problem)
    warned = _refuse_numbers(inputs)
    worst = _least_shared(first, others)
    why = difference(first, worst)
    examples = "; ".join(f"{named.what}: {', '.join(named.names[:2])}" for named in (first, worst))
    if n_shared == 0:
        todo = (
            "" if "`" in why else "; name the column of var that holds matching names: `gene_key`"
        )
        raise ValueError(
            f"the inputs have no genes in common ({examples}){why and '; '}{why}{todo}"
        )
    least, largest = min(sizes.values()), max(sizes, key=lambda name: sizes[name])
    few = f"only {n_shared} genes are in all inputs ({{}}{'' if why else f'; {examples}'})"
    if n_shared < min(LEAST_SHARED, LEAST_SHARE_MATCHED * least):
        todo = why or "name the column of var that holds matching names: `gene_key`"
        raise ValueError(
            f"{few.format(f'of {least} that the smallest has')}: too few to correct; {todo}"
        )
    if n_shared < LEAST_SHARE_MATCHED * sizes[largest]:
        told = few.format(f"{largest} has {sizes[largest]}")
        warned.append(f"{told}{why and '; '}{why}")
    elif why:
        warned.append(why)
    return warned


def _refuse_numbers(inputs: Mapping[str, NamedGenes]) -> list[str]:
    """Warn of names that are mere numbers; refuse numbers of rows where there are more in one."""
    kinds = {name: kind_of_names(named.names) for name, named in inputs.items()}
    first, *_, last = inputs.values()
    examples = "; ".join(f"{named.what}: {', '.join(named.names[:2])}" for named in (first, last))
    if set(kinds.values()) == {"row numbers"}:
        sizes = {name: len(named.names) for name, named in inputs.items()}
        told = "genes are named by row numbers, which do not identify genes"
        if len(set(sizes.values())) > 1:
            each = ", ".join(f"{name} has {size}" for name, size in list(sizes.items())[:3])
            raise ValueError(
                f"{told} where inputs have different genes ({each}); name them by `gene_key`"
            )
        text = (
            f"{told} ({examples}): a gene of one input is taken for the one in the same row of the "
            "others; if that is not so, name a column of var: `gene_key`"
        )
        return [text]
    if set(kinds.values()) <= {"row numbers", "numbers"}:
        text = (
            f"the names of genes are mere numbers ({examples}); if they are row numbers and not "
            "identifiers, name a column of var: `gene_key`"
        )
        return [text]
    return []
