"""What comes before a correction and after it: cosine normalization, principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.arguments import Seed, take_seed
from mnncorrect._adata.batches import take_batches
from mnncorrect._adata.draft import Draft
from mnncorrect._adata.matrix import describe_source, take_finite, take_gene_mask, take_matrix
from mnncorrect._adata.objects import check_object
from mnncorrect._adata.record import WARNINGS, as_warnings, origin_of
from mnncorrect._adata.results import Keys
from mnncorrect._log import logger, noted, warn_caller
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.checks import check_count
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.input_parts import Selection
    from mnncorrect._prepare.removed_cells import Removed


@shared_parameters
def cosine_normalize(
    adata: AnnData, *, layer: str | None = None, key_added: str | None = None, copy: bool = False
) -> AnnData | None:
    """Scale every cell to Euclidean length 1 over its genes.

    This removes differences in depth between cells and batches. The corrections do it themselves,
    so this function is for comparison and display.

    Parameters
    ----------
    adata
        Expression values, cells x genes.
    key_added
        Layer to write to. ``None``: replace the values that were read.

    Returns
    -------
    ``None``, or the copy, with this field:

    ``X`` or the layer
        Normalized values: sparse where they were, float32 or float64 (other numbers become
        float32). A cell of zeros remains zero; lengths below 1e-8 count as 1e-8.

    Raises
    ------
    KeyError
        If the layer does not exist.
    TypeError
        If the values are not numbers in memory.
    ValueError
        If the object is backed or empty, or values are not finite.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> cosine_normalize(adata, key_added="cosine")
    >>> adata.layers["cosine"]
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    from mnncorrect.core.matrix import rows

    check_object(adata)
    values = rows.cosine_normalize(take_matrix(adata, layer=layer))
    target = layer if key_added is None else key_added
    draft = Draft(adata, key_added, replacing=target == layer)
    draft.put("X" if target is None else "layers", target or "", values)
    if key_added is not None:
        draft.record({"layer": layer})
    logger.info("cosine-normalized %s into %s", describe_source(layer), describe_source(target))
    return draft.commit(copy=copy)


