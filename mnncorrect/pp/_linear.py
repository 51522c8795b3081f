"""Corrections without pairs, gene by gene: rescaling and regression, on AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata.batches import Batches, take_batches
from mnncorrect._adata.draft import Draft
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.matrix import describe_source, take_cell_mask, take_matrix
from mnncorrect._adata.objects import check_object
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.pp._checks import judge_and_warn, name_of

if TYPE_CHECKING:
    from anndata import AnnData


@shared_parameters
def rescale_batches(
    adata: AnnData,
    key: str,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    log_base: float = 2.0,
    pseudo_count: float = 1.0,
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    key_added: str = "mnn_rescaled",
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Scale each gene of each batch down to the lowest of its batch means.

    A simple correction for comparison [1]_. It is valid if batches have the same composition of
    cells, as technical replicates do, and differ by one factor for each gene.

    Parameters
    ----------
    adata
        Log-expression, in ``X``, ``layer`` or ``raw`` (``use_raw``).
    key
        Column of ``obs`` that names the batches.
    log_base, pseudo_count
        Base of the logarithm of the values, and the number added to counts before it: 2 and 1 after
        ``multibatch_normalize``; e (2.718281828459045) and 1 after ``scanpy.pp.log1p``.
    restrict
        Cells for the means: a boolean column of ``obs``, or a mask; ``None``: all. All cells are
        corrected.
    key_added
        Key in ``layers`` and ``uns``.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and other layers are not changed.

    ``layers["mnn_rescaled"]``
        Corrected values on the scale of the input and in its float type; sparse where it is and
        ``pseudo_count`` is 1. A gene that a batch lacks is zero in all batches.
    ``uns["mnn_rescaled"]``
        ``params`` and ``provenance``.

    Raises
    ------
    {errors of batches}; if values are no such logarithms.

    Notes
    -----
    Results are those of batchelor 1.14.1's ``rescaleBatches``.

    References
    ----------
    .. [1] Lun & Marioni, ``rescaleBatches`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> counts = np.array([[1.0, 3.0], [3.0, 3.0], [4.0, 1.5], [12.0, 1.5]])
    >>> adata = anndata.AnnData(np.log2(counts + 1))
    >>> adata.obs["batch"] = ["a", "a", "b", "b"]
    >>> rescale_batches(adata, "batch")
    >>> (2 ** adata.layers["mnn_rescaled"] - 1).round(6)
    array([[1. , 1.5],
           [3. , 1.5],
           [1. , 1.5],
           [3. , 1.5]])
    """
    from mnncorrect.core.matrix import normalize

    batches, matrix, kept, source = _log_values(adata, key, layer, restrict, use_raw=use_raw)
    params = {"log_base": log_base, "pseudo_count": pseudo_count}
    values = normalize.rescale_batches(
        matrix, batches.codes, **params, restrict=kept, n_jobs=n_jobs
    )
    where = describe_source(layer, use_raw=use_raw)
    logger.info("rescaled %d batches of %s", len(batches.names), where)
    draft = Draft(adata, key_added)
    draft.put("layers", key_added, values)
    draft.record(source | params)
    return draft.commit(copy=copy)


