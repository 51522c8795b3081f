"""What ``run`` does to values before they are corrected: look at them, normalise, choose genes."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mnncorrect._adata import describe_source, take_matrix

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches

logger = logging.getLogger("mnncorrect")

# Stored values looked at together; keeps the memory of it small.
LOOKED_AT = 1 << 22
# log1p of counts scaled to a million stays below 14, log2 below 20: what is larger is no logarithm.
LARGEST_LOG = 20.0


@dataclass(frozen=True)
class Values:
    """What was found by looking at expression values.

    Attributes
    ----------
    where
        The place they were read from.
    smallest, largest
        Their range.
    n_negative
        How many are below zero.
    whole
        Whether all that are not negative are whole numbers.
    """

    where: str
    smallest: float
    largest: float
    n_negative: int
    whole: bool

    @property
    def are_counts(self) -> bool:
        """Whether they look like counts: whole numbers, some above one."""
        return self.whole and self.largest > 1


def look_at(adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> Values:
    """Look at expression values.

    Parameters
    ----------
    adata
        The object.
    layer, use_raw
        Where its values are read.

    Raises
    ------
    KeyError, TypeError, ValueError
        As ``_adata.take_matrix``: there are none, or they are not finite.
    """
    matrix: Any = take_matrix(adata, layer=layer, use_raw=use_raw)
    is_sparse = sp.issparse(matrix)
    stored: NDArray[Any] = matrix.data if is_sparse else matrix.reshape(-1)
    smallest, largest, n_negative, whole = np.inf, -np.inf, 0, True
    if is_sparse and stored.size < matrix.shape[0] * matrix.shape[1]:
        smallest = largest = 0.0
    for start in range(0, stored.size, LOOKED_AT):
        part = stored[start : start + LOOKED_AT]
        negative = part < 0
        smallest = min(smallest, float(part.min()))
        largest = max(largest, float(part.max()))
        n_negative += int(negative.sum())
        whole = whole and bool(((part == np.rint(part)) | negative).all())
    where = describe_source(layer, use_raw=use_raw)
    return Values(where, smallest, largest, n_negative, whole)


def decide_counts(values: Values, *, counts: bool | None = None) -> bool:
    """Decide whether values are taken for counts.

    Parameters
    ----------
    values
        What was found.
    counts
        What the user says; ``None``: decided by what was found.

    Raises
    ------
    ValueError
        They are taken for counts and some are negative.
    """
    taken = values.are_counts if counts is None else counts
    if taken and values.n_negative:
        msg = (
            f"{values.where} holds {values.n_negative} negative values, down to "
            f"{values.smallest:g}, and counts cannot be negative; correct them, or say "
            "--no-counts if these are not counts"
        )
        raise ValueError(msg)
    if taken and not values.whole:
        logger.warning("%s holds fractions; taken for counts, as told", values.where)
    if not taken and values.largest > LARGEST_LOG:
        logger.warning(
            "%s holds values up to %g, too large for logarithms; if these are counts or "
            "normalised counts, say --counts",
            values.where,
            values.largest,
        )
    if not taken and values.n_negative:
        logger.warning(
            "%s holds %d negative values: is it scaled? The method expects log values that have "
            "not been centred",
            values.where,
            values.n_negative,
        )
    return taken


def normalise(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    total: bool = True,
    log1p: bool = True,
) -> Any:
    """Normalise counts, by scanpy.

    Parameters
    ----------
    adata
        The object; it is not changed.
    layer, use_raw
        Where its counts are read.
    total
        Whether each cell is scaled to the median total of all cells.
    log1p
        Whether the logarithm of one plus the value is taken.

    Returns
    -------
    The normalised matrix, float32 or float64, sparse where the counts are.
    """
    import anndata
    import scanpy

    counts = take_matrix(adata, layer=layer, use_raw=use_raw)
    made = anndata.AnnData(X=counts.copy())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some cells have zero counts")
        if total:
            n_empty = int((np.asarray(counts.sum(axis=1)).ravel() == 0).sum())
            if n_empty:
                logger.warning("%d cells have no counts at all, and stay zero", n_empty)
            scanpy.pp.normalize_total(made)
        if log1p:
            scanpy.pp.log1p(made)
    return made.X


def choose_genes(matrix: Any, batches: Batches, n_top_genes: int) -> NDArray[np.bool_]:
    """Choose the genes that vary most within batches, by scanpy's flavour "seurat".

    Parameters
    ----------
    matrix
        Log values, cells x genes.
    batches
        The batch of each cell; genes are ranked by the number of batches they vary highly in.
    n_top_genes
        How many genes to choose; where there are not more, all are.

    Returns
    -------
    A mask over the genes.
    """
    import anndata
    import pandas as pd
    import scanpy

    n_genes = matrix.shape[1]
    if n_genes <= n_top_genes:
        return np.ones(n_genes, dtype=bool)
    # An object of its own, since names of genes may be doubled in the user's.
    made = anndata.AnnData(X=matrix)
    made.obs["batch"] = pd.Categorical.from_codes(
        batches.codes, categories=pd.Index([str(code) for code in range(len(batches.names))])
    )
    scanpy.pp.highly_variable_genes(
        made, n_top_genes=n_top_genes, flavor="seurat", batch_key="batch"
    )
    return np.asarray(made.var["highly_variable"], dtype=bool)
