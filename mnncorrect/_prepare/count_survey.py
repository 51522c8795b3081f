"""What ``run`` does to values before they are corrected: look at them, normalise, choose genes.

Everything is done by blocks of cells, so that values may be in memory or stay in a file: one pass
looks at them and takes what the choice of genes needs, a second one normalises the chosen genes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mnncorrect._adata import describe_source, take_rows
from mnncorrect._adata.matrix import take_values
from mnncorrect._adata.presets import usual_preset
from mnncorrect._adata.stored import BLOCK_BYTES, n_stored
from mnncorrect._adata.values import non_finite, refuse_non_finite
from mnncorrect.core.matrix import streamed
from mnncorrect.core.matrix.hvg import highly_variable
from mnncorrect.core.runtime.threads import each_block, resolve_n_jobs, row_blocks

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches
    from mnncorrect._adata.stored import Scratch
    from mnncorrect.core.matrix.rows import RowSource

logger = logging.getLogger("mnncorrect")

# log1p of counts scaled to a million stays below 14, log2 below 20: what is larger is no logarithm.
LARGEST_LOG = 20.0
# Bytes of a number and its column.
EACH = 8


@dataclass(frozen=True)
class Values:
    """Expression values, by rows.

    Attributes
    ----------
    rows
        Cells x genes.
    where
        The place they were read from.
    cells, genes
        Their names, for messages.
    block_rows
        How many cells make a block.
    """

    rows: RowSource
    where: str
    cells: Any
    genes: Any
    block_rows: int

    def blocks(self) -> list[slice]:
        """Cut the cells into blocks."""
        return row_blocks(self.rows.shape[0], self.block_rows)


def take(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    scratch: Scratch | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Values:
    """Take the values of an object, which may be in memory or in a file.

    Parameters
    ----------
    adata
        The object.
    layer, use_raw
        Where its values are read.
    scratch
        Gives a file for values that cannot be read by rows as they are.
    block_bytes
        What a block takes in memory, roughly.

    Raises
    ------
    KeyError, TypeError, ValueError
        As ``_adata.take_rows``.
    """
    rows = take_rows(adata, layer=layer, use_raw=use_raw, scratch=scratch, block_bytes=block_bytes)
    held, _ = take_values(adata, layer=layer, use_raw=use_raw)
    each = max(1, EACH * n_stored(held) // adata.n_obs)
    return Values(
        rows,
        describe_source(layer, use_raw=use_raw),
        adata.obs_names,
        adata.var_names,
        max(1, min(adata.n_obs, block_bytes // each)),
    )


@dataclass(frozen=True)
class Wanted:
    """What is to be done to values.

    Attributes
    ----------
    counts
        Whether they are counts; ``None``: told by looking at them.
    total, log1p
        Whether counts are scaled to the median total of cells, and the logarithm is taken.
    genes
        Whether genes are to be chosen.
    """

    counts: bool | None = None
    total: bool = True
    log1p: bool = True
    genes: bool = True


@dataclass(frozen=True)
class Survey:
    """What one pass over values has found, and what is therefore done to them.

    Attributes
    ----------
    range
        Of the values.
    are_counts
        Whether they are taken for counts.
    total, log1p
        What is done to each cell.
    totals
        Of each cell; the median of those that are not zero is what cells are scaled to.
    moments
        Of every gene in every batch, unscaled; ``None``: they were not asked for.
    """

    range: streamed.Range
    are_counts: bool
    total: bool
    log1p: bool
    totals: NDArray[Any]
    moments: streamed.Moments | None

    @property
    def target(self) -> float:
        """The total that cells are scaled to."""
        some = self.totals[self.totals > 0]
        return float(np.median(some)) if len(some) else 1.0

    @property
    def changes(self) -> bool:
        """Whether values are normalised at all."""
        return self.total or self.log1p

    def normalise(self, block: Any, rows: slice) -> Any:
        """Return the normalised values of a block."""
        if not self.changes:
            return block
        totals = self.totals[rows] if self.total else None
        return streamed.normalise(block, totals, self.target, log1p=self.log1p)


def survey(
    values: Values, batches: Batches | None, wanted: Wanted, *, n_jobs: int | None = None
) -> Survey:
    """Look at all values once, and take the totals of cells and the moments of genes on the way.

    Parameters
    ----------
    values
        The values.
    batches
        The batch of each cell; needed where genes are to be chosen.
    wanted
        What is to be done.
    n_jobs
        Threads.

    Raises
    ------
    ValueError
        Values are not finite, or are taken for counts and some are negative.
    """
    first = streamed.value_range(values.rows[values.blocks()[0]])
    guess = first.are_counts if wanted.counts is None else wanted.counts
    found = _passed(values, batches, replace(wanted, counts=guess), n_jobs)
    are_counts = decide_counts(found.range, values.where, counts=wanted.counts)
    if are_counts == guess:
        return found
    return _passed(values, batches, replace(wanted, counts=are_counts), n_jobs)


def _passed(values: Values, batches: Batches | None, wanted: Wanted, n_jobs: int | None) -> Survey:
    n_cells, n_genes = values.rows.shape
    total, log1p = (bool(wanted.counts and step) for step in (wanted.total, wanted.log1p))
    totals = np.zeros(n_cells if total else 0, values.rows.dtype)
    codes = batches.codes if wanted.genes and batches is not None else None
    moments = None
    if codes is not None and batches is not None:
        moments = streamed.no_moments(len(batches.names), n_genes)

    def look(rows: slice) -> tuple[streamed.Range, streamed.Moments | None, Any]:
        block = values.rows[rows]
        stored = block if isinstance(block, np.ndarray) else block.data
        bad = None if np.isfinite(stored).all() else non_finite(block)
        if total:
            totals[rows] = streamed.cell_totals(block)
        part = None
        if codes is not None and bad is None:
            part = streamed.moments(_unlogged(block, totals[rows], wanted), codes[rows])
        return streamed.value_range(block), part, bad

    found = streamed.Range()
    bad_at: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    blocks = values.blocks()
    looked = each_block(look, blocks, n_jobs=resolve_n_jobs(n_jobs))
    for rows, (seen, part, bad) in zip(blocks, looked, strict=True):
        found += seen
        if bad is not None:
            bad_at.append((bad[0] + rows.start, bad[1], bad[2]))
        elif moments is not None and part is not None:
            streamed.add_moments(moments, part)
    if bad_at:
        at_rows, at_columns, numbers = (np.concatenate(x) for x in zip(*bad_at, strict=True))
        matrix = sp.csr_matrix((numbers, (at_rows, at_columns)), shape=values.rows.shape)
        refuse_non_finite(matrix, values.cells, values.genes, values.where)
    made = Survey(found, bool(wanted.counts), total, log1p, totals, moments)
    if total and moments is not None:
        target = made.target
        moments.mean[...] *= target
        moments.squares[...] *= target**2
    return made


def _unlogged(block: Any, totals: NDArray[Any], wanted: Wanted) -> Any:
    """Return normalised values before the logarithm, scaled to a total of one where they are."""
    if not wanted.counts:
        return np.expm1(block) if isinstance(block, np.ndarray) else block.expm1()
    if not wanted.total:
        return block
    if isinstance(block, np.ndarray):
        block = sp.csr_matrix(block)
    each = np.repeat(np.maximum(totals, np.finfo(np.float32).tiny), np.diff(block.indptr))
    return sp.csr_matrix(
        (block.data.astype(np.float64) / each, block.indices, block.indptr), shape=block.shape
    )


def decide_counts(found: streamed.Range, where: str, *, counts: bool | None = None) -> bool:
    """Decide whether values are taken for counts.

    Parameters
    ----------
    found
        What they are like.
    where
        The place they were read from.
    counts
        What the user says; ``None``: decided by what was found.

    Raises
    ------
    ValueError
        They are taken for counts and some are negative.
    """
    taken = found.are_counts if counts is None else counts
    if taken and found.n_negative:
        msg = (
            f"{where} holds {found.n_negative} negative values, down to "
            f"{found.smallest:g}, and counts cannot be negative; correct them, or say "
            "--no-counts if these are not counts"
        )
        raise ValueError(msg)
    if taken and not found.whole:
        logger.warning("%s holds fractions; taken for counts, as told", where)
    if not taken and found.largest > LARGEST_LOG:
        logger.warning(
            "%s holds values up to %g, too large for logarithms; if these are counts or "
            "normalised counts, say --counts",
            where,
            found.largest,
        )
    if not taken and found.n_negative:
        logger.warning(
            "%s holds %d negative values: is it scaled? The method expects log values that have "
            "not been centred",
            where,
            found.n_negative,
        )
    return taken


def choose_genes(
    values: Values, found: Survey, batches: Batches, n_top_genes: int
) -> NDArray[np.bool_]:
    """Choose the genes that vary most within batches, by the flavour "seurat" of scanpy.

    Parameters
    ----------
    values
        What was surveyed.
    found
        With moments of the genes.
    batches
        The batch of each cell; genes are ranked by the number of batches they vary highly in.
    n_top_genes
        How many genes to choose; where there are not more, all are.

    Returns
    -------
    A mask over the genes.
    """
    assert found.moments is not None
    if values.rows.shape[1] <= n_top_genes:
        return np.ones(values.rows.shape[1], dtype=bool)
    # Bins of two genes give them values that differ by rounding only. Where there are so few
    # genes that this decides, it is left to scanpy's own rounding.
    if len(values.blocks()) == 1 and (found.log1p or not found.are_counts):
        return _chosen_by_scanpy(values, found, batches, n_top_genes)
    return highly_variable(
        found.moments.mean,
        found.moments.variance,
        found.moments.positive > 0,
        n_top_genes,
        np.asarray(values.genes, dtype=str),
    )


def _chosen_by_scanpy(
    values: Values, found: Survey, batches: Batches, n_top_genes: int
) -> NDArray[np.bool_]:
    import anndata
    import pandas as pd
    import scanpy

    every = slice(0, values.rows.shape[0])
    made = anndata.AnnData(found.normalise(values.rows[every], every))
    if values.genes.is_unique:
        made.var_names = values.genes
    made.obs["batch"] = pd.Categorical.from_codes(
        batches.codes, categories=pd.Index([str(code) for code in range(len(batches.names))])
    )
    with usual_preset():
        scanpy.pp.highly_variable_genes(
            made, n_top_genes=n_top_genes, flavor="seurat", batch_key="batch"
        )
    return np.asarray(made.var["highly_variable"], dtype=bool)
