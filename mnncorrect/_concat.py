"""Make one object of several inputs, or of some cells of one, without holding a matrix whole.

Cells are put below each other, genes are matched by name, and cells are chosen by the values of
columns. Tables are put together in memory; matrices are written once to a scratch file, block by
block, and stand in the object as they are there.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.pieces import Piece, write_pieces
from mnncorrect._adata.stored import BLOCK_BYTES, is_stored
from mnncorrect._h5ad import COMPRESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.stored import Scratch

logger = logging.getLogger("mnncorrect")

# The column of obs that says which input a cell comes from.
FILE_KEY = "mnn_file"
# How many values a message lists.
LISTED = 5
# Up to so many inputs or batches each is told of; of more, the extremes.
MOST_TOLD = 20


@dataclass(frozen=True)
class Part:
    """One input.

    Attributes
    ----------
    adata
        The object; its matrices may be in a file.
    genes
        Which of its genes are taken; ``None``: all.
    about
        What is said of all its cells: columns of obs, with one value each.
    """

    adata: AnnData
    genes: NDArray[np.bool_] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What of the inputs is put together.

    Attributes
    ----------
    obs, var
        The tables of the result.
    rows, columns
        Which cells and genes of each input are taken; ``None``: all.
    layers
        Which layers.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    rows: Mapping[str, NDArray[np.bool_] | None]
    columns: Mapping[str, NDArray[np.int64] | None]
    layers: Sequence[str]


@dataclass(frozen=True)
class Store:
    """Where matrices are written, and how much of them is in memory at a time.

    Attributes
    ----------
    scratch
        Gives the file.
    block_bytes
        Of a block.
    """

    scratch: Scratch
    block_bytes: int = BLOCK_BYTES

    def __call__(self, pieces: Sequence[Piece]) -> Any:
        """Write pieces below each other, packed as results are, since they become results."""
        return write_pieces(pieces, self.scratch, block_bytes=self.block_bytes, **COMPRESSION)


def concatenate(
    parts: Mapping[str, Part],
    store: Store,
    *,
    gene_key: str | None = None,
    use_raw: bool = False,
    subset: Sequence[str] = (),
) -> AnnData:
    """Put the cells of inputs below each other.

    Parameters
    ----------
    parts
        The inputs by name, in order.
    store
        Where matrices are written.
    gene_key
        Column of var that names the genes. ``None``: by `var_names`.
    use_raw
        Whether raw values are wanted: `raw`, which every input must then have, takes the place
        of X, and its genes that of the genes.
    subset
        Conditions on the cells, as :func:`meeting` takes them.

    Returns
    -------
    One object. X and the layers that all have, on the genes that all have, in the order of the
    first. ``obs`` has the columns of all, what is said about each input, and ``obs["mnn_file"]``
    with the name of the input that a cell comes from; cells are named ``{name}-{input}``. Columns
    of var that are equal in all are kept. Embeddings, graphs, raw and ``uns`` belong to one input
    each and are left out.

    Raises
    ------
    KeyError
        `gene_key` is not a column of var, or `raw` is missing.
    ValueError
        No gene is in all inputs, or an input has no values; a condition cannot be met.
    """
    import anndata

    plan = planned(parts, gene_key=gene_key, use_raw=use_raw, subset=subset)
    _log_left_out(parts, use_raw=use_raw)

    def joined(where: str, take: Callable[[AnnData], Any]) -> Any:
        return store(
            [
                Piece(take(part.adata), f"{where} of {name}", plan.rows[name], plan.columns[name])
                for name, part in parts.items()
            ]
        )

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        return anndata.AnnData(
            joined("raw.X" if use_raw else "X", lambda a: a.raw.X if use_raw else a.X),
            obs=plan.obs,
            var=plan.var,
            layers={
                layer: joined(f"layers[{layer!r}]", lambda a, layer=layer: a.layers[layer])  # type: ignore[misc]
                for layer in plan.layers
            },
        )


def planned(
    parts: Mapping[str, Part],
    *,
    gene_key: str | None = None,
    use_raw: bool = False,
    subset: Sequence[str] = (),
) -> Plan:
    """Put the tables of inputs together, and say what of their matrices is taken.

    Parameters and errors as :func:`concatenate`.
    """
    variables = {name: _var(part, name, use_raw=use_raw) for name, part in parts.items()}
    single = len(parts) == 1 and gene_key is None
    names = {
        name: _gene_names(var, parts[name], name, gene_key, unique=not single)
        for name, var in variables.items()
    }
    shared = _shared(names)
    columns = {name: _columns(names[name], shared, single=single) for name in parts}
    obs = _joined_obs(parts)
    keep = meeting(obs, subset) if subset else None
    return Plan(
        obs if keep is None else _cut_table(obs, keep),
        _common_var([_genes_of(var, columns[name], shared) for name, var in variables.items()]),
        _rows_of(parts, keep),
        columns,
        [] if use_raw else _shared_layers(parts),
    )


def chosen(part: Part, store: Store, *, subset: Sequence[str] = ()) -> AnnData:
    """Keep some cells of one input, and all that is known of them.

    Parameters
    ----------
    part
        The input.
    store
        Where matrices are written; those of the input are not needed afterwards.
    subset
        Conditions on the cells, as :func:`meeting` takes them.

    Returns
    -------
    A new object with the cells that meet the conditions, at least one, and the genes that are
    taken; of categories, those that are left.

    Raises
    ------
    KeyError, ValueError
        As :func:`meeting`.
    """
    import anndata

    adata = part.adata
    keep = meeting(adata.obs, subset) if subset else np.ones(adata.n_obs, dtype=bool)
    genes = np.ones(adata.n_vars, dtype=bool) if part.genes is None else part.genes

    def cut(
        slot: str, rows: NDArray[np.bool_], columns: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        return {
            name: _cut(value, rows, columns, f"{slot}[{name!r}]", store)
            for name, value in getattr(adata, slot).items()
        }

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        # The tables are cut by anndata, which drops categories and colours that are not needed.
        large = {name: value for name, value in adata.uns.items() if is_stored(value)}
        small = {name: value for name, value in adata.uns.items() if name not in large}
        tables = anndata.AnnData(obs=adata.obs, var=adata.var, uns=small)[keep, genes].copy()
        made = anndata.AnnData(
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
            made.raw = anndata.AnnData(
                _cut(adata.raw.X, keep, None, "raw.X", store),
                obs=made.obs[[]],
                var=adata.raw.var,
                varm=dict(adata.raw.varm),
            )
    return made


def meeting(obs: pd.DataFrame, conditions: Sequence[str]) -> NDArray[np.bool_]:
    """Find the cells that meet conditions on columns of obs.

    Parameters
    ----------
    obs
        The table of cells.
    conditions
        Each ``COLUMN=VALUE`` or ``COLUMN!=VALUE``, values compared as text. Several values of one
        column are alternatives; everything else must hold at once.

    Returns
    -------
    Which cells do, at least one.

    Raises
    ------
    KeyError
        A column is not in obs.
    ValueError
        A condition cannot be read, names a value that the column does not have, or no cell is left.
    """
    wanted: dict[str, NDArray[np.bool_]] = {}
    keep = np.ones(len(obs), dtype=bool)
    for condition in conditions:
        column, unequal, value = _parsed(condition)
        require(column, obs, f"--subset {condition}: obs")
        values = obs[column].astype(str).to_numpy()
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
            wanted[column] = wanted.get(column, np.zeros(len(obs), dtype=bool)) | is_value
    for is_wanted in wanted.values():
        keep &= is_wanted
    if not keep.any():
        msg = f"no cell meets all of --subset {' '.join(conditions)}; give fewer conditions"
        raise ValueError(msg)
    logger.info("subset: %d of %d cells kept", keep.sum(), len(obs))
    return keep


def _parsed(condition: str) -> tuple[str, bool, str]:
    column, sign, value = condition.partition("=")
    if sign == "" or column.strip("! ") == "":
        msg = f"--subset {condition!r} cannot be read; write COLUMN=VALUE or COLUMN!=VALUE"
        raise ValueError(msg)
    return column.removesuffix("!"), column.endswith("!"), value


def _cut(
    value: Any,
    rows: NDArray[np.bool_],
    columns: NDArray[np.bool_] | None,
    where: str,
    store: Store,
) -> Any:
    """Take rows and columns of a value: in memory, or to where others are stored."""
    if is_stored(value):
        if len(value.shape) > 2:
            return value[...][rows]
        at = None if columns is None or columns.all() else np.flatnonzero(columns)
        return store([Piece(value, where, rows, at)])
    if isinstance(value, pd.DataFrame):
        return _cut_table(value, rows)
    some = value[np.flatnonzero(rows)]
    return some if columns is None else some[:, np.flatnonzero(columns)]


def told_sizes(sizes: Mapping[str, int]) -> str:
    """Tell how many cells each batch has; of many batches, the fewest and the most.

    Examples
    --------
    >>> told_sizes({"a": 3, "b": 5})
    'a 3, b 5'
    >>> told_sizes({f"b{i}": 30 + i for i in range(400)})
    '30 cells in b0 to 429 in b399'
    """
    if len(sizes) <= MOST_TOLD:
        return ", ".join(f"{name} {size}" for name, size in sizes.items())
    fewest, most = (end(sizes, key=lambda name: sizes[name]) for end in (min, max))
    if sizes[fewest] == sizes[most]:
        return f"{sizes[most]} cells in each"
    return f"{sizes[fewest]} cells in {fewest} to {sizes[most]} in {most}"


def _cut_table(table: pd.DataFrame, rows: NDArray[np.bool_]) -> pd.DataFrame:
    """Take rows of a table; of categories, those that are left."""
    some: pd.DataFrame = table[rows].copy()
    for column in some:
        if isinstance(some[column].dtype, pd.CategoricalDtype):
            some[column] = some[column].cat.remove_unused_categories()
    return some


def _var(part: Part, name: str, *, use_raw: bool) -> pd.DataFrame:
    """Return the table of genes of an input, which must have values."""
    adata = part.adata
    if use_raw:
        if adata.raw is None:
            msg = f"{name} has no raw values; leave out --use-raw, or name a layer with --layer"
            raise KeyError(msg)
        raw: pd.DataFrame = adata.raw.var
        return raw
    if adata.X is None:
        layers = listed(adata.layers) or "none"
        msg = f"{name} has no X, which is what is put together; it has layers: {layers}"
        raise ValueError(msg)
    var: pd.DataFrame = adata.var
    return var


def _gene_names(
    var: pd.DataFrame, part: Part, name: str, gene_key: str | None, *, unique: bool
) -> pd.Index[Any]:
    """Name the genes of an input; those that cannot be told apart, or are not taken, by None."""
    names = var.index.astype(object)
    if gene_key is not None:
        require(gene_key, var, f"{name}: --gene-key: var")
        names = pd.Index(var[gene_key].astype("string").fillna(""), dtype=object)
    taken = np.ones(len(names), dtype=bool) if part.genes is None else part.genes
    if not taken.all():
        logger.info("%s: %d features that are no genes left out", name, (~taken).sum())
    unclear = np.zeros(len(names), dtype=bool)
    if unique:
        unclear[taken] = names[taken].duplicated(keep=False) | (names[taken] == "")
    if unclear.any():
        logger.warning(
            "%s: %d genes left out, since their names are empty or not unique: %s",
            name,
            unclear.sum(),
            listed(pd.unique(names[unclear]), LISTED),
        )
    return names.where(taken & ~unclear, None)


def _shared(names: Mapping[str, pd.Index[Any]]) -> pd.Index[Any]:
    """Return the genes that all inputs have, in the order of the first; say how many are lost."""
    taken = {name: index[index.notna()] for name, index in names.items()}
    first = next(iter(taken.values()))
    shared = first[np.logical_and.reduce([first.isin(index) for index in taken.values()])]
    if len(shared) == 0:
        examples = "; ".join(f"{n}: {', '.join(map(str, i[:2]))}" for n, i in taken.items())
        msg = (
            f"the input files have no genes in common ({examples}); name the column of var that "
            "holds matching names with --gene-key"
        )
        raise ValueError(msg)
    if len(taken) > 1:
        lost = {name: len(index) - len(shared) for name, index in taken.items()}
        each = ", ".join(f"{n} of {name}" for name, n in lost.items())
        if len(lost) > MOST_TOLD:
            most = max(lost, key=lambda name: lost[name])
            each = f"{min(lost.values())} to {lost[most]} of each, most of {most}"
        logger.info("genes in all files: %d; left out: %s", len(shared), each)
    return shared


def _columns(
    names: pd.Index[Any], shared: pd.Index[Any], *, single: bool
) -> NDArray[np.int64] | None:
    """Return where the shared genes are among those of an input; ``None``: just so."""
    if names.equals(shared):
        return None
    # Genes of one name are told apart where there is nothing to be matched.
    taken = np.flatnonzero(names.notna())
    return taken if single else taken[names[taken].get_indexer(shared)]


def _genes_of(
    var: pd.DataFrame, columns: NDArray[np.int64] | None, shared: pd.Index[Any]
) -> pd.DataFrame:
    """Return the rows of the table of genes that stand for the shared ones."""
    return (var if columns is None else var.iloc[columns]).set_axis(shared)


def _joined_obs(parts: Mapping[str, Part]) -> pd.DataFrame:
    """Return the table of all cells."""
    _log_replaced(parts)
    obs = _united_obs([_with(part, name) for name, part in parts.items()])
    sizes = [part.adata.n_obs for part in parts.values()]
    obs.index = pd.Index(
        [f"{cell}-{name}" for name, part in parts.items() for cell in part.adata.obs_names],
        dtype=object,
    )
    obs[FILE_KEY] = pd.Categorical(np.repeat(list(parts), sizes), categories=list(parts))
    return obs


def _log_replaced(parts: Mapping[str, Part]) -> None:
    """Say which columns of the inputs give way to what is said about them."""
    replaced: dict[str, list[str]] = {}
    for name, part in parts.items():
        obs = part.adata.obs
        for column, value in part.about.items():
            if column in obs and (obs[column].astype(str) != str(value)).any():
                replaced.setdefault(column, []).append(name)
        if FILE_KEY in obs:
            replaced.setdefault(FILE_KEY, []).append(name)
    for column, names in replaced.items():
        logger.warning("obs[%r] of these files is replaced: %s", column, listed(names, LISTED))


def _with(part: Part, name: str) -> pd.DataFrame:
    """Return the cells of an input with what is said about it."""
    obs: pd.DataFrame = part.adata.obs.drop(columns=FILE_KEY, errors="ignore")
    doubled = int(part.adata.obs_names.duplicated().sum())
    if doubled:
        logger.info("%s: %d cells have the name of an earlier cell", name, doubled)
    for column, value in part.about.items():
        text = isinstance(value, str)
        obs = obs.assign(
            **{column: pd.Categorical([value] * len(obs)) if text else [value] * len(obs)}
        )
    return obs


def _rows_of(
    parts: Mapping[str, Part], keep: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_] | None]:
    """Part a choice among all cells by their inputs."""
    if keep is None:
        return dict.fromkeys(parts)
    ends = np.cumsum([part.adata.n_obs for part in parts.values()])
    return dict(zip(parts, np.split(keep, ends[:-1]), strict=True))


def _shared_layers(parts: Mapping[str, Part]) -> list[str]:
    present = [set(part.adata.layers) for part in parts.values()]
    kept = set.intersection(*present)
    dropped = set.union(*present) - kept
    if dropped:
        logger.info("layers that not all files have, left out: %s", ", ".join(sorted(dropped)))
    return [layer for layer in next(iter(parts.values())).adata.layers if layer in kept]


def _log_left_out(parts: Mapping[str, Part], *, use_raw: bool) -> None:
    """Say what belongs to one input, and is therefore not in the result."""
    adatas = [part.adata for part in parts.values()]
    found = [
        f"{slot}[{name!r}]"
        for slot in ("obsm", "obsp", "varm", "varp", "uns")
        for name in dict.fromkeys(name for adata in adatas for name in getattr(adata, slot))
    ]
    if not use_raw and any(adata.raw is not None for adata in adatas):
        found.append("raw (--use-raw takes it in the place of X)")
    if found:
        more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
        logger.info("what belongs to one file is left out: %s%s", ", ".join(found[:LISTED]), more)


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
    if all(pd.api.types.is_bool_dtype(piece) for piece in present):
        return joined.astype("boolean" if joined.isna().any() else bool)
    if kinds == {"number"}:
        return joined.where(joined.notna(), np.nan).infer_objects()
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
