"""Expression values, embeddings, and the choice of genes and cells, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.features import genes_among
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.numbers import as_floats, refuse_non_finite
from mnncorrect._adata.other_arrays import in_memory, is_dask, lazy_reader
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import BLOCK_BYTES, is_stored, load
from mnncorrect._adata.stored_rows import WritesByRows, stored_rows
from mnncorrect._adata.unread import refuse_unread
from mnncorrect.core.runtime.unset import Unset

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata.batches import Batches
    from mnncorrect.core.matrix.rows import RowSource

# The column that says which genes vary highly, by scanpy's convention.
HIGHLY_VARIABLE = "highly_variable"
# Where scanpy keeps principal components, and this package corrected expression.
SCANPY_PCA = "X_pca"
EXPRESSION = "mnn"


@dataclass(frozen=True)
class GeneMask:
    """The genes that are used for distances."""

    mask: NDArray[np.bool_] | None  # Which genes; ``None``: all.
    column: str | None  # The column of ``var`` they come from, if they do.


def describe_source(layer: str | None = None, *, use_raw: bool = False) -> str:
    """Name the place values are read from, for messages."""
    if use_raw:
        return "raw.X"
    return "X" if layer is None else f"layers[{layer!r}]"


def take_matrix(adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> Any:
    """Read expression values, cells x genes of ``adata``, from X, a layer or ``raw``.

    Dense, CSR or CSC, float32 or float64 (other numbers become float32); finite. Values that are in
    this form are not copied, so they must not be written to. Of values in a file, the result is
    that of :func:`take_expression_rows`.
    """
    values, columns = take_values(adata, layer=layer, use_raw=use_raw)
    where = describe_source(layer, use_raw=use_raw)
    if is_stored(values):
        return take_expression_rows(adata, layer=layer, use_raw=use_raw)
    if is_dask(values):
        return take_finite(adata, layer=layer, use_raw=use_raw)
    matrix = as_floats(values if columns is None else values[:, columns], where)
    refuse_non_finite(matrix, adata.obs_names, adata.var_names, where)
    return matrix


def take_counted(adata: AnnData) -> Any:
    """Read all genes of ``raw``, which totals are taken over; ``None``: ``adata`` has them all."""
    values, columns = take_values(adata, use_raw=True)
    genes = genes_among(adata.raw.var, "raw.var")
    if columns is None or is_stored(values):
        return None
    where = describe_source(use_raw=True)
    kept = slice(None) if genes is None else np.flatnonzero(genes)
    matrix = as_floats(values[:, kept], where)
    refuse_non_finite(matrix, adata.obs_names, adata.raw.var_names[kept], where)
    return matrix


def take_finite(adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> Any:
    """Read expression values as :func:`take_matrix`; of values in a file, rows that are checked."""
    from mnncorrect.core.matrix.rows import RowSource

    values, _ = take_values(adata, layer=layer, use_raw=use_raw)
    if not (is_stored(values) or is_dask(values)):
        return take_matrix(adata, layer=layer, use_raw=use_raw)
    where = describe_source(layer, use_raw=use_raw)
    rows = take_expression_rows(adata, layer=layer, use_raw=use_raw)

    def read(block: slice) -> Any:
        some = rows[block]
        if not np.isfinite(some if isinstance(some, np.ndarray) else some.data).all():
            refuse_non_finite(some, adata.obs_names[block], adata.var_names, where)
        return some

    return RowSource(read, rows.shape, rows.dtype)


def take_expression_rows(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    scratch: WritesByRows | None = None,
    block_bytes: int = BLOCK_BYTES,
    whole: bool = False,
) -> RowSource:
    """Read expression values by rows, dense or CSR, wherever they are: in memory, or in a file.

    ``scratch, block_bytes``: as :func:`mnncorrect._adata.stored_rows.stored_rows`. ``whole``: read
    all columns of ``raw``, and do not check that values in memory are finite; those in a file never
    are.
    """
    from mnncorrect.core.matrix.rows import RowSource

    values, columns = take_values(adata, layer=layer, use_raw=use_raw)
    where = describe_source(layer, use_raw=use_raw)
    if whole:
        columns = None
    if is_dask(values):
        read, dtype = lazy_reader(values), as_floats(np.empty((0, 0), values.dtype), where).dtype
        return RowSource(
            lambda block: as_floats(
                read(block) if columns is None else read(block)[:, columns], where
            ),
            (len(values), values.shape[1] if columns is None else len(columns)),
            dtype,
        )
    if not is_stored(values):
        matrix: Any = (
            as_floats(values, where) if whole else take_matrix(adata, layer=layer, use_raw=use_raw)
        )
        matrix = matrix if isinstance(matrix, np.ndarray) else matrix.tocsr()
        return RowSource(matrix.__getitem__, matrix.shape, matrix.dtype)
    rows = stored_rows(values, where, scratch=scratch, block_bytes=block_bytes)
    if columns is None:
        return rows
    return RowSource(lambda block: rows[block][:, columns], adata.shape, rows.dtype, rows.shared)


def take_values(
    adata: AnnData, *, layer: str | None = None, use_raw: bool = False
) -> tuple[Any, NDArray[np.int64] | None]:
    """Find expression values as they are held, and which columns are the genes (``None``: all)."""
    if not adata.n_vars:
        names = listed(adata.obsm)
        held = f"; only its embeddings can be corrected (obsm: {names})" if names else ""
        raise ValueError(f"the object has no genes ({adata.n_obs} cells x 0 genes){held}")
    if use_raw:
        if layer is not None:
            raise ValueError(
                f"use_raw=True and layer={layer!r} exclude one another; give one of them"
            )
        return _raw_values(adata)
    if layer is not None:
        refuse_unread(adata, "layers", layer)
        remedy = "leave out `layer` to read X"
        if layer == EXPRESSION:
            remedy = "correct with `method` classic or `write_expression`, or name another `layer`"
        require(layer, elements_of(adata, "layers"), "layers", remedy)
        return adata.layers[layer], None
    refuse_unread(adata, "X")
    if adata.X is None:
        # Not every caller can take an embedding, so no argument is named for it.
        places = {"`layer`": list(elements_of(adata, "layers")), "obsm": list(adata.obsm)}
        there = [f"{name}: {listed(names)}" for name, names in places.items() if names]
        there += ["`use_raw`"] if adata.raw is not None else []
        held = "; ".join(there) or "none"
        raise ValueError(f"the object has no X; name values that it has ({held})")
    return adata.X, None


def _raw_values(adata: AnnData) -> tuple[Any, NDArray[np.int64] | None]:
    refuse_unread(adata, "raw")
    if adata.raw is None:
        raise ValueError("use_raw=True, but there is no raw; leave out `use_raw`, or name a layer")
    genes, raw_genes = adata.var_names, adata.raw.var_names
    if not raw_genes.is_unique:
        raise ValueError(
            "gene names of raw are not unique, so its genes cannot be matched with var_names"
        )
    absent = genes[~genes.isin(raw_genes)]
    if len(absent):
        raise KeyError(
            f"raw lacks {len(absent)} of {len(genes)} genes: {listed(absent, 5)}; "
            "cut adata to the genes of raw, or work from adata.raw.to_adata()"
        )
    if raw_genes.equals(genes):
        return adata.raw.X, None
    return adata.raw.X, raw_genes.get_indexer(genes)


def require_embedding(use_rep: str, obsm: Iterable[str]) -> None:
    """Refuse an embedding that is not there, and say how to get one."""
    made = "scanpy's pp.pca makes it" if use_rep == SCANPY_PCA else "compute it first"
    require(use_rep, obsm, "obsm", f"{made}, or name another embedding with `use_rep`")


def take_embedding(adata: AnnData, use_rep: str) -> NDArray[Any]:
    """Read an embedding from ``obsm``, dense and finite, float32 or float64."""
    refuse_unread(adata, "obsm", use_rep)
    require_embedding(use_rep, adata.obsm)
    where = f"obsm[{use_rep!r}]"
    values = adata.obsm[use_rep]
    if is_stored(values):
        values = load(values)
    values = in_memory(values)
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    if len(values.shape) != 2 or values.shape[1] == 0:
        raise ValueError(
            f"{where} has shape {tuple(values.shape)}, and an embedding has cells x dimensions; "
            "name another, or make it again"
        )
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

    ``mask_var``: a boolean column of ``var``, or a mask; ``None``: all genes. Not given:
    ``highly_variable`` if it exists, otherwise all. Never features that are no genes by
    ``var["feature_types"]``.
    """
    if isinstance(mask_var, Unset):
        mask_var = HIGHLY_VARIABLE if HIGHLY_VARIABLE in adata.var.columns else None
    if mask_var is None:
        return GeneMask(genes_among(adata.var), None)
    remedy = "`mask_var=None` uses all genes"
    column = mask_var if isinstance(mask_var, str) else None
    return GeneMask(_mask_of(mask_var, adata.var, "var", "mask_var", remedy), column)


