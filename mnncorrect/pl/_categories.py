"""Columns as categories, and their names as matplotlib writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import printable, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Integers of at most so many values are drawn as categories.
FEW_VALUES = 12


def is_categorical(values: pd.Series[Any]) -> bool:
    """Return whether a column is drawn as categories: all but numbers of many values."""
    if isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind not in "iufc":
        return True
    return values.dtype.kind in "iu" and values.nunique() <= FEW_VALUES


def as_categories(values: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each cell's category, -1 for none, and the names of those that occur."""
    column = values.astype("category").cat.remove_unused_categories()
    codes: NDArray[np.int64] = column.cat.codes.to_numpy().astype(np.int64)
    return codes, [str(name) for name in column.cat.categories]


def literal(name: str, most: int = 40) -> str:
    """Write a name as text, long ones shortened: ``$`` would begin a formula."""
    return printable(shortened(name, most)).replace("$", r"\$")
