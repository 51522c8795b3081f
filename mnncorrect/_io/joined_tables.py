"""Tables of several inputs made one: cells below each other, genes matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata.gene_names import NamedGenes, cleaned, judge_gene_names, remedy, white_space
from mnncorrect._adata.libraries import add_libraries
from mnncorrect._adata.lookup import MOST_TOLD, listed, require
from mnncorrect._adata.record import owned
from mnncorrect._io.input_parts import FEW_LISTED, FILE_KEY, Part
from mnncorrect._io.joined_columns import united_column
from mnncorrect._log import logger


def keys_of(tables: Mapping[str, pd.DataFrame], gene_key: str | None) -> list[str | None]:
    """Return the column that names the genes of each input: none of those that lack it."""
    if gene_key is None:
        return [None] * len(tables)
    without = [name for name, var in tables.items() if gene_key not in var]
    if len(without) == len(tables):
        require(gene_key, tables[without[0]], f"{without[0]}: `gene_key`: var")
    if without:
        logger.warning(
            "var[%r] is missing in these inputs, and their genes are matched by their names: %s",
            gene_key,
            listed(without, FEW_LISTED),
        )
    return [None if name in without else gene_key for name in tables]


def input_gene_names(
    var: pd.DataFrame,
    part: Part,
    name: str,
    gene_key: str | None,
    *,
    unique: bool,
    strip_versions: bool = False,
) -> pd.Index[Any]:
    """Name the genes of an input, each once if ``unique``; by None those that cannot be named."""
    names = var.index.astype(object)
    if gene_key is not None:
        names = pd.Index(var[gene_key].astype("string").fillna(""), dtype=object)
    if unique:
        padded = white_space(names)
        if padded:
            logger.warning("%s: %s, which is taken off to match them", name, padded)
        names = pd.Index(cleaned(names, strip_versions=strip_versions), dtype=object)
    taken = np.ones(len(names), dtype=bool) if part.genes is None else part.genes
    if not taken.all():
        logger.info("%s: %d features that are not genes were left out", name, (~taken).sum())
    unclear = np.zeros(len(names), dtype=bool)
    if unique:
        unclear[taken] = names[taken].duplicated(keep=False) | (names[taken] == "")
    if unclear.any():
        logger.warning(
            "%s: %d genes were left out, because their names are empty or not unique: %s",
            name,
            unclear.sum(),
            listed(pd.unique(names[unclear]), FEW_LISTED),
        )
    return names.where(taken & ~unclear, None)


def shared_genes(
    names: Mapping[str, pd.Index[Any]], tables: Mapping[str, pd.DataFrame]
) -> pd.Index[Any]:
    """Return the genes that all inputs have, in the order of the first; say how many are lost."""
    taken = {name: index[index.notna()] for name, index in names.items()}
    first = next(iter(taken.values()))
    shared = first[np.logical_and.reduce([first.isin(index) for index in taken.values()])]
    named = {
        name: NamedGenes(name, index.tolist(), tables[name][names[name].notna()])
        for name, index in taken.items()
    }
    for text in judge_gene_names(named, len(shared)):
        logger.warning("%s", text)
    if len(taken) > 1:
        lost = {name: len(index) - len(shared) for name, index in taken.items()}
        each = ", ".join(f"{n} of {name}" for name, n in lost.items())
        if len(lost) > MOST_TOLD:
            most = max(lost, key=lambda name: lost[name])
            each = f"{min(lost.values())} to {lost[most]} of each, most of {most}"
        logger.info("genes in all files: %d; left out: %s", len(shared), each)
    return shared


def better_match(parts: Mapping[str, Part], *, use_raw: bool) -> dict[str, Any]:
    """Return the arguments by which the genes of inputs match better than by their names."""
    named = []
    for name, part in parts.items():
        var = part.adata.raw.var if use_raw and part.adata.raw is not None else part.adata.var
        var = var if part.genes is None else var[part.genes]
        named.append(NamedGenes(name, cleaned(var.index), var))
    return remedy(named)


def columns_of(
    names: pd.Index[Any], shared: pd.Index[Any], *, single: bool
) -> NDArray[np.int64] | None:
    """Return where the shared genes are among those of an input; ``None``: just so."""
    if names.equals(shared):
        return None
    # Genes of one name stay separate where there is nothing to match.
    taken = np.flatnonzero(names.notna())
    return taken if single else taken[names[taken].get_indexer(shared)]


def genes_of(
    var: pd.DataFrame, columns: NDArray[np.int64] | None, shared: pd.Index[Any]
) -> pd.DataFrame:
    """Return the rows of the table of genes that stand for the shared ones."""
    return (var if columns is None else var.iloc[columns]).set_axis(shared)


def common_var(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the columns of var that say the same in every table."""
    first, *others = tables
    same = [
        column
        for column in first
        if all(column in other and other[column].equals(first[column]) for other in others)
    ]
    return first[same].copy()


def joined_obs(parts: Mapping[str, Part], *, from_barcode: bool = False) -> pd.DataFrame:
    """Return the table of all cells; with the library that their names tell if that is wanted."""
    _log_replaced(parts)
    tables = [_with(part, name) for name, part in parts.items()]
    columns = dict.fromkeys(column for table in tables for column in table)
    obs = pd.DataFrame({column: united_column(tables, column) for column in columns})
    sizes = [part.adata.n_obs for part in parts.values()]
    obs.index = _cell_names({name: part.adata.obs_names for name, part in parts.items()})
    obs[FILE_KEY] = pd.Categorical(np.repeat(list(parts), sizes), categories=list(parts))
    if from_barcode:
        add_libraries(obs, {name: part.adata.obs_names for name, part in parts.items()})
    return obs


def _cell_names(named: Mapping[str, pd.Index[Any]]) -> pd.Index[Any]:
    """Name the cells of all inputs: as they are, or by the input as well if two share a name."""
    each = [names.astype(str).unique().to_numpy() for names in named.values()]
    shared = pd.Index(np.concatenate(each), dtype=object).has_duplicates
    return pd.Index(
        [
            f"{cell}-{name}" if shared else str(cell)
            for name, names in named.items()
            for cell in names
        ],
        dtype=object,
    )


def _log_replaced(parts: Mapping[str, Part]) -> None:
    """Say which columns of the inputs give way to what the caller says about them."""
    replaced: dict[str, list[str]] = {}
    for name, part in parts.items():
        obs = part.adata.obs
        for column, value in part.about.items():
            if column in obs and (obs[column].astype(str) != str(value)).any():
                replaced.setdefault(column, []).append(name)
        if FILE_KEY in obs:
            replaced.setdefault(FILE_KEY, []).append(name)
    for column, names in replaced.items():
        logger.warning("obs[%r] of these files is replaced: %s", column, listed(names, FEW_LISTED))


def _with(part: Part, name: str) -> pd.DataFrame:
    """Return the cells of an input with what the caller says about it."""
    # What a correction of one input wrote says nothing about the cells of all.
    dropped = [FILE_KEY, *(key for slot, key in owned(part.adata.uns) if slot == "obs")]
    obs: pd.DataFrame = part.adata.obs.drop(columns=dropped, errors="ignore")
    doubled = int(part.adata.obs_names.duplicated().sum())
    if doubled:
        logger.info("%s: %d cells have a duplicate name", name, doubled)
    for column, value in part.about.items():
        text = isinstance(value, str)
        obs = obs.assign(
            **{column: pd.Categorical([value] * len(obs)) if text else [value] * len(obs)}
        )
    return obs
