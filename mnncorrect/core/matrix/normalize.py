"""Bringing batches to one depth: size factors across batches, and rescaling of log-expression.

Both scale every batch down to the one of lowest coverage, never up: scaling up would blow up the
noise of low counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import (
    map_blocks,
    resolve_n_jobs,
    row_blocks,
    rows_per_block,
    sum_blocks,
)

from .rows import Matrix, Rows, Values, as_rows


@dataclass(frozen=True)
class Normalized:
    """Log-expression at one depth."""

    values: Any  # Cells x genes, sparse where the counts are, in their float type.
    # What each cell's counts were divided by. Their mean is 1 in the batch of lowest coverage and
    # above 1 in the others.
    size_factors: NDArray[np.float64]
    reference: int  # Number of the batch of lowest coverage.


def multibatch_normalize(
    x: Matrix,
    batch: NDArray[np.integer[Any]],
    *,
    size_factors: NDArray[np.float64] | None = None,
    min_mean: float = 1.0,
    mask: NDArray[np.bool_] | None = None,
    counted: Matrix | None = None,
    names: Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> Normalized:
    """Turn counts of several batches into log-expression at the depth of the shallowest.

    ``min_mean`` and ``mask`` limit the genes on which batches are compared; all genes are
    normalized. Only ratios of ``size_factors`` within a batch matter; without them they are the
    totals of ``counted``, or else of ``x``. ``names`` of batches are for messages. With ``u_b`` the
    mean of a batch's counts over its size factors (of mean 1), two batches are compared by the
    median over genes of ``u_b / u_a``. The reference is the batch with the lowest of these ratios
    against it, as in batchelor's ``multiBatchNorm``. The result is ``log2(count / size factor +
    1)``.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    batch = np.asarray(batch)
    genes = None if mask is None else np.flatnonzero(mask)
    rows = as_rows(x)
    if size_factors is None:
        factors = (
            _library_sizes(rows, genes, n_jobs)
            if counted is None
            else _library_sizes(as_rows(counted), None, n_jobs)
        )
    else:
        factors = np.asarray(size_factors, np.float64)
    _check_size_factors(factors, len(batch), given=size_factors is not None)
    sizes = np.bincount(batch)
    factors = factors / (np.bincount(batch, factors) / sizes)[batch]
    means = sum_by_batch(rows, batch, 1 / factors, genes=genes, n_jobs=n_jobs) / sizes[:, None]
    ratios = _coverage_ratios(means, min_mean, names or [str(b) for b in range(len(sizes))])
    reference = int(ratios.min(0).argmin())
    factors = factors / ratios[:, reference][batch]
    values = map_values(
        x, lambda counts, cells, _: np.log2(counts / factors[cells] + 1), n_jobs=n_jobs
    )
    return Normalized(values, factors, reference)


def rescale_batches(
    x: Matrix,
    batch: NDArray[np.integer[Any]],
    *,
    log_base: float = 2.0,
    pseudo_count: float = 1.0,
    restrict: NDArray[np.bool_] | None = None,
    n_jobs: int | None = None,
) -> Any:
    """Scale every gene of every batch down to the lowest of its means over batches.

    ``x`` is the logarithm to base ``log_base`` of values plus ``pseudo_count``; means are taken
    over the cells of ``restrict``. The result is on the scale and in the float type of ``x``, and
    sparse if ``x`` is, unless a ``pseudo_count`` other than 1 gives empty cells a value. As
    batchelor's ``rescaleBatches``: a gene whose mean in a batch is 0 is set to 0 there.
    """
    if not (log_base > 0 and log_base != 1 and pseudo_count > 0):
        raise ValueError(
            f"log_base is {log_base} and pseudo_count is {pseudo_count}; the base must be above 0 "
            "and not 1, the pseudo-count above 0"
        )
    n_jobs = resolve_n_jobs(n_jobs)
    batch = np.asarray(batch)
    used = np.ones(len(batch)) if restrict is None else np.asarray(restrict, np.float64)
    rate, spare = np.log(log_base), 1 - pseudo_count
    # Values less the 1 that a zero stands for, so that zeros of sparse matrices stay zero.
    total = sum_by_batch(
        as_rows(x), batch, used, function=lambda v: np.expm1(v * rate), n_jobs=n_jobs
    )
    means = total / np.bincount(batch, used)[:, None] + spare
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = means.min(0) / means
    factors[~np.isfinite(factors)] = 0

    def rescale(values: Values, cells: NDArray[Any], genes: NDArray[Any]) -> Values:
        scaled = (np.expm1(values * rate) + spare) * factors[batch[cells], genes]
        with np.errstate(divide="ignore", invalid="ignore"):
            out: Values = np.log1p(scaled - spare) / rate
        if not np.isfinite(out).all():
            raise ValueError(
                f"scaled values have no logarithm; are these logarithms to base {log_base:g} of "
                f"values with {pseudo_count:g} added? If not, give log_base and pseudo_count"
            )
        return out

    dense = sp.issparse(x) and spare != 0
    return map_values(x.toarray() if dense else x, rescale, n_jobs=n_jobs)  # type: ignore[union-attr]


