"""Labels of cells, such as cell types: which values of a column say that a cell has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.batches import as_categories

if TYPE_CHECKING:
    import pandas as pd

# What annotation tools write where a cell has no label; compared in lower case.
NO_LABEL = frozenset(
    {"", "-", "?", "n/a", "na", "nan", "none", "null", "not assigned", "unannotated", "unassigned",
     "undefined", "undetermined", "unknown", "unlabeled", "unlabelled"}
)  # fmt: skip


@dataclass(frozen=True)
class CellLabels:
    """Labels of cells."""

    codes: NDArray[np.int64]  # Number of each cell's label; -1: it has none.
    names: list[str]  # Of the labels.
    no_labels: list[str]  # Values of the column that say that a cell has no label.


def is_no_label(text: str) -> bool:
    """Tell whether a text says that a cell has no label.

    Examples
    --------
    >>> is_no_label("Unassigned"), is_no_label("B cell")
    (True, False)
    """
    return text.strip().lower() in NO_LABEL


def labels_of(values: pd.Series[Any]) -> CellLabels:
    """Read labels in the order of categories; missing values and words that say so are none."""
    codes, names = as_categories(values)
    known = [number for number, name in enumerate(names) if not is_no_label(name)]
    numbers = np.full(len(names) + 1, -1, np.int64)  # the last is that of missing values
    numbers[known] = np.arange(len(known))
    return CellLabels(
        numbers[codes],
        [names[number] for number in known],
        [name for name in names if is_no_label(name)],
    )
