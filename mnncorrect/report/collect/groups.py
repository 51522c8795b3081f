"""Groups of cells: batches, labels, clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.batches import as_categories
from mnncorrect._adata.labels import labels_of
from mnncorrect._adata.lookup import require

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class CellGroups:
    """A grouping of the cells."""

    # Column, or columns joined by a comma; ``None``: no column tells several groups apart.
    name: str | None
    codes: NDArray[np.int64]  # Number of each cell's group; -1: none.
    names: list[str]  # Of the groups.
    sizes: list[int]  # Of the groups.


def read_groups(adata: AnnData, column: str, *, labels: bool = False) -> CellGroups:
    """Read a column as groups, largest numbers of categories and missing values included.

    With ``labels``, values that say that a cell has no label are none.
    """
    require(column, adata.obs.columns, "obs")
    found = as_groups(column, adata.obs[column], labels=labels)
    if not found.names:
        raise ValueError(f"obs[{column!r}] has no value for any cell; name another column")
    return found


def as_groups(name: str | None, values: pd.Series[Any], *, labels: bool = False) -> CellGroups:
    """Give each value a number, and count its cells; missing ones have none."""
    if labels:
        found = labels_of(values)
        codes, names = found.codes, found.names
    else:
        codes, names = as_categories(values)
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    return CellGroups(name, codes, names, sizes.tolist())


def group_facts(groups: CellGroups) -> dict[str, Any]:
    """Say what there is to say of a grouping."""
    return {
        "key": groups.name,
        "names": groups.names,
        "sizes": groups.sizes,
        "without": int((groups.codes < 0).sum()),
    }
