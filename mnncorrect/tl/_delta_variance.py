"""Genes whose difference between batches depends on the state of the cell, on AnnData."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata import (
    Draft,
    Keys,
    batch_names,
    check_object,
    describe_source,
    origin_of,
    recorded_key,
    take_gene_mask,
    take_matrix,
)
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.record import ARRAY, take_record
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.merging.pairs import Pairs
    from mnncorrect.core.metrics.delta_variance import DeltaVariance, DeltaVariances

DELTA_COLUMNS = ("mean", "total", "trend", "adjusted")
# What describes the trend of a merge.
TREND = ("log_height", "log_midpoint", "log_power", "scale", "residual_scale")


@shared_parameters
def delta_variance(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    all_genes: bool = False,
    cosine_norm: bool = False,
    key_added: str = "mnn",
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Find genes whose difference between batches varies between cells.

    If batches differed by one shift, the difference between the two cells of a pair would vary by
    noise only [1]_. A gene that varies more over pairs than other genes of its mean differs
    between batches in some cells and not in others, for example because a treatment acts on one
    cell type. A correction of expression removes such differences too. Look at the top genes
    before you trust corrected values.

    Parameters
    ----------
    adata
        An object that was corrected, with its pairs, and the *uncorrected* log-expression in ``X``,
        ``layer`` or ``raw`` (``use_raw``).
    mask_var
        Genes for lengths and trends: a boolean column of ``var``, or a mask; ``None``: all genes.
    all_genes
        Whether the genes outside ``mask_var`` are measured too.
    cosine_norm
        Whether to scale cells to one length first, as most corrections do for pairs. The length is
        the mean over batches of the mean length, so values keep their scale.
    key_added
        Prefix of the keys of the correction, and of the new keys.

    Returns
    -------
    ``None``, or the copy, with these fields; NaN for genes that were not measured:

    ``var["mnn_delta_mean"]``, ``var["mnn_delta_total"]``
        Mean of the values on both sides of the pairs, and variance of their difference over
        pairs: averages over merges, weighted by their numbers of pairs.
    ``var["mnn_delta_trend"]``, ``var["mnn_delta_adjusted"]``
        Usual variance of genes with this mean, and the difference of this gene from it. Sort by the
        difference.
    ``varm["mnn_delta_variance"]``
        A table of the same for every merge: ``mean_0``, ``total_0``, ...; NaN for a merge of fewer
        than two pairs.
    ``uns["mnn_delta_variance"]``
        ``merges``: a table with one row for each merge: ``left`` and ``right`` batches as JSON
        lists, number of ``pairs`` and the parameters of its trend. ``params`` and ``provenance``.

    Raises
    ------
    KeyError
        If the correction does not exist or has no pairs; if a column or layer does not exist.
    TypeError
        If values or masks are of the wrong kind.
    ValueError
        If the object is backed or empty; if values are not finite; if no merge has two pairs, or
        too few genes have a mean of 0.1 to fit a trend.

    Notes
    -----
    Results are those of batchelor 1.14.1's ``mnnDeltaVariance``, the trend (of scran's
    ``fitTrendVar``) to about 1e-7 of it. After subsetting, the remaining pairs are used.

    References
    ----------
    .. [1] Lun, ``mnnDeltaVariance`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import mnncorrect
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> expression = np.linspace(0.5, 6, 40) + rng.normal(0, 0.2, size=(80, 40))
    >>> expression[40:, :10] += 3  # two cell types, in both batches
    >>> expression[41::2, 17] += 1  # treatment raises a gene in one of them
    >>> adata = anndata.AnnData(expression)
    >>> adata.obs["batch"] = ["control", "treated"] * 40
    >>> mnncorrect.pp.mnn_classic(adata, "batch", n_neighbors=5)
    >>> delta_variance(adata)
    >>> adata.var["mnn_delta_adjusted"].idxmax()
    '17'
    """
    from mnncorrect.core.metrics.delta_variance import delta_variance as measure

    check_object(adata)
    keys = Keys(key_added)
    stored = take_record(adata, key_added).stored
    require(keys.pairs, adata.obsp, "obsp")
    codes = _codes(adata, stored)
    pairs = _pairs_by_merge(adata.obsp[keys.pairs], codes, stored)
    genes = take_gene_mask(adata, mask_var)
    matrix = take_matrix(adata, layer=layer, use_raw=use_raw)
    found = measure(
        matrix,
        np.unique(codes, return_inverse=True)[1],
        pairs,
        cosine_norm=cosine_norm,
        mask=genes.mask,
        all_genes=all_genes,
        n_jobs=n_jobs,
    )
    measured = np.ones(adata.n_vars, dtype=bool) if all_genes or genes.mask is None else genes.mask
    logger.info(
        "delta variance of %d genes of %s over %d pairs",
        measured.sum(), describe_source(layer, use_raw=use_raw), sum(map(len, pairs)),
    )  # fmt: skip

    entry = f"{key_added}_delta_variance"
    draft = Draft(adata, entry, origin=origin_of(adata, "obsp", keys.pairs))
    for column, values in _columns(found.combined, measured).items():
        draft.put("var", f"{key_added}_delta_{column}", values)
    by_merge = pd.DataFrame(
        {
            f"{column}_{number}": values
            for number, merge in enumerate(found.per_merge)
            for column, values in _columns(merge, measured).items()
        },
        index=adata.var_names,
    )
    draft.put("varm", entry, by_merge)
    params = {
        "layer": layer,
        "use_raw": use_raw,
        "mask_var": genes.column or (None if genes.mask is None else ARRAY),
        "all_genes": all_genes,
        "cosine_norm": cosine_norm,
    }
    draft.record(params, merges=_table_by_merge(stored["merges"], found, pairs))
    return draft.commit(copy=copy)


