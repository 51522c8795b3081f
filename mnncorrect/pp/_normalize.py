"""Counts of several batches to log-expression at one depth, on AnnData."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.batches import take_batches
from mnncorrect._adata.draft import Draft
from mnncorrect._adata.lookup import require
from mnncorrect._adata.matrix import describe_source, take_counted, take_gene_mask, take_matrix
from mnncorrect._adata.objects import check_object
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.pp._checks import name_of

if TYPE_CHECKING:
    from anndata import AnnData


@shared_parameters
def multibatch_normalize(
    adata: AnnData,
    key: str,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    size_factors: str | Sequence[float] | NDArray[np.floating[Any]] | None = None,
    min_mean: float = 1.0,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    key_added: str = "mnn_log2",
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Convert counts to log expression at the depth of the shallowest batch.

    Batches that were sequenced more deeply have less noise after the logarithm. This difference
    in noise can look like biology. Scaling all batches *down* to the lowest coverage removes it;
    scaling up would not [1]_.

    Parameters
    ----------
    adata
        Counts, in ``X``, ``layer`` or ``raw`` (``use_raw``).
    key
        Column of ``obs`` that names the batches.
    size_factors
        Size factor of each cell, above 0: a column of ``obs``, or numbers. Only their ratios within
        a batch matter. ``None``: total counts of the cells; with ``use_raw``, over all genes of
        ``raw``.
    min_mean
        Batches are compared on genes with at least this mean count. A lower value includes more
        genes, with noisier ratios.
    mask_var
        Genes for totals and comparisons: a boolean column of ``var``, or a mask; ``None``: all
        genes. All genes are normalized.
    key_added
        Key in ``layers`` and ``uns``; in ``obs`` with the suffix ``_size_factors``.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and other layers are not changed.

    ``layers["mnn_log2"]``
        ``log2(count / size factor + 1)``, sparse where the counts are, in their float type
        (float32 for integers).
    ``obs["mnn_log2_size_factors"]``
        Size factors, of mean 1 in the batch of lowest coverage and above in the others.
    ``uns["mnn_log2"]``
        ``reference``: the batch of lowest coverage. Also ``params`` and ``provenance``.

    Warns
    -----
    UserWarning
        If values are not whole numbers.

    Raises
    ------
    {errors of batches}; if values are negative; if a cell has no counts;
        if two batches have no genes to compare.

    Notes
    -----
    Results are those of batchelor 1.14.1's ``multiBatchNorm``.

    References
    ----------
    .. [1] Lun & Marioni, ``multiBatchNorm`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> counts = np.array([[2, 2], [2, 2], [4, 4], [8, 8]])
    >>> adata = anndata.AnnData(counts.astype("float32"))
    >>> adata.obs["batch"] = ["shallow", "shallow", "deep", "deep"]
    >>> multibatch_normalize(adata, "batch")
    >>> adata.obs["mnn_log2_size_factors"].tolist()
    [1.0, 1.0, 2.0, 4.0]
    >>> adata.uns["mnn_log2"]["reference"]
    'shallow'
    """
    from mnncorrect.core.matrix import normalize

    check_object(adata)
    batches = take_batches(adata, key)
    genes = take_gene_mask(adata, mask_var)
    factors = _take_size_factors(adata, size_factors)
    where = describe_source(layer, use_raw=use_raw)
    matrix = take_matrix(adata, layer=layer, use_raw=use_raw)
    by_totals = use_raw and factors is None and mask_var is None
    counted = take_counted(adata) if by_totals else None
    if not _check_counts(matrix if counted is None else counted, where):
        warnings.warn(
            f"{where} holds numbers that are not whole; counts are expected, not logarithms",
            stacklevel=2,
        )
    found = normalize.multibatch_normalize(
        matrix,
        batches.codes,
        size_factors=factors,
        min_mean=min_mean,
        mask=genes.mask,
        counted=counted,
        names=batches.names,
        n_jobs=n_jobs,
    )
    reference = batches.names[found.reference]
    logger.info("normalized %s to the depth of batch %r", where, reference)
    draft = Draft(adata, key_added)
    draft.put("layers", key_added, found.values)
    draft.put("obs", f"{key_added}_size_factors", found.size_factors)
    params = {
        "key": key,
        "layer": layer,
        "use_raw": use_raw,
        "size_factors": name_of(size_factors),
        "min_mean": min_mean,
        "mask_var": name_of(mask_var),
    }
    draft.record(params, reference=reference)
    return draft.commit(copy=copy)


def _take_size_factors(adata: AnnData, size_factors: Any) -> NDArray[np.float64] | None:
    if size_factors is None:
        return None
    where = "size_factors"
    if isinstance(size_factors, str):
        require(size_factors, adata.obs.columns, "obs")
        where, size_factors = f"obs[{size_factors!r}]", adata.obs[size_factors]
    values = np.asarray(size_factors)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{where} holds {values.dtype}; size factors are numbers above 0")
    return values.astype(np.float64)


def _check_counts(matrix: Any, where: str) -> bool:
    """Refuse negative values; tell whether all are whole numbers."""
    is_sparse = sp.issparse(matrix)
    stored = matrix.data if is_sparse else matrix
    if stored.size and stored.min() < 0:
        raise ValueError(
            f"{where} holds negative values, down to {stored.min():g}; counts are needed"
        )
    return bool((stored == np.rint(stored)).all())
