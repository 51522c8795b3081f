"""The values that cells are colored by: a column of ``obs``, or a gene; categories as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import listed, printable, require, shortened
from mnncorrect._adata.matrix import describe_source, take_matrix

if TYPE_CHECKING:
    from anndata import AnnData

# Integers of at most so many values are drawn as categories.
FEW_VALUES = 12


def values_of(
    adata: AnnData, name: str, *, layer: str | None = None, gene_key: str | None = None
) -> tuple[pd.Series[Any], str]:
    """Return a column of ``obs`` or the expression of a gene, and the place it was read from."""
    if name in adata.obs:
        return adata.obs[name], "obs"
    genes: pd.Index[Any] = adata.var_names
    where = "var_names"
    if gene_key is not None:
        require(gene_key, adata.var.columns, "var")
        genes, where = pd.Index(adata.var[gene_key]), f"var[{gene_key!r}]"
    found = np.flatnonzero(genes == name)
    if not len(found):
        columns = f"obs has: {listed(adata.obs.columns, 8)}" if len(adata.obs.columns) else ""
        msg = f"neither obs nor {where} has {name!r}; name a column of obs or a gene"
        raise KeyError(msg + (f" ({columns})" if columns else ""))
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} genes have the name {name!r} in {where}; give another column of var by "
            "gene_key, or make the names unique by adata.var_names_make_unique()"
        )
    column = take_matrix(adata[:, found], layer=layer)
    dense = np.asarray(column.toarray() if hasattr(column, "toarray") else column)
    values = pd.Series(dense[:, 0].astype(np.float64), index=adata.obs_names)
    return values, describe_source(layer)


def is_categorical(values: pd.Series[Any]) -> bool:
    """Return whether a column is drawn as categories: all but numbers of many values."""
    if isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind not in "iufc":
        return True
    return values.dtype.kind in "iu" and values.nunique() <= FEW_VALUES


def literal(name: str, most: int = 40) -> str:
    """Write a name as text, long ones shortened: ``$`` would begin a formula."""
    return printable(shortened(name, most)).replace("$", r"\$")