def _codes(adata: AnnData, stored: Any) -> NDArray[np.int64]:
    """Give each cell's batch the number it had in the correction; some may have gone since."""
    key = recorded_key(str(stored["params"]["key"]), adata.obs.columns)
    names = [str(name) for name in stored["batches"]]
    of_cell = batch_names(adata.obs, key).to_numpy()
    codes = pd.Index(names).get_indexer(pd.Index(of_cell))
    if (codes < 0).any():
        other = sorted(set(of_cell[codes < 0]))
        raise ValueError(
            f"obs[{key!r}] has changed since the correction: {listed(other)} are not among its "
            f"batches, {listed(names)}; correct again"
        )
    return codes.astype(np.int64)


def _pairs_by_merge(matrix: Any, codes: NDArray[np.int64], stored: Any) -> list[Pairs]:
    """Share the pairs out to the merges: two batches are joined in one merge only."""
    from mnncorrect.core.merging.pairs import Pairs

    names = {str(name): number for number, name in enumerate(stored["batches"])}
    table = stored["merges"]
    merge_of = np.full((len(names), len(names)), -1)
    for number, (left, right) in enumerate(zip(table["left"], table["right"], strict=True)):
        sides = [[names[name] for name in json.loads(side)] for side in (left, right)]
        merge_of[np.ix_(*sides)] = number
    found = matrix.tocoo()
    left, right = found.col.astype(np.int64), found.row.astype(np.int64)
    number = merge_of[codes[left], codes[right]]
    return [Pairs(left[number == merge], right[number == merge]) for merge in range(len(table))]


def _columns(values: DeltaVariance, measured: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Put the measured genes among all genes; the others are NaN."""
    filled = {}
    for column in DELTA_COLUMNS:
        filled[column] = np.full(len(measured), np.nan)
        filled[column][measured] = getattr(values, column)
    return filled


def _table_by_merge(
    merges: pd.DataFrame, found: DeltaVariances, pairs: Sequence[Pairs]
) -> pd.DataFrame:
    table = merges[["left", "right"]].copy()
    table["pairs"] = [len(merge) for merge in pairs]
    for name in TREND:
        table[name] = [np.nan if trend is None else getattr(trend, name) for trend in found.trends]
    return table
