"""Cells that are removed before a correction, as scanpy's filters remove them.

Each input is counted over all of its genes, before inputs are joined on those that they share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect import _adata
from mnncorrect._adata.features import genes_among
from mnncorrect._adata.gene_names import GENOME, kind_of_names
from mnncorrect._adata.lookup import listed
from mnncorrect._io.joined_tables import keys_of
from mnncorrect._io.pieces import Piece, blocks_of
from mnncorrect._log import logger
from mnncorrect._prepare.decide import ValuesVerdict, described
from mnncorrect._prepare.inputs import JoinedInputs, join
from mnncorrect._prepare.removed_cells import NAMED_BATCHES, CellFilters, Removed

if TYPE_CHECKING:
    import pandas as pd

    from mnncorrect._io.input_parts import Part, Selection
    from mnncorrect._prepare.limits import MemoryLimits

# Symbols of mitochondrial genes.
MITOCHONDRIAL = re.compile(r"mt-.", re.IGNORECASE)
# Columns of var that are looked through for such symbols.
MOST_SEARCHED_COLUMNS = 50


@dataclass(frozen=True)
class CellNumbers:
    """What the filters judge cells by."""

    counts: NDArray[np.float64]
    genes: NDArray[np.int64]
    mito: NDArray[np.float64] | None = None  # Sum over mitochondrial genes, if it is needed.

    def rejected(self, filters: CellFilters) -> dict[str, NDArray[np.bool_]]:
        """Return which cells each filter rejects; values that are not finite are judged later."""
        finite = np.isfinite(self.counts)
        found: dict[str, NDArray[np.bool_]] = {}
        if filters.min_counts is not None:
            found["min_counts"] = finite & (self.counts < filters.min_counts)
        if filters.min_genes is not None:
            found["min_genes"] = finite & (self.genes < filters.min_genes)
        if filters.max_mito is not None:
            assert self.mito is not None
            with np.errstate(divide="ignore", invalid="ignore"):
                share = 100 * self.mito / self.counts
            # A cell without values has no share.
            found["max_mito"] = finite & ~(share <= filters.max_mito)
        return found


def join_filtered(
    parts: Mapping[str, Part],
    selection: Selection,
    limits: MemoryLimits,
    *,
    as_concat: bool = False,
    values: bool = True,
) -> JoinedInputs:
    """Join inputs as :func:`join` does, without the cells that the filters remove.

    Raises ``ValueError``: no cell is left, or no gene is mitochondrial by its name.
    """
    joined = join(parts, selection, as_concat=as_concat, values=values)
    filters = CellFilters.of(selection)
    if not filters.given or not values:
        return joined
    numbers = _numbers_of_inputs(joined, selection, limits)
    tables = joined.tables
    batches = _adata.take_batches(tables, joined.key) if joined.key else None
    removed, keep = removed_by(filters, numbers, batches)
    if keep.all():
        return replace(joined, removed=removed)
    kept, start = {}, 0
    for piece, (name, part) in zip(joined.pieces, parts.items(), strict=True):
        n_cells = piece.shape[0]
        cells = np.zeros(part.adata.n_obs, dtype=bool)
        rows = slice(None) if piece.rows is None else piece.rows
        cells[rows] = keep[start : start + n_cells]
        kept[name] = replace(part, cells=cells)
        start += n_cells
    # The conditions of the subset hold for all cells that are left.
    again = replace(selection, subset=())
    left = join(kept, again, as_concat=as_concat, values=values)
    return replace(left, removed=removed)


def removed_by(
    filters: CellFilters, numbers: CellNumbers, batches: Any
) -> tuple[Removed, NDArray[np.bool_]]:
    """Return what the filters remove, and which cells are kept."""
    rejected = numbers.rejected(filters)
    keep = ~np.logical_or.reduce(list(rejected.values()))
    by_batch = []
    if batches is not None:
        sizes, left = (
            np.bincount(codes, minlength=len(batches.names)).tolist()
            for codes in (batches.codes, batches.codes[keep])
        )
        by_batch = [
            (name, n - n_left, n)
            for name, n, n_left in zip(batches.names, sizes, left, strict=True)
        ]
    removed = Removed(
        filters,
        {name: int(found.sum()) for name, found in rejected.items()},
        by_batch,
        int((~keep).sum()),
        len(keep),
    )
    if not keep.any():
        raise ValueError(
            f"no cell is left by the filters: {removed.text.partition('(')[2].partition(')')[0]}; "
            f"the median cell has a sum of {np.median(numbers.counts):.4g} over "
            f"{np.median(numbers.genes):.0f} genes; change "
            f"{' and '.join(f'`{name}`' for name in filters.given)}, or read counts "
            "(`layer`, `use_raw`)"
        )
    gone = [name for name, n_removed, n in removed.batches if n_removed == n]
    if gone:
        logger.warning(
            "the filters of cells leave nothing of batch %s", listed(gone, NAMED_BATCHES)
        )
    return removed, keep


def cell_numbers(
    pieces: Sequence[Piece], mito: Sequence[NDArray[np.bool_] | None], limits: MemoryLimits
) -> CellNumbers:
    """Count values and genes of cells; ``mito``: which genes of each piece are mitochondrial."""
    counts, genes, shares = [], [], []
    for piece, chosen in zip(pieces, mito, strict=True):
        for block in blocks_of(piece, limits.scratch, block_bytes=limits.block):
            counts.append(np.asarray(block.sum(1, dtype=np.float64)).ravel())
            genes.append(np.asarray((block > 0).sum(1)).ravel())
            if chosen is not None:
                of_mito = block[:, np.flatnonzero(chosen)].sum(1, dtype=np.float64)
                shares.append(np.asarray(of_mito).ravel())
    return CellNumbers(
        np.concatenate(counts), np.concatenate(genes), np.concatenate(shares) if shares else None
    )


def symbol_columns(var: pd.DataFrame) -> list[str]:
    """Return the columns of var that name mitochondrial genes by their symbols."""
    return [
        str(column)
        for column in list(var)[:MOST_SEARCHED_COLUMNS]
        if var[column].dtype.kind in "OTSU" and _are_mitochondrial(var[column]).any()
    ]


def mitochondrial(names: Sequence[str], var: pd.DataFrame, where: str) -> NDArray[np.bool_]:
    """Find mitochondrial genes by their symbols, ``MT-`` or ``mt-``; refuse where there are none.

    Examples
    --------
    >>> import pandas as pd
    >>> mitochondrial(["MT-ND1", "MTOR", "GRCh38_MT-CO1"], pd.DataFrame(), "a.h5ad")
    array([ True, False,  True])
    """
    found = _are_mitochondrial(names)
    if found.any():
        return found
    others = symbol_columns(var)
    told = (
        f"var[{others[0]!r}] has such symbols: give `gene_key={others[0]!r}`"
        if others
        else "name the column of var with symbols (`gene_key`), or leave out `max_mito`"
    )
    raise ValueError(
        f"{where} names no gene MT-... or mt-..., by which `max_mito` finds mitochondrial genes; "
        f"it names genes by {kind_of_names(list(map(str, names)))}, such as {listed(names[:2])}; "
        f"{told}"
    )


def _are_mitochondrial(names: Any) -> NDArray[np.bool_]:
    plain = (GENOME.sub("", str(name).strip()) for name in names)
    return np.array([MITOCHONDRIAL.match(name) is not None for name in plain], dtype=bool)


def refuse_unfit(filters: CellFilters, verdict: ValuesVerdict, where: str) -> None:
    """Refuse filters that mean nothing for the values that they were applied to."""
    kind = verdict.judged.kind
    unfit = []
    if kind == "scaled values":
        unfit = list(filters.given)
    elif not verdict.counts:
        unfit = [name for name in ("min_counts", "max_mito") if name in filters.given]
    elif kind == "normalized values" and not verdict.told:
        unfit = [name for name in ("min_counts",) if name in filters.given]
    if unfit:
        raise ValueError(
            f"{where} holds {described(verdict.judged)}, and `{unfit[0]}` needs counts; read counts"
            f" (`layer`, `use_raw`), or leave out {' and '.join(f'`{name}`' for name in unfit)}"
        )


def _numbers_of_inputs(
    joined: JoinedInputs, selection: Selection, limits: MemoryLimits
) -> CellNumbers:
    """Count each input over all of its genes."""
    tables = {
        name: part.adata.raw.var if selection.use_raw else part.adata.var
        for name, part in joined.parts.items()
    }
    pieces: list[Piece] = []
    mito: list[NDArray[np.bool_] | None] = []
    # Only names of mitochondrial genes are needed.
    keys = keys_of(tables, None if selection.max_mito is None else selection.gene_key)
    for piece, (name, var), key in zip(joined.pieces, tables.items(), keys, strict=True):
        part = joined.parts[name]
        genes = genes_among(var) if selection.use_raw else part.genes
        columns = None if genes is None else np.flatnonzero(genes)
        pieces.append(replace(piece, columns=columns))
        if selection.max_mito is None:
            mito.append(None)
            continue
        table = var if columns is None else var.iloc[columns]
        named_by = table.index if key is None else table[key]
        mito.append(mitochondrial([str(one) for one in named_by], table, f"{name}: var"))
    return cell_numbers(pieces, mito, limits)