def take_cell_mask(
    adata: AnnData, restrict: str | Sequence[bool] | NDArray[np.bool_] | None, batches: Batches
) -> NDArray[np.bool_] | None:
    """Choose the cells that pairs may be taken from, some of each batch."""
    if restrict is None:
        return None
    mask = _mask_of(restrict, adata.obs, "obs", "restrict", "`restrict=None` uses all cells")
    kept = np.bincount(batches.codes[mask], minlength=len(batches.names))
    if not kept.all():
        empty = [batches.names[b] for b in np.flatnonzero(kept == 0)]
        raise ValueError(
            f"restrict leaves no cell of these batches: {listed(empty)}; "
            "every batch needs cells that pairs may be taken from"
        )
    return mask


def _mask_of(
    given: Any, table: pd.DataFrame, slot: str, argument: str, remedy: str
) -> NDArray[np.bool_]:
    """Read a mask over the rows of a table: one of its columns, or truth values."""
    if isinstance(given, str):
        require(given, table.columns, slot, remedy)
        return _as_mask(table[given], table.index, f"{slot}[{given!r}]", remedy)
    return _as_mask(given, table.index, argument, remedy)


def _truths(column: pd.Series[Any]) -> pd.Series[Any]:
    """Read truth values that others wrote as numbers or text; any other column stays as it is."""
    if pd.api.types.is_bool_dtype(column):
        return column.astype(bool)
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(bool) if column.isin((0, 1)).all() else column
    texts = column.astype(str).str.lower()
    return texts == "true" if texts.isin(("true", "false")).all() else column


def _as_mask(values: Any, names: pd.Index[Any], where: str, remedy: str) -> NDArray[np.bool_]:
    """Turn a column, array or list of truth values into a mask over ``names``."""
    if isinstance(values, pd.Series):
        if not values.index.equals(names):
            raise ValueError(
                f"the index of {where} is not that of the object; bring it into the object's order"
            )
        if values.isna().any():
            raise ValueError(
                f"{where} is missing for {int(values.isna().sum())} of {len(values)}; {remedy}"
            )
        values = _truths(values)
    mask = np.asarray(values)
    if mask.dtype == object and all(isinstance(value, bool | np.bool_) for value in mask):
        mask = mask.astype(bool)
    if mask.dtype != bool:
        raise TypeError(f"{where} holds {mask.dtype}; it must be boolean; {remedy}")
    if mask.shape != (len(names),):
        raise ValueError(f"{where} has shape {mask.shape}; it must be ({len(names)},); {remedy}")
    if not mask.any():
        raise ValueError(f"{where} is False everywhere, so it selects nothing; {remedy}")
    return mask
