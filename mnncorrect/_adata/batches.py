"""The batch column or columns: which batch each cell belongs to, and what batches are called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.unread import refuse_unread
from mnncorrect._log import logger, warn_caller
from mnncorrect._wording import Worded, option

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.merging.plans import Tree

# Of so many batches of one cell, the message says in full how to leave them out.
REMEDY_FOR = 5
# What a value that is missing is called in tables.
MISSING = frozenset(
    ("", "nan", "na", "n/a", "#n/a", "<na>", "nat", "none", "null", "missing", "unknown")
)
# Between the values of several columns in the name of a batch.
JOINED_BY = "/"


@dataclass(frozen=True)
class Batches:
    """The batches of a data set."""

    codes: NDArray[np.int64]  # Number of each cell's batch, 0 to B - 1.
    names: tuple[str, ...]  # Name of each batch, as text, in the order of the numbers.
    # Which merges several columns ask for; ``None``: one column asks for none.
    plan: Tree | None = None

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each batch."""
        return np.bincount(self.codes, minlength=len(self.names))


class CellsToLeaveOut(ValueError):  # noqa: N818
    """Batches that cannot be used unless some cells are left out.

    ``conditions``: what the other cells meet, as ``subset`` takes it, where that is known.
    """

    def __init__(self, message: str, conditions: Sequence[str]) -> None:
        super().__init__(message)
        self.conditions = list(conditions)


def take_batches(adata: AnnData, key: str | Sequence[str]) -> Batches:
    """Read the batch of every cell from one column of ``obs``, or several, the outermost first.

    The order of the batches is that of the categories of a categorical column; of any other
    column, that of the sorted values: numbers by size, text by its characters. Categories
    without cells are dropped, which is logged. With several columns, the batches are the
    combinations of values that occur, in the order of the first column, then of the next.
    """
    if isinstance(key, str):
        codes, values = take_labels(adata, key)
        batches = Batches(codes, tuple(map(str, values)))
        _check_sizes(batches, values, key)
        warn_of_missing(key, batches.names, batches.sizes)
        return batches
    keys = list(key)
    if not keys or len(set(keys)) < len(keys):
        problem = "names a column twice" if keys else "names no column"
        raise ValueError(
            f"key {problem}: {keys}; name columns of obs, from the outermost to the innermost"
        )
    from mnncorrect.core.merging.plans import nested_plan

    columns = [take_labels(adata, name) for name in keys]
    found, joint = np.unique(
        np.stack([codes for codes, _ in columns], 1), axis=0, return_inverse=True
    )
    names = tuple(
        join_names(values[code] for code, (_, values) in zip(row, columns, strict=True))
        for row in found.tolist()
    )
    plan = nested_plan(found.tolist()) if len(keys) > 1 else None
    batches = Batches(joint.ravel().astype(np.int64), names, plan)
    _check_sizes(batches, names, keys)
    for name, (codes, values) in zip(keys, columns, strict=True):
        warn_of_missing(name, values, np.bincount(codes))
    return batches


def texts_of(column: pd.Series[Any]) -> NDArray[np.object_]:
    """Write the values of a column as text; what is missing as well, such as ``nan``."""
    texts = column.astype(str).to_numpy(dtype=object, copy=True)
    missing = column.isna().to_numpy()
    if missing.any():
        texts[missing] = str(column[missing].iloc[0])
    return texts


def warn_of_missing(key: str, names: Iterable[Any], sizes: NDArray[np.integer[Any]]) -> None:
    """Warn of batches that are called as missing values are: their cells may have no batch."""
    for name, size in zip(map(str, names), sizes.tolist(), strict=True):
        if name.strip().casefold() in MISSING:
            start = (
                f"obs[{key!r}] has a batch {name!r} of {size} cells, a name of missing values; "
                "if these cells have no batch, leave them out: "
            )
            warn_caller(
                Worded(
                    f"{start}adata[adata.obs[{key!r}] != {name!r}]",
                    command_line=f"{start}{option('subset', f'{key}!={name}')}",
                )
            )


def join_names(values: Iterable[Any]) -> str:
    """Name a combination of values, in a way that tells different combinations apart.

    Examples
    --------
    >>> join_names(["10x", 3])
    '10x/3'
    >>> join_names(["a/b", "c"]), join_names(["a", "b/c"])
    ('"a/b"/c', 'a/"b/c"')
    """
    texts = [str(value) for value in values]
    if len(texts) == 1:
        return texts[0]
    return JOINED_BY.join(
        json.dumps(text, ensure_ascii=False) if JOINED_BY in text or '"' in text else text
        for text in texts
    )


