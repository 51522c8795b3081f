"""What ``run`` does to values before they are corrected: look at them, normalize, choose genes.

Everything is done by blocks of cells, so that values may be in memory or stay in a file: one pass
looks at them and takes what the choice of genes needs, a second one normalizes the chosen genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.numbers import non_finite, refuse_non_finite
from mnncorrect._log import logger
from mnncorrect._prepare.decide import COUNTED, LISTED, JudgedGroups, ValuesVerdict
from mnncorrect._prepare.steps import Judge, Treatment, WantedSteps
from mnncorrect.core.matrix import block_counts
from mnncorrect.core.matrix.hvg import highly_variable
from mnncorrect.core.matrix.value_kinds import EXACT_IN_FLOAT32, BlockStatistics, Statistics, look
from mnncorrect.core.matrix.value_kinds import judge as of_kind
from mnncorrect.core.runtime.threads import each_block, resolve_n_jobs

if TYPE_CHECKING:
    from mnncorrect._adata import Batches
    from mnncorrect._prepare.expression_values import ExpressionValues


@dataclass(frozen=True)
class Survey:
    """What one pass over values has found, and what is therefore done to them."""

    verdict: ValuesVerdict  # What they are taken for.
    # What is done to each cell.
    total: bool
    log1p: bool
    # Of each cell; the median of those that are not zero is what cells are scaled to.
    totals: NDArray[Any]
    empty: NDArray[np.bool_]  # Which cells have no value above zero, nor below.
    # What log values of each cell are multiplied by without the logarithm; ``None``: nothing.
    factors: NDArray[np.float64] | None = None
    # Of every gene in every batch, not scaled to `target`; ``None``: they were not asked for.
    moments: block_counts.Moments | None = None
    # Batches x genes: where a gene is above zero in some cell; ``None``: batches are not known.
    seen: NDArray[np.bool_] | None = None

    @property
    def are_counts(self) -> bool:
        """Whether values are taken for counts."""
        return self.verdict.counts

    @property
    def target(self) -> float:
        """The total that cells are scaled to."""
        if self.verdict.target is not None:
            return self.verdict.target
        some = self.totals[self.totals > 0]
        return float(np.median(some)) if len(some) else 1.0

    @property
    def changes(self) -> bool:
        """Whether values are normalized at all."""
        return self.total or self.log1p or self.factors is not None

    @property
    def normalizer(self) -> Normalizer:
        """What normalizes a block, given what :meth:`along` gives of its cells."""
        factors = self.factors is not None
        base = self.verdict.judged.base
        return Normalizer(self.changes, self.total, self.log1p, factors, base, self.target)

    def along(self, rows: slice) -> Any:
        """Return the numbers of some cells by which they are normalized, if there are any."""
        if self.factors is not None:
            return self.factors[rows]
        return self.totals[rows] if self.total else None

    def normalize(self, block: Any, rows: slice) -> Any:
        """Return the normalized values of a block."""
        return self.normalizer(block, self.along(rows))


@dataclass(frozen=True)
class Normalizer:
    """Normalizes blocks of cells as a survey has found that they need it."""

    changes: bool  # Whether values are normalized at all.
    total: bool  # Whether cells are scaled to ``target``.
    log1p: bool
    factors: bool  # Whether log values are scaled by a factor of each cell instead.
    base: float | None  # Of the logarithm of log values.
    target: float

    def __call__(self, block: Any, along: Any) -> Any:
        """Normalize a block; ``along``: totals or factors of its cells."""
        if self.factors:
            return block_counts.rescale(block, along, self.base)
        if not self.changes:
            return block
        return block_counts.normalize(block, along, self.target, log1p=self.log1p)


def survey(
    values: ExpressionValues,
    batches: Batches | None,
    wanted: WantedSteps,
    *,
    judge: Judge | None = None,
    n_jobs: int | None = None,
) -> Survey:
    """Look at all values once, and take the totals of cells and the moments of genes on the way.

    ``batches`` are needed where genes are to be chosen. Without ``judge``, those of each batch are
    judged for themselves.
    """
    if judge is None:
        groups = None if batches is None else JudgedGroups(batches.codes, batches.names)
        judge = Judge(values.where, groups, wanted.counts, list(values.layers))
    first = values.of_counted(values.stored[values.blocks()[0]])
    seen = Statistics()
    if np.isfinite(first if isinstance(first, np.ndarray) else first.data).all():
        seen.add(0, look(first))
    guess = _Guess(bool(wanted.counts))
    if wanted.counts is None and seen.parts:
        (kind,) = of_kind(seen)
        guess = _Guess(kind.kind in COUNTED, kind.base)
    seen_genes = None
    if batches is not None:
        seen_genes = np.zeros((len(batches.names), values.shape[1]), bool)
    looks, totals, moments = _first_pass(values, batches, wanted, guess, n_jobs, seen_genes)
    verdict = judge(looks)
    _log_doubts(verdict, values)
    factors = None
    if verdict.factors and judge.groups is not None:
        factors = np.array(verdict.factors)[judge.groups.codes]
    right = _Guess(verdict.counts, verdict.judged.base, factors)
    if moments is not None and not right.same_as(guess):
        _, _, moments = _first_pass(values, batches, wanted, right, n_jobs)
    return _found(verdict, wanted, looks, totals, factors, moments, seen_genes)


def survey_as_decided(
    values: ExpressionValues, batches: Batches, treatment: Treatment, groups: JudgedGroups | None
) -> Survey:
    """Look at values of which it has been decided what is done to them, such as some cells.

    ``groups``: the cells that were judged together.
    """
    verdict, factors = treatment.verdict, None
    if verdict.factors and groups is not None:
        factors = np.array(verdict.factors)[groups.codes]
    wanted = WantedSteps(
        verdict.counts,
        total=treatment.total,
        log1p=treatment.log1p,
        genes=treatment.choose is not None,
    )
    guess = _Guess(verdict.counts, verdict.judged.base, factors)
    looks, totals, moments = _first_pass(values, batches, wanted, guess, n_jobs=1)
    return _found(verdict, wanted, looks, totals, factors, moments, None)


def _found(
    verdict: ValuesVerdict,
    wanted: WantedSteps,
    looks: Statistics,
    totals: NDArray[Any],
    factors: NDArray[np.float64] | None,
    moments: block_counts.Moments | None,
    seen_genes: NDArray[np.bool_] | None,
) -> Survey:
    total, log1p = (bool(verdict.counts and step) for step in (wanted.total, wanted.log1p))
    whole = looks.all
    return Survey(
        verdict,
        total,
        log1p,
        totals if total else totals[:0],
        (whole.above == 0) & (whole.negative == 0),
        factors,
        moments,
        seen_genes,
    )


@dataclass(frozen=True)
class _Guess:
    """What moments of genes are taken of: values without their logarithm, scaled to one total."""

    counts: bool
    base: float | None = None
    factors: NDArray[np.float64] | None = None

    def same_as(self, other: _Guess) -> bool:
        """Return whether moments are the same by both."""
        if self.counts or other.counts:
            return self.counts == other.counts
        same_base = (self.base or np.e) == (other.base or np.e)
        return same_base and self.factors is None and other.factors is None


def _log_doubts(verdict: ValuesVerdict, values: ExpressionValues) -> None:
    """Log what is doubtful, and what is done about it."""
    for text in verdict.warnings:
        logger.warning("%s", text)
    largest = verdict.judged.largest
    if values.rounded and values.dtype == np.float32 and largest >= EXACT_IN_FLOAT32:
        logger.warning(
            "%s holds whole numbers up to %.0f; those above %d are rounded to 7 digits",
            values.where, largest, EXACT_IN_FLOAT32,
        )  # fmt: skip
    if verdict.factors:
        logger.info(
            "%s holds log values of different totals (%s): all are brought to %g",
            values.where, listed(verdict.totals, LISTED), verdict.judged.total,
        )  # fmt: skip


def _first_pass(
    values: ExpressionValues,
    batches: Batches | None,
    wanted: WantedSteps,
    guess: _Guess,
    n_jobs: int | None,
    seen_genes: NDArray[np.bool_] | None = None,
) -> tuple[Statistics, NDArray[Any], block_counts.Moments | None]:
    """Go through all values once; what is not finite is refused, and seen genes are marked."""
    n_cells, n_genes = values.shape
    totals = np.zeros(n_cells, values.dtype)
    codes = None if batches is None else batches.codes
    moments = None
    if wanted.genes and batches is not None:
        moments = block_counts.no_moments(len(batches.names), n_genes)
    rows_of, blocks = values.nameless(), values.blocks()
    look_at = _Look(rows_of, wanted, guess, seen_genes is not None, moments is not None)
    looks = Statistics()
    bad_at: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    each = [(rows, None if codes is None else codes[rows]) for rows in blocks]
    shared = values.stored.shared
    looked = each_block(look_at, each, n_jobs=resolve_n_jobs(n_jobs), pure=shared)
    for rows, seen in zip(blocks, looked, strict=True):
        if seen.bad is not None:
            bad_at.append((seen.bad[0] + rows.start, *seen.bad[1:]))
        elif seen.looks is not None:
            looks.add(rows.start, seen.looks)
            totals[rows] = seen.totals
            if moments is not None and seen.moments is not None:
                block_counts.add_moments(moments, seen.moments)
            if seen_genes is not None and seen.genes is not None:
                seen_genes[seen.genes] = True
    if moments is not None and seen_genes is not None:
        seen_genes |= moments.positive > 0
    if bad_at:
        at_rows, at_columns, numbers = (np.concatenate(x) for x in zip(*bad_at, strict=True))
        matrix = sp.csr_matrix((numbers, (at_rows, at_columns)), shape=values.stored.shape)
        refuse_non_finite(matrix, values.cells, values.all_genes, values.where)
    return looks, totals, moments


@dataclass(frozen=True)
class _Seen:
    """What is seen of a block of cells."""

    looks: BlockStatistics | None = None
    totals: Any = None  # Of each cell.
    moments: block_counts.BlockMoments | None = None
    # Batches and genes of which a cell is above zero; ``None``: ``moments`` tell, or nobody asked.
    genes: tuple[NDArray[Any], NDArray[Any]] | None = None
    bad: Any = None  # Rows, columns and values that are not finite.


@dataclass(frozen=True)
class _Look:
    """Looks at blocks of cells; other processes can do so."""

    values: ExpressionValues
    wanted: WantedSteps
    guess: _Guess
    marks: bool  # Whether it tells which genes batches have above zero.
    sums: bool  # Whether it takes the moments of genes.

    def __call__(self, item: tuple[slice, NDArray[np.int64] | None]) -> _Seen:
        rows, codes = item
        stored = self.values.stored[rows]
        block, counted = self.values.of_genes(stored), self.values.of_counted(stored)
        if not np.isfinite(stored if isinstance(stored, np.ndarray) else stored.data).all():
            return _Seen(bad=non_finite(stored))
        seen, totals = look(counted), block_counts.cell_totals(counted)
        if codes is None:
            return _Seen(seen, totals)
        if not self.sums:
            return _Seen(seen, totals, genes=_above_zero(block, codes) if self.marks else None)
        unlogged = _unlogged(block, rows, totals, self.guess, self.wanted)
        # Cells without counts tell nothing of genes.
        filled = (seen.above > 0) | (seen.negative > 0)
        if not filled.all():
            unlogged, codes = unlogged[np.flatnonzero(filled)], codes[filled]
        return _Seen(seen, totals, block_counts.moments(unlogged, codes))


def _above_zero(block: Any, codes: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Find the batches of a block and the genes of which a cell is above zero."""
    rows: Any = sp.csr_matrix(block)
    batches, own = np.unique(codes, return_inverse=True)
    above = rows.data > 0
    seen = np.zeros((len(batches), rows.shape[1]), bool)
    seen[np.repeat(own, np.diff(rows.indptr))[above], rows.indices[above]] = True
    at, genes = np.nonzero(seen)
    return batches[at], genes.astype(np.int32)