@shared_parameters
def regress_batches(
    adata: AnnData,
    key: str,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    design: str | pd.DataFrame | NDArray[Any] | None = None,
    keep: Sequence[int | str] = (),
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    key_added: str = "mnn_regressed",
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Subtract the fit of a linear model of the batches from each gene.

    A simple correction for comparison [1]_. It assumes that batches have the same composition of
    cells and differ by one constant for each gene. With a design that also has conditions, whose
    effects are kept, compositions may differ between conditions.

    Parameters
    ----------
    adata
        Log-expression, in ``X``, ``layer`` or ``raw`` (``use_raw``).
    key
        Column of ``obs`` that names the batches.
    design
        Cells x coefficients, of full rank: a table, an array, or its key in ``obsm``. ``None``: one
        indicator for each batch, named like the batch.
    keep
        Columns of the design whose effects are kept: numbers from 0, or names of columns of a
        table.
    restrict
        Cells for the fit: a boolean column of ``obs``, or a mask; ``None``: all. All cells are
        corrected.
    key_added
        Key in ``layers`` and ``uns``.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and other layers are not changed.

    ``layers["mnn_regressed"]``
        Residuals, with the effects that are kept: dense, cells x genes, in the float type of the
        input. With the default design every gene has mean 0 in every batch.
    ``uns["mnn_regressed"]``
        ``columns`` of the design as text, and which of them are ``kept``; ``params`` and
        ``provenance``.

    Raises
    ------
    {errors of batches}; if the design does not have full rank over the used cells.

    See Also
    --------
    multibatch_pca : Components of the result, with ``layer="mnn_regressed"``.

    Notes
    -----
    Results are those of batchelor 1.14.1's ``regressBatches``; with three or more batches and
    ``restrict``, they are those of batchelor for a single object, because its form for several
    objects uses wrong cells.

    References
    ----------
    .. [1] Lun & Marioni, ``regressBatches`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.array([[1.5, 3.0], [3.5, 5.0], [4.0, 0.5], [8.0, 6.5]]))
    >>> adata.obs["batch"] = ["a", "a", "b", "b"]
    >>> regress_batches(adata, "batch")
    >>> adata.layers["mnn_regressed"]
    array([[-1., -1.],
           [ 1.,  1.],
           [-2., -3.],
           [ 2.,  3.]])
    """
    from mnncorrect.core.methods import regress

    batches, matrix, kept, source = _log_values(adata, key, layer, restrict, use_raw=use_raw)
    matrix_of_design, columns = _take_design(adata, design, batches.names)
    keep_numbers = _column_numbers(keep, columns)
    values = regress.regress_batches(
        matrix,
        batches.codes,
        design=matrix_of_design,
        keep=keep_numbers,
        restrict=kept,
        n_jobs=n_jobs,
    )
    where = describe_source(layer, use_raw=use_raw)
    logger.info("regressed %d coefficients out of %s", len(columns) - len(keep_numbers), where)
    draft = Draft(adata, key_added)
    draft.put("layers", key_added, values)
    draft.record(
        source | {"design": name_of(design)},
        columns=np.array(columns, dtype=object),
        kept=np.isin(np.arange(len(columns)), keep_numbers),
    )
    return draft.commit(copy=copy)


def _log_values(
    adata: AnnData, key: str, layer: str | None, restrict: Any, *, use_raw: bool
) -> tuple[Batches, Any, NDArray[np.bool_] | None, dict[str, Any]]:
    """Read batches, log values and the cells that count, and what is recorded of them."""
    check_object(adata)
    batches = take_batches(adata, key)
    kept = take_cell_mask(adata, restrict, batches)
    matrix = take_matrix(adata, layer=layer, use_raw=use_raw)
    judge_and_warn(matrix, describe_source(layer, use_raw=use_raw), batches)
    source = {"key": key, "layer": layer, "use_raw": use_raw, "restrict": name_of(restrict)}
    return batches, matrix, kept, source


def _take_design(
    adata: AnnData, design: Any, batch_names: Sequence[str]
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Read a design, and the names of its columns: their numbers where it has none."""
    if design is None:
        return None, list(batch_names)
    where = "design"
    if isinstance(design, str):
        require(design, adata.obsm, "obsm")
        where, design = f"obsm[{design!r}]", adata.obsm[design]
    columns = None
    if isinstance(design, pd.DataFrame):
        if not design.index.equals(adata.obs_names):
            raise ValueError(
                f"the index of {where} is not that of the object; bring it into its order"
            )
        columns = [str(column) for column in design.columns]
        design = design.to_numpy()
    values = np.asarray(design.toarray() if hasattr(design, "toarray") else design)
    if values.dtype == object or values.dtype.kind not in "fiub":
        raise TypeError(
            f"{where} holds {values.dtype}; a design is made of numbers: code categories first"
        )
    if columns is None:
        columns = [str(column) for column in range(values.shape[-1] if values.ndim else 0)]
    return values.astype(np.float64), columns


def _column_numbers(keep: Sequence[int | str], columns: list[str]) -> list[int]:
    """Turn names of columns into their numbers; numbers stay."""
    if isinstance(keep, str):
        keep = [keep]
    unknown = [name for name in keep if isinstance(name, str) and name not in columns]
    if unknown:
        raise ValueError(
            f"keep names {listed(unknown)}; the design's columns are {listed(columns)}, or give "
            "their numbers from 0"
        )
    return [columns.index(name) if isinstance(name, str) else int(name) for name in keep]
