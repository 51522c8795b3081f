"""Which features are genes, and not antibodies, guides or peaks measured in the same cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mnncorrect._adata.lookup import listed
from mnncorrect._log import warn_caller

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# Columns of var that hold the type of a feature, and the types that are genes.
TYPE_COLUMNS = ("feature_types", "feature_type")
GENES = frozenset({"gene expression", "gene", "genes", "gex", "rna", "mrna", "expression"})


class FeaturesWarning(UserWarning):
    """What is corrected are no genes."""


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
        text = f"{where}[{column!r}]: all features are {kinds.dropna().iloc[0]}, not genes"
        warn_caller(text, FeaturesWarning)
    elif not genes.any():
        raise ValueError(
            f"{where}[{column!r}] holds no features of type 'Gene Expression', but "
            f"{listed(pd.unique(kinds))}; give the features that are to be corrected alone"
        )
    return None if genes.all() or not genes.any() else genes