@shared_parameters
def pca(
    adata: AnnData,
    *,
    layer: str | None = "mnn",
    n_comps: int = 50,
    key_added: str = "mnn_pca",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Compute principal components of corrected expression.

    Genes are centered, not scaled. Sparse values stay sparse. The largest loading of each component
    is positive, so signs do not depend on the solver.

    Parameters
    ----------
    adata
        Expression values, cells x genes.
    layer
        Layer to read; ``None``: ``X``. For a corrected layer, only corrected genes are used. Values
        in a file are read several times, in blocks.
    n_comps
        Number of components, 1 or more. At most one less than the number of cells and of genes; a
        larger number is reduced to that, with a warning.
    key_added
        Key in ``varm`` and ``uns``; in ``obsm`` with the prefix ``X_``.
    random_state
        Seed of the truncated solver, which is used for many genes.

    Returns
    -------
    ``None``, or the copy, with these fields, in scanpy's layout:

    ``obsm["X_mnn_pca"]``
        Scores, cells x components.
    ``varm["mnn_pca"]``
        Loadings, genes x components; zero for genes that were not used.
    ``uns["mnn_pca"]``
        ``variance`` of each component, ``variance_ratio`` to the total, ``params``, ``provenance``.

    Raises
    ------
    KeyError
        If the layer does not exist.
    TypeError
        If the values are not numbers in memory.
    ValueError
        If the object is backed or empty, values are not finite, or ``n_comps`` is below 1;
        if there are fewer than two cells or genes.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.random.default_rng(0).normal(size=(30, 8)))
    >>> pca(adata, layer=None, n_comps=3)
    >>> adata.obsm["X_mnn_pca"].shape, adata.varm["mnn_pca"].shape
    ((30, 3), (8, 3))
    """
    from mnncorrect.core.matrix.pca import pca as decompose

    random_state = take_seed(random_state, rng)
    check_object(adata)
    check_count("n_comps", n_comps, 1)
    matrix = take_finite(adata, layer=layer)
    column = None if layer is None else Keys(layer).corrected
    genes = np.ones(adata.n_vars, dtype=bool)
    if column is not None and column in adata.var.columns:
        genes = adata.var[column].to_numpy(dtype=bool)
    else:
        column = None
    most = min(adata.n_obs, int(genes.sum())) - 1
    if n_comps > most >= 1:
        warn_caller(
            f"n_comps is {n_comps}, but {adata.n_obs} cells x {int(genes.sum())} genes have only "
            f"{most} components; computing {most}"
        )
        n_comps = most
    found = decompose(
        matrix,
        n_comps,
        mask=None if genes.all() else genes,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    logger.info(
        "%d principal components of %s (%d genes) hold %.1f %% of the variance",
        n_comps, describe_source(layer), genes.sum(),
        100 * found.variance_ratio.sum(),
    )  # fmt: skip
    origin = None if layer is None else origin_of(adata, "layers", layer)
    draft = Draft(adata, key_added, origin=origin)
    loadings = np.zeros((len(genes), found.rotation.shape[1]), found.scores.dtype)
    loadings[genes] = found.rotation
    draft.put("obsm", f"X_{key_added}", found.scores)
    draft.put("varm", key_added, loadings)
    draft.record(
        {"layer": layer, "mask_var": column, "n_comps": n_comps, "zero_center": True},
        random_state,
        variance=found.variance,
        variance_ratio=found.variance_ratio,
    )
    return draft.commit(copy=copy)


@shared_parameters
def prepare(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None = UNSET,
    counts: bool | None = None,
    normalize: bool | None = None,
    log1p: bool | None = None,
    hvg: bool | Literal["counts"] | None = None,
    n_top_genes: int | None = None,
    min_counts: float | None = None,
    min_genes: int | None = None,
    max_mito: float | None = None,
    gene_key: str | None = None,
    key_added: str = "mnn",
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Detect the kind of values, normalize counts, and choose genes, as in :func:`mnncorrect.run`.

    Then call :func:`mnn_calibrated` or another method with ``mask_var="mnn_genes"``, and with
    ``layer="mnn_log1p"`` if counts were normalized. The result is that of :func:`mnncorrect.run`.

    Parameters
    ----------
    adata
        Expression values, cells x genes.
    key
        Column of ``obs`` with the batch, or several columns. Values are checked in each batch
        separately, and genes that vary within batches are chosen.
    mask_var
        Genes to use if none are chosen: a boolean column of ``var``, or a mask; ``None``: all.
        Default: ``highly_variable``, if it exists.
    counts
        Whether values are counts. Default: detected.
    normalize, log1p
        Whether counts are scaled to the median total, and their logarithm is taken. Default: both.
    hvg
        Whether highly variable genes are chosen; ``"counts"``: of counts only. Default: unless
        ``var`` has ``highly_variable``, or ``mask_var`` is given.
    n_top_genes
        Number of genes to choose, from 1 up. Default: 2000, where genes are chosen.
    min_counts, min_genes
        Least sum of the counts of a cell, and least number of genes above zero. Cells with less are
        removed, as ``scanpy.pp.filter_cells`` does. Default: no filter.
    max_mito
        Largest percentage of counts (0 to 100) in mitochondrial genes. Cells with more are removed.
        These are the genes ``MT-`` or ``mt-`` by ``var_names`` or ``gene_key``. Default: no filter.
    gene_key
        Column of ``var`` with gene symbols, for ``max_mito``. Default: ``var_names``.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``layers["mnn_log1p"]``
        Normalized values, if the input had counts or log values with different totals.
    ``var["mnn_genes"]``
        Which genes to use.
    ``uns["mnn"]``
        ``prepared``: kind of the values, steps, and how many cells filters removed;
        ``warnings``, as a JSON list; ``params``, ``provenance``. Results of an earlier correction
        with this key are removed.

    Warns
    -----
    UserWarning
        If the name of a batch looks like a missing value. Other doubts about values are logged.

    Raises
    ------
    KeyError
        If a column or layer is missing.
    TypeError
        If values are not numbers.
    ValueError
        If values are not finite, of several kinds, or not fit for a correction; if two parameters
        exclude each other.

    See Also
    --------
    mnncorrect.run : The same with a correction, clusters and a report.

    Examples
    --------
    >>> from mnncorrect import pp
    >>> from mnncorrect._io.example import make_example
    >>> adata = make_example()
    >>> pp.prepare(adata, "batch", n_top_genes=300)
    >>> int(adata.var["mnn_genes"].sum())
    300
    >>> pp.mnn_calibrated(adata, "batch", layer="mnn_log1p", mask_var="mnn_genes", n_comps=10)
    >>> adata.uns["mnn"]["prepared"]["values"]
    'counts'
    """
    from mnncorrect._adata.corrections import remove_earlier
    from mnncorrect._io.input_parts import Selection
    from mnncorrect._prepare import count_survey, expression_values
    from mnncorrect._prepare.cell_filters import refuse_unfit
    from mnncorrect._prepare.prepared import log_survey
    from mnncorrect._prepare.steps import (
        Judge,
        Preparation,
        chosen_genes,
        judged_groups,
        treatment_of,
    )

    keys = Keys(key_added)
    check_object(adata)
    selection = Selection(
        key if isinstance(key, str) else list(key),
        layer,
        use_raw,
        gene_key,
        min_counts=min_counts,
        min_genes=min_genes,
        max_mito=max_mito,
    )
    whole, (adata, removed) = adata, _filtered(adata, selection)
    preparation = Preparation(
        counts, normalize, log1p, hvg=hvg, n_top_genes=n_top_genes, genes=mask_var
    )
    with noted() as texts:
        batches = take_batches(adata, key)
        values = expression_values.take(adata, layer=layer, use_raw=use_raw)
        found = count_survey.survey(
            values,
            batches,
            preparation.wanted(adata),
            judge=Judge(values.where, judged_groups(adata, batches), counts, list(values.layers)),
            n_jobs=n_jobs,
        )
        if removed is not None:
            refuse_unfit(removed.filters, found.verdict, values.where)
        treatment = treatment_of(found.verdict, adata, preparation, values.where)
        log_survey(found, values, keys.normalized)
        genes = chosen_genes(lambda n: count_survey.choose_genes(values, found, n), treatment)
        mask = take_gene_mask(adata, genes).mask
        told = as_warnings(adata.uns, texts)
    source = {name: value for name, value in (("layer", layer), ("use_raw", use_raw)) if value}
    params = {
        "key": key if isinstance(key, str) else list(key),
        **source,
        "layer_added": keys.normalized if treatment.changes else layer,
    }
    done = treatment.record_of(found.target if found.total else None) | source
    draft = Draft(adata, keys.uns)
    remove_earlier(draft, keys, params)
    if treatment.changes:
        rows = values[slice(0, adata.n_obs)]
        draft.put("layers", keys.normalized, found.normalize(rows, slice(0, adata.n_obs)))
    draft.put("var", keys.genes, np.ones(adata.n_vars, bool) if mask is None else mask)
    fields: dict[str, Any] = {} if told == "[]" else {WARNINGS: told}
    draft.record(params, prepared=done if removed is None else done | removed.record, **fields)
    if adata is whole:
        return draft.commit(copy=copy)
    draft.commit()
    if copy:
        return adata
    whole._init_as_actual(adata)
    return None


def _filtered(adata: AnnData, selection: Selection) -> tuple[AnnData, Removed | None]:
    """Return the cells that filters leave: a copy, unless they leave all."""
    from mnncorrect._prepare.cell_filters import join_filtered
    from mnncorrect._prepare.inputs import opened_inputs
    from mnncorrect._prepare.limits import limits, size_in_bytes
    from mnncorrect._prepare.removed_cells import CellFilters

    if not CellFilters.of(selection).given:
        return adata, None
    with limits(size_in_bytes("2G")) as limit, opened_inputs(adata, limit.scratch) as parts:
        joined = join_filtered(parts, selection, limit)
        (part,) = joined.parts.values()
    assert joined.removed is not None
    logger.info("%s", joined.removed.text)
    return (adata if part.cells is None else adata[part.cells].copy()), joined.removed
