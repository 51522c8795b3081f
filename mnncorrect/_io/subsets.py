"""Some cells of an input, chosen by the values of columns, and all that is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from mnncorrect._adata.batches import texts_of
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import is_stored
from mnncorrect._adata.unread import carry_unread
from mnncorrect._io.h5ad_writer import refuse_unwritable
from mnncorrect._io.input_parts import FEW_LISTED, Part, WritesPieces
from mnncorrect._io.pieces import Piece
from mnncorrect._log import logger
from mnncorrect._wording import Worded, option


def chosen(part: Part, store: WritesPieces, *, subset: Sequence[str] = ()) -> AnnData:
    """Keep the cells of one input that meet conditions, and all that is known of them.

    Matrices go to ``store``; those of the input are not needed afterwards. Unused categories go.
    """
    adata = part.adata
    taken = cells_taken(part, subset)
    keep = np.ones(adata.n_obs, dtype=bool) if taken is None else taken
    genes = np.ones(adata.n_vars, dtype=bool) if part.genes is None else part.genes

    def cut(
        slot: str, rows: NDArray[np.bool_], columns: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        return {
            name: _cut(value, rows, columns, f"{slot}[{name!r}]", store)
            for name, value in elements_of(adata, slot).items()
        }

    with doubled_names():
        # The tables are cut by anndata, which drops categories and colors that are not needed.
        large = {name: value for name, value in adata.uns.items() if is_stored(value)}
        small = {name: value for name, value in adata.uns.items() if name not in large}
        tables = AnnData(
            obs=adata.obs,
            var=adata.var,
            uns=small,
            obsm=_tables_in(adata, "obsm"),
            varm=_tables_in(adata, "varm"),
        )[keep, genes].copy()
        if adata.raw is not None:
            nothing = sp.csr_matrix((tables.n_obs, adata.raw.n_vars), dtype=np.float32)
            tables.raw = AnnData(nothing, obs=tables.obs[[]], var=adata.raw.var)
        refuse_unwritable(tables)  # before matrices are written
        made = AnnData(
            None if adata.X is None else _cut(adata.X, keep, genes, "X", store),
            obs=tables.obs,
            var=tables.var,
            uns=dict(tables.uns) | large,
            layers=cut("layers", keep, genes),
            obsm=cut("obsm", keep),
            varm=cut("varm", genes),
            obsp=cut("obsp", keep, keep),
            varp=cut("varp", genes, genes),
        )
        if adata.raw is not None:
            made.raw = AnnData(
                _cut(adata.raw.X, keep, None, "raw.X", store),
                obs=made.obs[[]],
                var=adata.raw.var,
                varm=dict(adata.raw.varm),
            )
    carry_unread(adata, made, same_genes=bool(genes.all()))
    return made


def _tables_in(adata: AnnData, slot: str) -> dict[str, pd.DataFrame]:
    return {
        name: value
        for name, value in elements_of(adata, slot).items()
        if isinstance(value, pd.DataFrame)
    }


def cells_taken(part: Part, subset: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return which cells of an input are taken and meet conditions; ``None``: all."""
    if not subset:
        return part.cells
    keep = meeting(part.adata.obs, subset)
    return keep if part.cells is None else keep & part.cells


def meeting(obs: pd.DataFrame, conditions: Sequence[str]) -> NDArray[np.bool_]:
    """Find the cells that meet conditions on columns of obs, at least one.

    Each is ``COLUMN=VALUE`` or ``COLUMN!=VALUE``, values compared as text. Several values of one
    column are alternatives; everything else must hold at once.
    """
    wanted: dict[str, NDArray[np.bool_]] = {}
    keep = np.ones(len(obs), dtype=bool)
    for condition in conditions:
        column, unequal, value = _parsed_condition(condition)
        require(column, obs, f"`subset` {condition!r}: obs")
        values = texts_of(obs[column])
        is_value = values == value
        if not is_value.any():
            raise ValueError(
                f"`subset` {condition!r}: no cell has the value {value!r} in obs[{column!r}]; "
                f"it has {listed(pd.unique(values), FEW_LISTED)}"
            )
        if unequal:
            keep &= ~is_value
        else:
            wanted[column] = wanted.get(column, np.zeros(len(obs), dtype=bool)) | is_value
    for is_wanted in wanted.values():
        keep &= is_wanted
    if not keep.any():
        text = "no cell meets all of {}; give fewer conditions"
        shell = " ".join(option("subset", condition) for condition in conditions)
        raise ValueError(Worded(text.format(listed(conditions)), command_line=text.format(shell)))
    logger.info("subset: %d of %d cells kept", keep.sum(), len(obs))
    return keep


def _parsed_condition(condition: str) -> tuple[str, bool, str]:
    column, sign, value = condition.partition("=")
    if sign == "" or column.strip("! ") == "":
        raise ValueError(
            f"`subset` {condition!r} cannot be read; write COLUMN=VALUE or COLUMN!=VALUE"
        )
    return column.removesuffix("!"), column.endswith("!"), value


def _cut(
    value: Any,
    rows: NDArray[np.bool_],
    columns: NDArray[np.bool_] | None,
    where: str,
    store: WritesPieces,
) -> Any:
    """Take rows and columns of a value: in memory, or to where others are stored."""
    if is_stored(value):
        if len(value.shape) > 2:
            return value[...][rows]
        at = None if columns is None or columns.all() else np.flatnonzero(columns)
        return store([Piece(value, where, rows, at)])
    if isinstance(value, pd.DataFrame):
        return cut_table(value, rows)
    some = value[np.flatnonzero(rows)]
    return some if columns is None else some[:, np.flatnonzero(columns)]


def cut_table(table: pd.DataFrame, rows: NDArray[np.bool_]) -> pd.DataFrame:
    """Take rows of a table; of categories, those that are left."""
    some: pd.DataFrame = table[rows].copy()
    for column in some:
        if isinstance(some[column].dtype, pd.CategoricalDtype):
            some[column] = some[column].cat.remove_unused_categories()
    return some