def batch_names(obs: pd.DataFrame, key: str | Sequence[str], place: str = "obs") -> pd.Series[str]:
    """Name the batch of every cell, as :func:`take_batches` does; ``place``: obs, in an error."""
    keys = [key] if isinstance(key, str) else list(key)
    for name in keys:
        require(name, obs.columns, place)
    columns = [obs[name].tolist() for name in keys]
    return pd.Series(
        [join_names(values) for values in zip(*columns, strict=True)], obs.index, dtype=object
    )


def batches_in_order(
    obs: pd.DataFrame, key: str | Sequence[str], order: Iterable[str]
) -> pd.Series[Any]:
    """Name the batch of every cell, as categories in the order that a correction had them in.

    The categories are the batches that occur: first those of ``order``, then the others by name.
    """
    named = batch_names(obs, key)
    there = set(named)
    known = [name for name in order if name in there]
    return named.astype(pd.CategoricalDtype([*known, *sorted(there - set(known))]))


def recorded_key(text: str, columns: Iterable[Any]) -> str | list[str]:
    """Read a key as it is recorded: the name of a column, or several as a JSON list."""
    if text in set(columns) or not text.startswith("["):
        return text
    names: list[str] = json.loads(text)
    return names


def as_categories(values: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each cell's category, -1 for none, and the names of those that occur."""
    column = values.astype("category").cat.remove_unused_categories()
    codes: NDArray[np.int64] = column.cat.codes.to_numpy().astype(np.int64)
    return codes, [str(name) for name in column.cat.categories]


def take_labels(adata: AnnData, key: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Give each value of a column of ``obs`` a number: by categories, or by sorted values.

    Returns the number of each cell's value, and the values.
    Raises ``ValueError`` if values are missing, or two of them are the same as text.
    """
    refuse_unread(adata, "obs", key)
    require(key, adata.obs.columns, "obs")
    column = adata.obs[key]
    refuse_missing(column, key)
    codes, values = _coded(column, key)
    names = [str(value) for value in values]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        start = f"obs[{key!r}] holds different values with the same text: {listed(twice)}; "
        raise ValueError(
            Worded(
                f"{start}make them one type: adata.obs[{key!r}].astype(str)",
                command_line=f"{start}write the file again with values of one type in this column",
            )
        )
    return codes, values


def refuse_missing(column: pd.Series[Any], key: str) -> None:
    """Refuse a column of obs that has no value for some cells."""
    n_missing = int(column.isna().sum())
    if not n_missing:
        return
    start = (
        f"obs[{key!r}] is missing for {n_missing} of {len(column)} cells; "
        "fill it in, or leave these cells out: "
    )
    called = texts_of(column)[column.isna().to_numpy()][0]
    msg = Worded(
        f"{start}adata[adata.obs[{key!r}].notna()]",
        command_line=f"{start}{option('subset', f'{key}!={called}')}",
    )
    raise CellsToLeaveOut(msg, [f"{key}!={called}"])


def _coded(column: pd.Series[Any], key: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Give each value that occurs a number."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        try:
            column = column.astype("category")
        except TypeError as error:
            held = type(column.iloc[0]).__name__
            raise TypeError(
                f"obs[{key!r}] holds values of type {held}; name a column of text or numbers"
            ) from error
        try:
            values = sorted(column.cat.categories)
        except TypeError:  # text and numbers in one column have no common order
            values = sorted(column.cat.categories, key=str)
        column = column.cat.reorder_categories(values)
    # Numpy would ask the column for attributes, for which pandas hashes the names of all cells.
    codes = column.cat.codes.to_numpy()
    sizes = np.bincount(codes, minlength=len(column.cat.categories))
    if not sizes.all():
        unused = column.cat.categories[sizes == 0]
        logger.info("obs[%r]: dropped unused categories: %s", key, listed(unused))
        column = column.cat.remove_unused_categories()
    return column.cat.codes.to_numpy().astype(np.int64), list(column.cat.categories)


def _check_sizes(batches: Batches, values: Sequence[Any], key: str | list[str]) -> None:
    where = f"obs[{key!r}]"
    if len(values) == 1:
        raise ValueError(
            f"{where} has one batch only, {batches.names[0]!r}; correction needs two or more: name "
            "another column, or give several files"
        )
    single = [values[b] for b in np.flatnonzero(batches.sizes == 1).tolist()]
    if single:
        msg = f"batches of one cell in {where}: {listed(single)}; a batch needs two or more"
        conditions = []
        if isinstance(key, str) and len(single) <= REMEDY_FOR:
            conditions = [f"{key}!={value}" for value in single]
            options = " ".join(option("subset", condition) for condition in conditions)
            shown = [value.item() if isinstance(value, np.generic) else value for value in single]
            msg = Worded(
                f"{msg}; leave them out: adata[~adata.obs[{key!r}].isin({shown})]",
                command_line=f"{msg}; leave them out: {options}",
            )
        else:
            msg += f"; leave these {len(single)} out, or name a column of fewer batches"
        raise CellsToLeaveOut(msg, conditions)
