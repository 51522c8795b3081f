"""Which features are genes, and not antibodies, guides or peaks measured in the same cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd

from mnncorrect._adata.lookup import listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("mnncorrect")

# Columns of var that hold the type of a feature, and the types that are genes.
TYPE_COLUMNS = ("feature_types", "feature_type")
GENES = frozenset({"gene expression", "gene", "genes", "gex", "rna", "mrna", "expression"})


def genes_among(
    var: pd.DataFrame, where: str = "var", *, needed: bool = False
) -> NDArray[np.bool_] | None:
    """Return which features are genes; ``None``: all are, or var has no types.

    ``needed``: refuse features of one type that is not that of genes; several such always are.
    """
    column = next((name for name in TYPE_COLUMNS if name in var), None)
    if column is None:
        return None
    kinds = var[column].astype("string").str.strip()
    if kinds.isna().all():
        return None
    # A feature without a type counts as a gene.
    genes: NDArray[np.bool_] = (kinds.str.lower().isin(GENES) | kinds.isna()).to_numpy(dtype=bool)
    if not genes.any() and kinds.nunique() == 1 and not needed:
        logger.warning(
            "%s[%r]: all features are %s, not genes", where, column, kinds.dropna().iloc[0]
        )
    elif not genes.any():
        msg = (
            f"{where}[{column!r}] holds no features of type 'Gene Expression', but "
            f"{listed(pd.unique(kinds))}; give the features that are to be corrected alone"
        )
        raise ValueError(msg)
    return None if genes.all() or not genes.any() else genes
