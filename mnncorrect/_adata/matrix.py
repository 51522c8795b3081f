"""Expression values, embeddings, and the choice of genes and cells, as arrays."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mnncorrect._adata.lookup import listed, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.batches import Batches

    Matrix: TypeAlias = NDArray[Any] | sp.csr_matrix | sp.csc_matrix | sp.csr_array | sp.csc_array

logger = logging.getLogger("mnncorrect")

# The column that says which genes vary highly, by scanpy's convention.
HIGHLY_VARIABLE = "highly_variable"
# Rows looked at together for values that are not finite; keeps the memory of it small.
CHECKED_ROWS = 4096


class Unset(enum.Enum):
    """The type of a parameter that was not given, where ``None`` has a meaning of its own."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "<unset>"


UNSET = Unset.UNSET


@dataclass(frozen=True)
class GeneMask:
    """The genes that are used for distances.

    Attributes
    ----------
    mask
        Which genes; ``None``: all.
    column
        The column of ``var`` they come from, if they do.
    """

    mask: NDArray[np.bool_] | None
    column: str | None


def check_object(adata: AnnData) -> None:
    """Refuse an object that is backed or has no cells or genes; note doubled cell names.

    Raises
    ------
    ValueError
        If the object is backed by a file, or has no cells or no genes.
    """
    if adata.isbacked:
        msg = (
            f"the object is backed by the file {adata.filename}, so its values are not in memory; "
            "load them: adata = adata.to_memory()"
        )
        raise ValueError(msg)
    for name, size in (("cells", adata.n_obs), ("genes", adata.n_vars)):
        if not size:
            msg = f"the object has no {name} ({adata.n_obs} cells x {adata.n_vars} genes)"
            raise ValueError(msg)
    if not adata.obs_names.is_unique:
        doubled = int(adata.obs_names.duplicated().sum())
        logger.info("%d cells have the name of an earlier cell; cells are told by row", doubled)


def describe_source(layer: str | None = None, *, use_raw: bool = False) -> str:
    """Name the place values are read from, for messages."""
    if use_raw:
        return "raw.X"
    return "X" if layer is None else f"layers[{layer!r}]"


