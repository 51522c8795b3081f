"""How clusters are shared out over batches, on AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnncorrect._adata import Draft, check_object, origin_of, take_batches
from mnncorrect._adata.lookup import require
from mnncorrect._adata.results import recorded_table
from mnncorrect._log import logger

if TYPE_CHECKING:
    from anndata import AnnData


def cluster_abundance(
    adata: AnnData, key: str, *, clusters: str, key_added: str = "mnn_abundance", copy: bool = False
) -> AnnData | None:
    """Measure how unevenly clusters are distributed over batches.

    A cluster with cells of one batch only is either biology of that batch or a batch effect that
    the correction left [1]_. This function lists such clusters. Look at the cells to decide which
    of the two it is.

    Parameters
    ----------
    adata
        The object.
    key
        Column of ``obs`` that names the batches.
    clusters
        Column of ``obs`` with the clusters, such as the result of ``tl.gmm``.
    key_added
        Key in ``uns``.
    copy
        Whether to return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy, with this field:

    ``uns["mnn_abundance"]``
        ``table``, with one row for each cluster in the order of the categories or of the sorted
        values: ``cluster`` as text, number of ``cells``, ``p_value`` and ``variance``. ``counts``:
        cells of each cluster (rows) and batch (columns, named by ``batches``). ``params`` and
        ``provenance``.

        ``p_value`` is that of a chi-squared test of the counts of the cluster against the overall
        shares of the batches. Cells are not replicates of a batch, so use it to rank clusters only.
        ``variance`` is the variance over batches of log2 counts, after scaling to batches of equal
        size and adding 10, so that small clusters do not dominate.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If the object is backed or empty; if a cell has no batch or cluster; if only one batch
        exists, or one has a single cell.

    References
    ----------
    .. [1] Lun, Amezquita, Hicks & Gottardo, ``clusterAbundanceTest`` and ``clusterAbundanceVar``
       in the Bioconductor package batchelor, doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.zeros((60, 1)))
    >>> adata.obs["batch"] = ["a", "b"] * 30
    >>> adata.obs["cluster"] = ["even"] * 40 + ["odd", "even"] * 10
    >>> cluster_abundance(adata, "batch", clusters="cluster")
    >>> adata.uns["mnn_abundance"]["table"][["cluster", "cells", "p_value"]].round(4)
      cluster  cells  p_value
    0    even     50   0.1573
    1     odd     10   0.0016
    """
    from mnncorrect.core.metrics import composition

    check_object(adata)
    batches = take_batches(adata, key)
    require(clusters, adata.obs.columns, "obs")
    labels = adata.obs[clusters].astype("category").cat.remove_unused_categories()
    if labels.isna().any():
        raise ValueError(
            f"obs[{clusters!r}] is missing for {int(labels.isna().sum())} of {len(labels)} cells; "
            "fill it in, or leave these cells out"
        )
    counts = composition.abundance_table(
        labels.cat.codes.to_numpy().astype(np.int64), batches.codes
    )
    table = recorded_table(
        {
            "cluster": [str(name) for name in labels.cat.categories],
            "cells": counts.sum(1),
            "p_value": composition.abundance_test(counts),
            "variance": composition.abundance_variance(counts),
        }
    )
    uneven = table["cluster"].iloc[int(table["variance"].argmax())]
    logger.info("of %d clusters, %r varies most in size over batches", len(table), uneven)
    draft = Draft(adata, key_added, origin=origin_of(adata, "obs", clusters))
    draft.record(
        {"key": key, "clusters": clusters},
        table=table,
        counts=counts,
        batches=np.array(batches.names, dtype=object),
    )
    return draft.commit(copy=copy)
