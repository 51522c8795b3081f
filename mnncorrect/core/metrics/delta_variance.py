"""How much the difference between batches varies from pair to pair, gene by gene.

If batches differed by one shift, the difference between the cells of a pair would vary by noise
only. A gene that varies more than other genes of its mean is one whose difference depends on the
cells' state: an interaction of batch and biology, which a correction of expression removes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.matrix.rows import MIN_NORM, Matrix, Values, as_rows, row_norms
from mnncorrect.core.matrix.trend import Trend, fit_trend
from mnncorrect.core.runtime.threads import each_block, resolve_n_jobs, row_blocks, rows_per_block

if TYPE_CHECKING:
    from mnncorrect.core.merging.pairs import Pairs

PairMoments: TypeAlias = tuple[int, Values, Values, Values]


@dataclass(frozen=True)
class DeltaVariance:
    """Variance of the difference over pairs, one entry a gene."""

    mean: NDArray[np.float64]  # Mean of the values on both sides, over pairs.
    total: NDArray[np.float64]  # Variance over pairs of left value minus right value.
    trend: NDArray[np.float64]  # What genes of this mean usually have.
    adjusted: NDArray[np.float64]  # ``total - trend``.


@dataclass(frozen=True)
class DeltaVariances:
    """Of all merges together, and of each."""

    combined: DeltaVariance  # Averages over merges, weighted by their numbers of pairs.
    # Of each merge; all NaN where there are fewer than two pairs.
    per_merge: tuple[DeltaVariance, ...]
    # The trend of each merge; none where there are fewer than two pairs.
    trends: tuple[Trend | None, ...]


def delta_variance(
    x: Matrix,
    batch: NDArray[np.integer[Any]],
    pairs: Sequence[Pairs],
    *,
    cosine_norm: bool = False,
    mask: NDArray[np.bool_] | None = None,
    all_genes: bool = False,
    n_jobs: int | None = None,
) -> DeltaVariances:
    """Measure how the difference between paired cells varies, and compare genes of equal mean.

    ``x`` is uncorrected log-expression; ``pairs`` has those of each merge, in row numbers of ``x``.
    With ``cosine_norm``, cells are first brought to one length, the mean over batches of their mean
    lengths. Lengths and trends (:func:`mnncorrect.core.matrix.trend.fit_trend`) are of the genes of
    ``mask``; with ``all_genes`` the others are returned too. As batchelor's ``mnnDeltaVariance``.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    if not any(len(merge) >= 2 for merge in pairs):
        raise ValueError(f"none of {len(pairs)} merges has two pairs or more; a variance needs two")
    scale = scale_to_mean_length(x, np.asarray(batch), mask) if cosine_norm else None
    genes = None if mask is None or all_genes else np.flatnonzero(mask)
    fitted = mask if mask is not None and all_genes else slice(None)
    rows = as_rows(x)
    n_genes = rows.shape[1] if genes is None else len(genes)
    found: list[DeltaVariance] = []
    trends: list[Trend | None] = []
    for merge in pairs:
        if len(merge) < 2:
            found.append(DeltaVariance(*(np.full(n_genes, np.nan) for _ in range(4))))
            trends.append(None)
            continue
        mean, total = _moments(rows, merge, scale, genes, n_jobs)
        trend = fit_trend(mean[fitted], total[fitted])
        usual = trend.predict(mean)
        found.append(DeltaVariance(mean, total, usual, total - usual))
        trends.append(trend)
    return DeltaVariances(
        _average(found, [len(merge) for merge in pairs]), tuple(found), tuple(trends)
    )


def scale_to_mean_length(
    x: Matrix, batch: NDArray[np.integer[Any]], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Find what to divide cells by to give them one length, the mean over batches of mean lengths.

    Lengths are over the genes of ``mask``. Where all cells are zero, 1.
    """
    norms = row_norms(x, mask)
    typical = float((np.bincount(batch, norms) / np.bincount(batch)).mean())
    return np.maximum(norms / (typical or 1.0), MIN_NORM)


def _moments(
    rows: Any,
    pairs: Pairs,
    scale: NDArray[np.float64] | None,
    genes: NDArray[np.int64] | None,
    n_jobs: int,
) -> tuple[Values, Values]:
    """Mean of both sides and variance of their difference, over pairs."""

    def of_block(block: slice) -> PairMoments:
        left = _take(rows, pairs.left[block], scale, genes)
        right = _take(rows, pairs.right[block], scale, genes)
        sums = np.asarray(left.sum(0) + right.sum(0)).ravel()
        return (left.shape[0], sums, *_mean_and_squares(left - right))

    n_genes = rows.shape[1] if genes is None else len(genes)
    stored = sp.issparse(rows)
    width = rows.nnz // rows.shape[0] if stored else n_genes
    blocks = row_blocks(len(pairs), rows_per_block(width))
    n, sums = 0, np.zeros(n_genes)
    mean, squares = np.zeros(n_genes), np.zeros(n_genes)
    # Means and sums of squares about them are joined block by block (Chan et al. 1979), which
    # loses no digits where the difference is large and varies little.
    for size, both, own_mean, own_squares in each_block(of_block, blocks, n_jobs=n_jobs):
        apart = own_mean - mean
        sums += both
        mean += apart * (size / (n + size))
        squares += own_squares + np.square(apart) * (n * size / (n + size))
        n += size
    return sums / (2 * n), squares / (n - 1)


def _take(
    rows: Any,
    cells: NDArray[np.int64],
    scale: NDArray[np.float64] | None,
    genes: NDArray[np.int64] | None,
) -> Any:
    """Copy some cells in float64, each divided by its scale; sparse stays sparse."""
    stored = sp.issparse(rows)
    part: Any = rows[cells] if genes is None else rows[cells][:, genes]
    part = part.astype(np.float64)
    if scale is None:
        return part
    if stored:
        part.data /= np.repeat(scale[cells], np.diff(part.indptr))
        return part
    return part / scale[cells][:, None]


def _mean_and_squares(difference: Any) -> tuple[Values, Values]:
    """Mean of each column and sum of squares about it."""
    n, n_genes = difference.shape
    stored = sp.issparse(difference)
    if not stored:
        mean = difference.mean(0)
        return mean, np.square(difference - mean).sum(0)
    data, at = difference.data, difference.indices
    mean = np.bincount(at, data, n_genes) / n
    absent = n - np.bincount(at, minlength=n_genes)
    squares = np.bincount(at, np.square(data - mean[at]), n_genes)
    return mean, squares + absent * np.square(mean)


def _average(found: Sequence[DeltaVariance], n_pairs: Sequence[int]) -> DeltaVariance:
    """Average each column over the merges with two pairs or more."""
    usable = [(one, n) for one, n in zip(found, n_pairs, strict=True) if n >= 2]
    total = sum(n for _, n in usable)

    def of(column: str) -> Values:
        return sum(getattr(one, column) * n for one, n in usable) / total

    return DeltaVariance(of("mean"), of("total"), of("trend"), of("adjusted"))
