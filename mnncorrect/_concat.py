"""Make one object of several: cells below each other, genes matched by name.

Also the choice of cells by the values of a column, which is asked for in the same breath.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import listed, require

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger("mnncorrect")

# The column of obs that says which input a cell comes from.
FILE_KEY = "mnn_file"
# How many values a message lists.
LISTED = 5


def concatenate(
    datas: Mapping[str, AnnData], *, gene_key: str | None = None, use_raw: bool = False
) -> AnnData:
    """Put the cells of several objects below each other.

    Parameters
    ----------
    datas
        The objects by name, in order.
    gene_key
        Column of var that names the genes. ``None``: by `var_names`.
    use_raw
        Whether raw values are wanted: `raw`, which every object must then have, takes the place
        of X, and its genes that of the genes.

    Returns
    -------
    One object. X and the layers that all have, on the genes that all have, in the order of the
    first. ``obs`` has the columns of all, and ``obs["mnn_file"]`` with the name of the object
    that a cell comes from; cells are named ``{name}-{object}``. Columns of var that are equal in
    all are kept. Embeddings, graphs and ``uns`` belong to one object each and are left out.

    Raises
    ------
    KeyError
        `gene_key` is not a column of var, or `raw` is missing.
    ValueError
        No gene is in all objects, or genes of one have the same name.
    """
    import anndata

    parts = {name: _stripped(data, name, use_raw=use_raw) for name, data in datas.items()}
    for name, part in parts.items():
        parts[name] = _named_genes(part, name, gene_key)
    first = next(iter(parts.values())).var_names
    shared = first[np.logical_and.reduce([first.isin(part.var_names) for part in parts.values()])]
    if len(shared) == 0:
        examples = "; ".join(f"{n}: {', '.join(p.var_names[:2])}" for n, p in parts.items())
        msg = (
            f"the input files have no genes in common ({examples}); name the column of var that "
            "holds matching names with --gene-key"
        )
        raise ValueError(msg)
    lost = ", ".join(f"{part.n_vars - len(shared)} of {name}" for name, part in parts.items())
    logger.info("genes in all files: %d; left out: %s", len(shared), lost)
    _log_layers(parts)
    parts = {name: part[:, shared].copy() for name, part in parts.items()}
    adata: AnnData = anndata.concat(parts, index_unique="-", join="inner")
    obs = _united_obs([part.obs for part in parts.values()])
    obs.index = adata.obs_names
    obs[FILE_KEY] = pd.Categorical(
        np.repeat(list(parts), [part.n_obs for part in parts.values()]), categories=list(parts)
    )
    adata.obs = obs
    adata.var = _common_var([part.var for part in parts.values()])
    return adata


def choose_cells(adata: AnnData, conditions: Sequence[str]) -> AnnData:
    """Keep the cells that meet conditions on columns of obs.

    Parameters
    ----------
    adata
        The object.
    conditions
        Each ``COLUMN=VALUE`` or ``COLUMN!=VALUE``, values compared as text. Several values of one
        column are alternatives; everything else must hold at once.

    Returns
    -------
    A new object with the cells kept, at least one.

    Raises
    ------
    KeyError
        A column is not in obs.
    ValueError
        A condition cannot be read, names a value that the column does not have, or no cell is left.
    """
    wanted: dict[str, NDArray[np.bool_]] = {}
    keep = np.ones(adata.n_obs, dtype=bool)
    for condition in conditions:
        column, unequal, value = _parsed(condition)
        require(column, adata.obs, f"--subset {condition}: obs")
        values = adata.obs[column].astype(str).to_numpy()
        is_value = values == value
        if not is_value.any():
            msg = (
                f"--subset {condition}: no cell has the value {value!r} in obs[{column!r}]; "
                f"it has {listed(pd.unique(values), LISTED)}"
            )
            raise ValueError(msg)
        if unequal:
            keep &= ~is_value
        else:
            wanted[column] = wanted.get(column, np.zeros(adata.n_obs, dtype=bool)) | is_value
    for is_wanted in wanted.values():
        keep &= is_wanted
    if not keep.any():
        msg = f"no cell meets all of --subset {' '.join(conditions)}; give fewer conditions"
        raise ValueError(msg)
    logger.info("subset: %d of %d cells kept", keep.sum(), adata.n_obs)
    chosen: AnnData = adata[keep].copy()
    return chosen


def _parsed(condition: str) -> tuple[str, bool, str]:
    column, sign, value = condition.partition("=")
    if sign == "" or column.strip("! ") == "":
        msg = f"--subset {condition!r} cannot be read; write COLUMN=VALUE or COLUMN!=VALUE"
        raise ValueError(msg)
    return column.removesuffix("!"), column.endswith("!"), value


def _stripped(data: AnnData, name: str, *, use_raw: bool) -> AnnData:
    """Return an object with only what can be joined, and raw in the place of X if asked for."""
    import anndata

    if use_raw:
        if data.raw is None:
            msg = f"{name} has no raw values; leave out --use-raw, or name a layer with --layer"
            raise KeyError(msg)
        return anndata.AnnData(X=data.raw.X, obs=data.obs, var=data.raw.var)
    return anndata.AnnData(X=data.X, obs=data.obs, var=data.var, layers=dict(data.layers))


def _named_genes(data: AnnData, name: str, gene_key: str | None) -> AnnData:
    """Return the object with genes named by `gene_key`, without those that cannot be told apart."""
    names = data.var_names
    if gene_key is not None:
        require(gene_key, data.var, f"{name}: --gene-key: var")
        names = pd.Index(data.var[gene_key].astype("string").fillna(""), dtype=object)
        data.var_names = names
    unclear = names.duplicated(keep=False) | (names == "")
    if not unclear.any():
        return data
    logger.warning(
        "%s: %d genes left out, since their names are empty or not unique: %s",
        name,
        unclear.sum(),
        listed(pd.unique(names[unclear]), LISTED),
    )
    return data[:, ~unclear].copy()


def _log_layers(parts: Mapping[str, AnnData]) -> None:
    present = [set(part.layers) for part in parts.values()]
    dropped = set.union(*present) - set.intersection(*present)
    if dropped:
        logger.info("layers that not all files have, left out: %s", ", ".join(sorted(dropped)))


def _united_obs(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all tables below each other, with the columns of all."""
    columns = dict.fromkeys(column for table in tables for column in table)
    return pd.DataFrame({column: _united_column(tables, column) for column in columns})


def _united_column(tables: Sequence[pd.DataFrame], column: Hashable) -> pd.Series[Any]:
    pieces = [
        table[column] if column in table else pd.Series(np.nan, index=table.index, dtype=object)
        for table in tables
    ]
    present = [piece for piece, table in zip(pieces, tables, strict=True) if column in table]
    if all(isinstance(piece.dtype, pd.CategoricalDtype) for piece in present):
        levels = pd.Index(
            dict.fromkeys(level for piece in present for level in piece.cat.categories)
        )
        pieces = [piece.astype(object) for piece in pieces]
        return pd.concat(pieces, ignore_index=True).astype(pd.CategoricalDtype(levels))
    kinds = {"number" if pd.api.types.is_numeric_dtype(piece) else "text" for piece in present}
    joined = pd.concat([piece.astype(object) for piece in pieces], ignore_index=True)
    if kinds == {"number"}:
        return joined.infer_objects()
    # A file can hold text or numbers in a column, not both.
    return joined.where(joined.isna(), joined.astype(str))


def _common_var(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the columns of var that say the same in every table."""
    first, *others = tables
    same = [
        column
        for column in first
        if all(column in other and other[column].equals(first[column]) for other in others)
    ]
    return first[same].copy()