def _unlogged(
    block: Any, rows: slice, totals: NDArray[Any], guess: _Guess, wanted: WantedSteps
) -> Any:
    """Return normalized values before the logarithm, scaled to a total of one where they are."""
    if not guess.counts:
        made = block_counts.unlogged(block, guess.base)
        if guess.factors is None:
            return made
        return sp.diags(guess.factors[rows]) @ sp.csr_matrix(made)
    if not wanted.total:
        return block
    if isinstance(block, np.ndarray):
        block = sp.csr_matrix(block)
    each = np.repeat(np.maximum(totals, np.finfo(np.float32).tiny), np.diff(block.indptr))
    return sp.csr_matrix(
        (block.data.astype(np.float64) / each, block.indices, block.indptr), shape=block.shape
    )


def choose_genes(values: ExpressionValues, found: Survey, n_top_genes: int) -> NDArray[np.bool_]:
    """Choose the genes that vary most within batches, by the flavor "seurat" of scanpy.

    Genes are ranked by the number of batches they vary highly in. If there are not more than
    ``n_top_genes``, all are chosen. Neither blocks nor the memory that may be used change which.
    """
    assert found.moments is not None
    if values.shape[1] <= n_top_genes:
        return np.ones(values.shape[1], dtype=bool)
    target = found.target if found.total else 1.0
    return highly_variable(
        (
            (one.mean[0] * target, one.variance[0] * target**2, one.positive[0] > 0)
            for one in found.moments.of_batches()
        ),
        values.shape[1],
        n_top_genes,
        np.asarray(values.genes, dtype=str),
    )