def sum_by_batch(
    x: Any,
    batch: NDArray[np.integer[Any]],
    weights: NDArray[np.float64],
    *,
    genes: NDArray[np.int64] | None = None,
    function: Callable[[Values], Values] | None = None,
    n_jobs: int = 1,
) -> NDArray[np.float64]:
    """Add up the cells of each batch by their weights (batches x ``genes``).

    ``function`` is applied to the values first; it takes 0 to 0, so that sparse matrices stay
    sparse.
    """
    n_batches, stored = int(batch.max()) + 1, sp.issparse(x)

    def add(block: slice) -> NDArray[np.float64]:
        part: Any = x[block] if genes is None else x[block][:, genes]
        part = part.astype(np.float64)
        if function is not None and stored:
            part.data = function(part.data)
        elif function is not None:
            part = function(part)
        cells = np.arange(part.shape[0])
        shape = (n_batches, len(cells))
        total: Any = sp.csr_array((weights[block], (batch[block], cells)), shape=shape) @ part
        return total.toarray() if stored else total

    width = x.nnz // x.shape[0] if stored else x.shape[1]
    blocks = row_blocks(x.shape[0], rows_per_block(width))
    return sum_blocks(add, blocks, n_jobs=n_jobs)


def map_values(
    x: Matrix, function: Callable[[Values, NDArray[Any], NDArray[Any]], Values], *, n_jobs: int = 1
) -> Any:
    """Apply a function to all values of a matrix, or to those that a sparse one stores.

    The function takes float64 values, and their cells and genes as arrays that broadcast with them.
    The result has the kind and the float type of ``x``; integers become float32.
    """
    dtype = x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    if not sp.issparse(x):
        out = np.empty(x.shape, dtype)
        genes = np.arange(x.shape[1])

        def fill(block: slice) -> None:
            cells = np.arange(block.start, block.stop)[:, None]
            out[block] = function(x[block].astype(np.float64), cells, genes)

        blocks = row_blocks(x.shape[0], rows_per_block(x.shape[1]))
        map_blocks(fill, blocks, n_jobs=n_jobs)
        return out
    data = np.empty(len(x.data), dtype)

    def fill_stored(block: slice) -> None:
        ends = x.indptr[block.start : block.stop + 1]
        at = slice(ends[0], ends[-1])
        outer, inner = np.repeat(np.arange(block.start, block.stop), np.diff(ends)), x.indices[at]
        cells, genes = (outer, inner) if x.format == "csr" else (inner, outer)
        data[at] = function(x.data[at].astype(np.float64), cells, genes)

    n_outer = len(x.indptr) - 1
    blocks = row_blocks(n_outer, rows_per_block(len(data) // max(1, n_outer), least=1))
    map_blocks(fill_stored, blocks, n_jobs=n_jobs)
    return type(x)((data, x.indices.copy(), x.indptr.copy()), shape=x.shape)


def _library_sizes(x: Any, genes: NDArray[np.int64] | None, n_jobs: int) -> NDArray[np.float64]:
    rows = Rows(x, genes=genes)
    blocks = row_blocks(rows.shape[0], rows_per_block(rows.shape[1]))
    return np.concatenate(map_blocks(lambda block: rows[block].sum(1), blocks, n_jobs=n_jobs))


def _check_size_factors(factors: NDArray[np.float64], n_cells: int, *, given: bool) -> None:
    if factors.shape != (n_cells,):
        raise ValueError(
            f"size_factors have shape {factors.shape}; one for each cell is needed: ({n_cells},)"
        )
    wrong = np.flatnonzero(~(np.isfinite(factors) & (factors > 0)))
    if len(wrong):
        what = "size factors" if given else "library sizes"
        raise ValueError(
            f"{len(wrong)} cells have {what} that are not above 0; the first is in row "
            f"{wrong[0]}: {factors[wrong[0]]:g}; leave out cells without counts, and give counts, "
            "not logarithms"
        )


def _coverage_ratios(
    means: NDArray[np.float64], min_mean: float, names: Sequence[str]
) -> NDArray[np.float64]:
    """Compare batches two at a time: ``[a, b]`` is the median over genes of ``u_b / u_a``."""
    n = len(means)
    ratios = np.ones((n, n))
    totals = means.sum(1)
    for a in range(n):
        for b in range(a + 1, n):
            shares = (means[a] / totals[a] + means[b] / totals[b]) / 2
            kept = shares * (totals[a] + totals[b]) / 2 >= min_mean
            if not kept.any():
                raise ValueError(
                    f"batches {names[a]!r} and {names[b]!r} have no gene with a mean count of "
                    f"min_mean = {min_mean:g} or more to be compared on; lower min_mean"
                )
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios[a, b] = np.median(means[b][kept] / means[a][kept])
                ratios[b, a] = np.median(means[a][kept] / means[b][kept])
            if not all(np.isfinite(r) and r > 0 for r in (ratios[a, b], ratios[b, a])):
                raise ValueError(
                    f"batches {names[a]!r} and {names[b]!r} cannot be compared: of the "
                    f"{kept.sum()} genes with a mean count of min_mean = {min_mean:g} or more, "
                    "too many are absent from one of them; raise min_mean, or choose genes that "
                    "both have"
                )
    return ratios
