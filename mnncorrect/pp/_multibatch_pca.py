"""Principal components to which batches contribute by weight, on AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.arguments import Seed, take_seed
from mnncorrect._adata.batches import take_batches
from mnncorrect._adata.draft import Draft
from mnncorrect._adata.loadings import put_loadings
from mnncorrect._adata.matrix import describe_source, take_gene_mask, take_matrix
from mnncorrect._adata.objects import check_object
from mnncorrect._adata.record import ARRAY
from mnncorrect._adata.results import Keys
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.checks import check_count
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.pp._arguments import take_weights
from mnncorrect.pp._checks import possible_comps

if TYPE_CHECKING:
    from anndata import AnnData


@shared_parameters
def multibatch_pca(
    adata: AnnData,
    key: str,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None = UNSET,
    all_genes: bool = False,
    n_comps: int = 50,
    batch_weights: str | bool | Mapping[str, float] | Sequence[Any] | None = None,
    key_added: str = "mnn",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Compute principal components to which each batch contributes equally.

    The largest batch dominates a plain PCA. Here each batch has the same weight, or a given one,
    whatever its number of cells [1]_. A cell type of a small batch is thus represented as well.
    Nothing is corrected.

    There is one set of loadings for each ``key_added``. The loadings of an earlier correction with
    this name are replaced. Its corrected expression and its model can then not be computed.

    Parameters
    ----------
    adata
        Log-expression, in ``X``, ``layer`` or ``raw`` (``use_raw``).
    key
        Column of ``obs`` that names the batches.
    mask_var
        Genes to use: a boolean column of ``var``, or a mask; ``None``: all genes. Default:
        ``highly_variable``, if it exists.
    all_genes
        Whether the other genes get loadings too, by projection.
    n_comps
        Number of components, 1 or more. If fewer exist, all are computed and this is logged.
    random_state
        Seed of the truncated solver, which is used for large data.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``obsm["X_mnn_multibatch_pca"]``
        Scores, cells x components, in the float type of the input.
    ``varm["mnn_loadings"]``
        Loadings, genes x components; zero for other genes. The largest loading of each component is
        positive.
    ``var["mnn_center"]``
        Center of each gene, which was subtracted: weighted mean of the batch means; zero for genes
        without loadings.
    ``uns["mnn_multibatch_pca"]``
        ``variance`` of each component, ``variance_ratio`` to the total, ``batches`` and their
        ``weights``; ``loadings_in_varm``: whether the loadings above belong to it, and not to a
        correction with the same key; ``params`` and ``provenance``.

    Warns
    -----
    UserWarning
        If fewer components exist than requested.

    Raises
    ------
    {errors of batches}; if ``n_comps`` is below 1, or a batch has no positive weight.

    Notes
    -----
    With :math:`n_b` cells and weight :math:`w_b` of batch :math:`b`, the loadings are the leading
    singular vectors of the centered cells, each multiplied by :math:`\sqrt{w_b / n_b}`. Results are
    those of batchelor 1.14.1's ``multiBatchPCA`` with an exact solver, up to signs.

    References
    ----------
    .. [1] Lun & Marioni, ``multiBatchPCA`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.random.default_rng(0).normal(size=(30, 8)))
    >>> adata.obs["batch"] = ["large"] * 24 + ["small"] * 6
    >>> multibatch_pca(adata, "batch", n_comps=3)
    >>> adata.obsm["X_mnn_multibatch_pca"].shape, adata.varm["mnn_loadings"].shape
    ((30, 3), (8, 3))
    """
    from mnncorrect.core.matrix import pca

    random_state = take_seed(random_state, rng)
    check_object(adata)
    check_count("n_comps", n_comps, 1)
    batches = take_batches(adata, key)
    genes = take_gene_mask(adata, mask_var)
    weights, recorded_weights = take_weights(batch_weights, batches)
    used = np.ones(adata.n_vars, dtype=bool) if genes.mask is None else genes.mask
    where = describe_source(layer, use_raw=use_raw)
    matrix = take_matrix(adata, layer=layer, use_raw=use_raw)
    n_possible = possible_comps(n_comps, adata.n_obs, int(used.sum()))
    found = pca.multibatch_pca(
        matrix,
        batches.codes,
        n_possible,
        weights=weights,
        mask=None if used.all() else used,
        all_genes=all_genes,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    ratio = found.variance_ratio
    logger.info(
        "%d components of %s (%d genes) hold %.1f %% of the variance",
        len(ratio), where, used.sum(), 100 * ratio.sum(),
    )  # fmt: skip

    keys = Keys(key_added)
    draft = Draft(adata, keys.multibatch_pca)
    draft.put("obsm", f"X_{keys.multibatch_pca}", found.scores)
    params = {
        "key": key,
        "layer": layer,
        "use_raw": use_raw,
        "mask_var": genes.column or (None if genes.mask is None else ARRAY),
        "all_genes": all_genes,
        "n_comps": len(ratio),
        "batch_weights": recorded_weights,
    }
    draft.record(
        params,
        random_state,
        variance=found.variance,
        variance_ratio=ratio,
        batches=np.array(batches.names, dtype=object),
        weights=np.ones(len(batches.names)) if weights is None else weights,
    )
    filled = np.ones_like(used) if all_genes else used
    put_loadings(draft, keys, found, filled, of_correction=False)
    return draft.commit(copy=copy)
