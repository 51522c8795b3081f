"""The batch column: which batch each cell belongs to, and what the batches are called."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import listed, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger("mnncorrect")

# Of so many batches of one cell, the message says in full how to leave them out.
REMEDY_FOR = 5


@dataclass(frozen=True)
class Batches:
    """The batches of a data set.

    Attributes
    ----------
    codes
        Number of each cell's batch, 0 to B - 1.
    names
        Name of each batch, as text, in the order of the numbers.
    """

    codes: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each batch."""
        return np.bincount(self.codes, minlength=len(self.names))


def take_batches(adata: AnnData, key: str) -> Batches:
    """Read the batch of every cell from a column of ``obs``.

    The order of the batches is that of the categories of a categorical column; of any other
    column, that of the sorted values: numbers by size, text by its characters. Categories
    without cells are dropped, with a line in the log.

    Parameters
    ----------
    adata
        The object.
    key
        Name of the column: integer, boolean, string or categorical.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If cells have no batch, all cells have the same, a batch has one cell only, or two
        batches have the same name as text.
    """
    require(key, adata.obs.columns, "obs")
    column = adata.obs[key]
    n_missing = int(column.isna().sum())
    if n_missing:
        msg = (
            f"obs[{key!r}] is missing for {n_missing} of {len(column)} cells; "
            f"fill it in, or leave these cells out: adata[adata.obs[{key!r}].notna()]"
        )
        raise ValueError(msg)

    codes, values = _coded(column, key)
    names = tuple(str(value) for value in values)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = (
            f"obs[{key!r}] holds different values that read the same as text: {listed(twice)}; "
            f"make them one type: adata.obs[{key!r}].astype(str)"
        )
        raise ValueError(msg)
    batches = Batches(codes, names)
    _check_sizes(batches, values, key)
    return batches


def _coded(column: pd.Series[Any], key: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Give each value that occurs a number, by the order of categories or of sorted values."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        try:
            column = column.astype("category")
            values = sorted(column.cat.categories)
        except TypeError:  # text and numbers in one column have no common order
            values = sorted(column.cat.categories, key=str)
        column = column.cat.reorder_categories(values)
    sizes = np.bincount(column.cat.codes, minlength=len(column.cat.categories))
    if not sizes.all():
        unused = column.cat.categories[sizes == 0]
        logger.info("obs[%r]: dropped unused categories: %s", key, listed(unused))
        column = column.cat.remove_unused_categories()
    return column.cat.codes.to_numpy().astype(np.int64), list(column.cat.categories)


def _check_sizes(batches: Batches, values: Sequence[Any], key: str) -> None:
    if len(values) == 1:
        msg = f"obs[{key!r}] has one batch only, {batches.names[0]!r}; correction needs two or more"
        raise ValueError(msg)
    single = [values[b] for b in np.flatnonzero(batches.sizes == 1).tolist()]
    if single:
        msg = f"batches of one cell in obs[{key!r}]: {listed(single)}; a batch needs two or more"
        if len(single) <= REMEDY_FOR:
            options = " ".join(f"--subset '{key}!={value}'" for value in single)
            shown = [value.item() if isinstance(value, np.generic) else value for value in single]
            msg += (
                f"; leave them out: adata[~adata.obs[{key!r}].isin({shown})], or on the command "
                f"line {options}"
            )
        else:
            msg += f"; leave these {len(single)} out, or name a column of fewer batches"
        raise ValueError(msg)