def take_matrix(adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> Matrix:
    """Read expression values, cells x genes of ``adata``.

    Parameters
    ----------
    adata
        The object.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``raw`` instead, of the genes that ``adata`` has.

    Returns
    -------
    Dense, CSR or CSC, float32 or float64 (other numbers become float32); finite. Not a copy
    where the values are in that form, so it must not be written to.

    Raises
    ------
    KeyError
        If there is no such layer, or ``raw`` lacks genes.
    TypeError
        If the values are not numbers in memory.
    ValueError
        If there are no values where they are looked for, or if some are not finite.
    """
    where = describe_source(layer, use_raw=use_raw)
    if use_raw:
        if layer is not None:
            msg = f"use_raw=True and layer={layer!r} exclude one another; give one of them"
            raise ValueError(msg)
        values = _raw_values(adata)
    elif layer is not None:
        require(layer, adata.layers, "layers")
        values = adata.layers[layer]
    elif adata.X is None:
        msg = f"the object has no X; name a layer: there are {listed(adata.layers) or 'none'}"
        raise ValueError(msg)
    else:
        values = adata.X
    matrix = as_floats(values, where)
    refuse_non_finite(matrix, adata.obs_names, adata.var_names, where)
    return matrix


def _raw_values(adata: AnnData) -> Any:
    if adata.raw is None:
        msg = "use_raw=True, but the object has no raw; leave use_raw out, or name a layer"
        raise ValueError(msg)
    genes, raw_genes = adata.var_names, adata.raw.var_names
    if not raw_genes.is_unique:
        msg = "gene names of raw are not unique, so its genes cannot be matched with var_names"
        raise ValueError(msg)
    absent = genes[~genes.isin(raw_genes)]
    if len(absent):
        msg = (
            f"raw lacks {len(absent)} of {len(genes)} genes: {listed(absent, 5)}; "
            "cut adata to the genes of raw, or work from adata.raw.to_adata()"
        )
        raise KeyError(msg)
    if raw_genes.equals(genes):
        return adata.raw.X
    return adata.raw.X[:, raw_genes.get_indexer(genes)]


def as_floats(values: Any, where: str) -> Matrix:
    """Bring values into a form that ``core`` takes.

    Parameters
    ----------
    values
        A numpy array or scipy sparse matrix of numbers.
    where
        What to call it in an error.

    Returns
    -------
    Dense, CSR or CSC (other sparse formats become CSR) without doubled entries, in float32 or
    float64 of this machine's byte order. ``values`` itself where it has that form.

    Raises
    ------
    TypeError
        If they are of another kind.
    """
    floats: Any = values
    if sp.issparse(values):
        if floats.format not in ("csr", "csc"):
            floats = floats.tocsr()
        if not floats.has_canonical_format:
            floats = floats.copy()
            floats.sum_duplicates()
    elif isinstance(values, np.ndarray):
        floats = np.asarray(values)
    else:
        msg = (
            f"{where} is a {type(values).__name__}; a numpy array or scipy sparse matrix is needed"
        )
        raise TypeError(msg)
    dtype = floats.dtype
    if dtype.kind not in "fiub":
        msg = f"{where} holds {dtype}; real numbers are needed"
        raise TypeError(msg)
    wanted = np.float64 if dtype.kind == "f" and dtype.itemsize >= 8 else np.float32
    return cast("Matrix", floats if dtype == wanted else floats.astype(wanted))


def refuse_non_finite(
    matrix: Matrix,
    cells: pd.Index[Any] | Sequence[str],
    columns: pd.Index[Any] | Sequence[str],
    where: str,
) -> None:
    """Raise if a value is NaN or infinite; say how many there are and where the first is.

    Parameters
    ----------
    matrix
        Cells x genes (or dimensions).
    cells, columns
        Their names.
    where
        What to call the matrix.
    """
    rows, positions, values = _non_finite(matrix)
    if not len(rows):
        return
    first = np.lexsort((positions, rows))[0]
    n_nan = int(np.isnan(values).sum())
    msg = (
        f"{where} has {len(rows)} values that are not finite ({n_nan} NaN, "
        f"{len(rows) - n_nan} infinite) in {len(np.unique(rows))} cells; the first is cell "
        f"{str(cells[rows[first]])!r}, {str(columns[positions[first]])!r}; "
        "leave out or fill in these values"
    )
    raise ValueError(msg)


def _non_finite(matrix: Matrix) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return rows, columns and values of the entries that are not finite."""
    if not sp.issparse(matrix):
        found = [
            (start + rows, columns)
            for start in range(0, len(matrix), CHECKED_ROWS)
            for rows, columns in [np.nonzero(~np.isfinite(matrix[start : start + CHECKED_ROWS]))]
        ]
        rows = np.concatenate([rows for rows, _ in found])
        columns = np.concatenate([columns for _, columns in found])
        return rows, columns, matrix[rows, columns]
    at = np.flatnonzero(~np.isfinite(matrix.data))
    outer = np.searchsorted(matrix.indptr, at, side="right") - 1
    inner = matrix.indices[at]
    rows, columns = (outer, inner) if matrix.format == "csr" else (inner, outer)
    return rows, columns, matrix.data[at]


def take_embedding(adata: AnnData, use_rep: str) -> NDArray[Any]:
    """Read an embedding from ``obsm``, dense and finite, float32 or float64.

    Raises
    ------
    KeyError
        If there is no such embedding.
    TypeError, ValueError
        As :func:`take_matrix`.
    """
    require(use_rep, adata.obsm, "obsm")
    where = f"obsm[{use_rep!r}]"
    values = adata.obsm[use_rep]
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    matrix = as_floats(values, where)
    dense: NDArray[Any] = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    refuse_non_finite(
        dense, adata.obs_names, [f"dimension {d}" for d in range(dense.shape[1])], where
    )
    return dense


def take_gene_mask(
    adata: AnnData, mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None
) -> GeneMask:
    """Choose the genes that distances are measured on.

    Parameters
    ----------
    adata
        The object.
    mask_var
        A boolean column of ``var``; or a mask over its genes; ``None``: all genes. Not given:
        ``highly_variable`` if there is such a column, otherwise all genes.

    Raises
    ------
    KeyError
        If there is no such column.
    TypeError
        If it is not boolean.
    ValueError
        If the mask has another length than there are genes, or selects none.
    """
    if isinstance(mask_var, Unset):
        mask_var = HIGHLY_VARIABLE if HIGHLY_VARIABLE in adata.var.columns else None
    if mask_var is None:
        return GeneMask(None, None)
    remedy = "mask_var=None takes all genes"
    if isinstance(mask_var, str):
        require(mask_var, adata.var.columns, "var")
        where = f"var[{mask_var!r}]"
        return GeneMask(_as_mask(adata.var[mask_var], adata.var_names, where, remedy), mask_var)
    return GeneMask(_as_mask(mask_var, adata.var_names, "mask_var", remedy), None)


def take_cell_mask(
    adata: AnnData, restrict: str | Sequence[bool] | NDArray[np.bool_] | None, batches: Batches
) -> NDArray[np.bool_] | None:
    """Choose the cells that pairs may be taken from.

    Parameters
    ----------
    adata
        The object.
    restrict
        A boolean column of ``obs``, or a mask over its cells; ``None``: all cells.
    batches
        Each must keep a cell.

    Raises
    ------
    KeyError
        If there is no such column.
    TypeError
        If it is not boolean.
    ValueError
        If the mask has another length than there are cells, or leaves a batch without any.
    """
    if restrict is None:
        return None
    remedy = "restrict=None takes all cells"
    if isinstance(restrict, str):
        require(restrict, adata.obs.columns, "obs")
        where = f"obs[{restrict!r}]"
        mask = _as_mask(adata.obs[restrict], adata.obs_names, where, remedy)
    else:
        mask = _as_mask(restrict, adata.obs_names, "restrict", remedy)
    kept = np.bincount(batches.codes[mask], minlength=len(batches.names))
    if not kept.all():
        empty = [batches.names[b] for b in np.flatnonzero(kept == 0)]
        msg = (
            f"restrict leaves no cell of these batches: {listed(empty)}; "
            "every batch needs cells that pairs may be taken from"
        )
        raise ValueError(msg)
    return mask


def _as_mask(values: Any, names: pd.Index[Any], where: str, remedy: str) -> NDArray[np.bool_]:
    """Turn a column, array or list of truth values into a mask over ``names``."""
    if isinstance(values, pd.Series):
        if not values.index.equals(names):
            msg = (
                f"the index of {where} is not that of the object; bring it into the object's order"
            )
            raise ValueError(msg)
        if values.isna().any():
            msg = f"{where} is missing for {int(values.isna().sum())} of {len(values)}; {remedy}"
            raise ValueError(msg)
    mask = np.asarray(values)
    if mask.dtype == object and all(isinstance(value, bool | np.bool_) for value in mask):
        mask = mask.astype(bool)
    if mask.dtype != bool:
        msg = f"{where} holds {mask.dtype}; it must be boolean; {remedy}"
        raise TypeError(msg)
    if mask.shape != (len(names),):
        msg = f"{where} has shape {mask.shape}; it must be ({len(names)},); {remedy}"
        raise ValueError(msg)
    if not mask.any():
        msg = f"{where} is False everywhere, so it selects nothing; {remedy}"
        raise ValueError(msg)
    return mask
