"""Scores of an embedding, one function each.

Each has the formula of the paper it comes from, or says where it differs. Scores of neighbors
and silhouettes are taken over a sample of cells where there are many, each standing for as many
cells as it was drawn from; all others are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.matrix.trend import weighted_median
from mnncorrect.core.merging.diagnostics import variance_by_batch
from mnncorrect.core.neighbors.sample import Codes, Near, Sample, nearest_others
from mnncorrect.core.runtime.threads import map_blocks, row_blocks, rows_per_block

# Neighbors of CiLISI, purity and of those preserved.
N_NEAR = 30
# Cells of the neighborhoods of LISI, the cell itself among them: three times the perplexity of 30,
# as its authors have it. A neighborhood of fewer cells has a third of them as perplexity.
N_LISI = 90
# Labels of fewer cells have no neighborhoods worth the name; nor have batches.
LEAST_OF_LABEL, LEAST_OF_BATCH = 20, 10
# When the entropy of a neighborhood is near enough to that wanted, and when to give up.
TOLERANCE, MOST_TRIES = 1e-5, 50
ROW_BLOCK = 1024


# ------------------------------------------------------------------------------- mixing of batches


def ilisi(
    x: NDArray[Any], batch: Codes, sample: Sample, *, near: Near | None = None, n_jobs: int = 1
) -> float:
    r"""Effective number of batches around a cell (integration LISI), scaled to 0..1.

    Neighbors of a cell weigh :math:`e^{-\beta d}`, with :math:`\beta` such that the entropy of
    the weights is the logarithm of the perplexity; LISI is one over the sum of squares of the
    batches' shares [1]_. Its median over cells is scaled so that 1 is as many batches as there are
    and 0 one [2]_. Batches of unequal size do not reach 1, however well they mix.

    References
    ----------
    .. [1] Korsunsky et al. (2019), *Fast, sensitive and accurate integration of single-cell data
       with Harmony*, Nature Methods 16, 1289-1296, doi:10.1038/s41592-019-0619-0.
    .. [2] Luecken et al. (2022), *Benchmarking atlas-level data integration in single-cell
       genomics*, Nature Methods 19, 41-50, doi:10.1038/s41592-021-01336-8.
    """
    codes = np.unique(batch, return_inverse=True)[1]
    n_batches = int(codes.max()) + 1
    size = min(N_LISI, len(x))
    if n_batches < 2:
        return np.nan
    indices, distances = neighborhoods(x, sample, n_jobs) if near is None else near

    def lisi(block: slice) -> NDArray[np.float64]:
        weights = entropic_weights(distances[block], max(1, size // 3))
        return effective_number(codes[indices[block]], n_batches, weights)

    values = np.concatenate(map_blocks(lisi, row_blocks(len(indices), ROW_BLOCK), n_jobs=n_jobs))
    return (weighted_median(values, sample.weights) - 1) / (n_batches - 1)


def cilisi(
    x: NDArray[Any], batch: Codes, label: Codes, sample: Sample, *, n_jobs: int = 1
) -> float:
    """Mixing of batches within each label, where 1 is mixing at random (CiLISI).

    LISI is taken among the cells of one label [1]_: here with equal weights over the 30 nearest,
    and scaled so that 1 is what random mixing of the batches that have the label would give, in
    the shares they have of it. Values are cut to 0..1 and averaged over cells. With only 30
    neighbors, batches that mix at random come out some 0.05 below 1. Labels of one batch, or of
    fewer than 20 cells, do not count.

    References
    ----------
    .. [1] Andreatta et al. (2024), *Semi-supervised integration of single-cell transcriptomics
       data*, Nature Communications 15, 872, doi:10.1038/s41467-024-45240-z.
    """
    total = weight = 0.0
    for found in mixing_within(x, batch, label, sample, n_jobs=n_jobs):
        weights = sample.weights[found.chosen]
        total += float((found.scaled(found.codes) * weights).sum())
        weight += float(weights.sum())
    return total / weight if weight else np.nan


@dataclass(frozen=True)
class Mixing:
    """How the batches of one label mix."""

    label: int  # Number of the label.
    chosen: NDArray[np.bool_]  # Which cells of the sample have it.
    codes: NDArray[np.int64]  # Batch number of each cell with the label, from 0 without gaps.
    near: NDArray[np.int32]  # Nearest cells of each chosen cell, as places in ``codes``.

    def scaled(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mixing around each chosen cell if cells were of these batches."""
        shares = np.bincount(codes) / len(codes)
        best = 1 / (shares**2).sum()
        found = effective_number(codes[self.near], len(shares))
        return np.clip((found - 1) / (best - 1), 0, 1)


def mixing_within(
    x: NDArray[Any], batch: Codes, label: Codes, sample: Sample, *, n_jobs: int = 1
) -> Iterator[Mixing]:
    """Search the neighbors of CiLISI, label by label; labels that do not count are left out."""
    of_sample = label[sample.rows]
    for number in np.unique(label[label >= 0]).tolist():
        cells = np.flatnonzero(label == number)
        codes = np.unique(batch[cells], return_inverse=True)[1]
        if int(codes.max()) < 1 or len(cells) < LEAST_OF_LABEL:
            continue
        chosen = of_sample == number
        k = min(N_NEAR, len(cells) // 2)
        near, _ = nearest_others(x, sample.rows[chosen], cells, k, n_jobs)
        yield Mixing(number, chosen, codes, near)


def bras(x: NDArray[Any], batch: Codes, label: Codes) -> float:
    r"""Batch removal adapted silhouette (BRAS) [1]_, exact for any number of cells.

    Within each label, with :math:`a` the mean cosine distance of a cell to the others of its batch
    and :math:`b` that to all cells of other batches, a cell scores
    :math:`1 - |b - a| / \max(a, b)`; these are averaged over the cells of a label, then over
    labels. Labels of one batch do not count. As cosine distances are linear in each of the two
    cells, sums over batches are sums with the batches' mean directions.

    References
    ----------
    .. [1] Rautenstrauch & Ohler (2025), *Shortcomings of silhouette in single-cell integration
       benchmarking*, Nature Biotechnology, doi:10.1038/s41587-025-02743-4.
    """
    by_label = []
    for number in np.unique(label[label >= 0]):
        cells = np.flatnonzero(label == number)
        codes, sizes = np.unique(batch[cells], return_inverse=True, return_counts=True)[1:]
        if len(sizes) in (1, len(cells)):
            continue
        unit = x[cells].astype(np.float64)
        unit /= np.maximum(np.linalg.norm(unit, axis=1), np.finfo(np.float64).tiny)[:, None]
        directions = np.zeros((len(sizes), x.shape[1]))
        np.add.at(directions, codes, unit)
        # Sums of cosines, as sums over dimensions in a fixed order.
        own = np.einsum("cd,cd->c", unit, directions[codes])
        every = np.einsum("cd,d->c", unit, directions.sum(0))
        inner = sizes[codes] - own - (1 - np.einsum("cd,cd->c", unit, unit))
        inner /= np.maximum(sizes[codes] - 1, 1)
        others = len(cells) - sizes[codes]
        outer = (others - (every - own)) / others
        by_label.append(float((1 - np.abs(_width(inner, outer, sizes[codes]))).mean()))
    return float(np.mean(by_label)) if by_label else np.nan


# ------------------------------------------------------------------------------- biology that stays


def purity(
    x: NDArray[Any], label: Codes, sample: Sample, *, near: Near | None = None, n_jobs: int = 1
) -> float:
    """Share of the same label among the 30 nearest cells: mean over cells, then over labels."""
    known = np.flatnonzero(label >= 0)
    chosen = label[sample.rows] >= 0
    rows = sample.rows[chosen]
    if len(known) < 2:
        return np.nan
    if near is None:
        near = nearest_others(x, rows, known, min(N_NEAR, len(known) - 1), n_jobs)
    indices = near[0][:, :N_NEAR]
    same = (label[known][indices] == label[rows][:, None]).mean(1)
    codes = np.unique(label[rows], return_inverse=True)[1]
    weights = sample.weights[chosen]
    return float((np.bincount(codes, same * weights) / np.bincount(codes, weights)).mean())


def silhouette(x: NDArray[Any], groups: Codes, sample: Sample, *, n_jobs: int = 1) -> float:
    r"""Average silhouette width of groups, scaled to 0..1 [1]_.

    With :math:`a` the mean distance of a cell to the others of its group and :math:`b` that to the
    nearest other group, the mean of :math:`(b - a) / \max(a, b)` over cells, plus 1, halved.
    Distances are among the cells of the sample.

    References
    ----------
    .. [1] Luecken et al. (2022), *Benchmarking atlas-level data integration in single-cell
       genomics*, Nature Methods 19, 41-50, doi:10.1038/s41592-021-01336-8.
    """
    chosen = groups[sample.rows] >= 0
    rows, weights = sample.rows[chosen], sample.weights[chosen]
    codes, counts = np.unique(groups[rows], return_inverse=True, return_counts=True)[1:]
    if len(counts) < 2:
        return np.nan
    # By group, so that sums over groups are sums over runs.
    order = np.argsort(codes, kind="stable")
    codes, weights = codes[order], weights[order]
    starts = np.cumsum(counts) - counts
    cells = x[rows[order]].astype(np.float64)
    cells -= cells.mean(0)
    norms = np.einsum("cd,cd->c", cells, cells)
    sizes = np.bincount(codes, weights)

    def widths(block: slice) -> NDArray[np.float64]:
        squares = cells[block] @ cells.T
        squares *= -2
        squares += norms
        squares += norms[block, None]
        own = np.arange(block.start, block.stop)
        squares[own - block.start, own] = 0
        distances = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
        distances *= weights
        sums = np.add.reduceat(distances, starts, axis=1)
        at = np.arange(len(own)), codes[block]
        others = sizes[codes[block]] - weights[block]
        inner = sums[at] / np.maximum(others, np.finfo(np.float64).tiny)
        means = sums / sizes
        means[at] = np.inf
        return _width(inner, means.min(1), counts[codes[block]])

    blocks = row_blocks(len(cells), rows_per_block(len(cells)))
    values = np.concatenate(map_blocks(widths, blocks, n_jobs=n_jobs))
    return float((np.average(values, weights=weights) + 1) / 2)


# ----------------------------------------------------------------------------- structure that stays


def preserved(
    before: NDArray[Any], after: NDArray[Any], batch: Codes, sample: Sample, *, n_jobs: int = 1
) -> float:
    """Share of the 30 nearest cells of a cell's batch that still are so: mean over cells.

    In a small batch a third of it counts as near; a batch of fewer than 10 cells does not count.
    """
    total = weight = 0.0
    of_sample = batch[sample.rows]
    for number in np.unique(batch):
        cells = np.flatnonzero(batch == number)
        if len(cells) < LEAST_OF_BATCH:
            continue
        chosen = of_sample == number
        rows, k = sample.rows[chosen], min(N_NEAR, len(cells) // 3)
        one, two = (nearest_others(x, rows, cells, k, n_jobs)[0] for x in (before, after))
        # What stands twice among both is kept.
        both = np.sort(np.concatenate([one, two], axis=1), axis=1)
        kept = (both[:, 1:] == both[:, :-1]).sum(1) / k
        total += float((kept * sample.weights[chosen]).sum())
        weight += float(sample.weights[chosen].sum())
    return total / weight if weight else np.nan


def moved(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Root-mean-square move of a cell over the root-mean-square distance from the centroid."""
    moves = spread = 0.0
    center = before.mean(0, dtype=np.float64)
    for block in row_blocks(len(before), ROW_BLOCK):
        one = before[block].astype(np.float64)
        moves += float(((after[block] - one) ** 2).sum())
        spread += float(((one - center) ** 2).sum())
    return float(np.sqrt(moves / spread)) if spread > 0 else np.nan


def variance_lost(
    before: NDArray[Any], after: NDArray[Any], groups: Codes
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Variance within each group before and after, summed over dimensions, and the share lost.

    In the order of the groups' numbers; a group below 0 does not count. The share is below 0 where
    variance has grown, NaN where there was none or a group has one cell.
    """
    known = groups >= 0
    one, two = (
        np.array(list(variance_by_batch(x[known], groups[known]).values())) for x in (before, after)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(one > 0, 1 - two / one, np.nan)
    return one, two, share


# ---------------------------------------------------------------------------------------- parts


def neighborhoods(x: NDArray[Any], sample: Sample, n_jobs: int) -> Near:
    """Find the neighborhoods of LISI; they begin with all smaller ones."""
    return nearest_others(x, sample.rows, np.arange(len(x)), min(N_LISI, len(x)) - 1, n_jobs)


def entropic_weights(distances: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    r"""Weights :math:`e^{-\beta d}` of neighbors, that add up to 1 and have a given entropy.

    :math:`\beta` is doubled or halved until it is passed, then bisected.
    """
    wanted = np.log(perplexity)
    # The entropy does not depend on what is subtracted, and nothing underflows.
    rise = distances - distances.min(1, keepdims=True)
    beta = np.ones(len(rise))
    low, high = np.zeros(len(rise)), np.full(len(rise), np.inf)
    out: NDArray[np.float64] = np.empty_like(rise)
    open_rows = np.arange(len(rise))
    for _ in range(MOST_TRIES):
        weights = np.exp(-beta[open_rows, None] * rise[open_rows])
        total = weights.sum(1)
        mean = np.einsum("cn,cn->c", weights, rise[open_rows]) / total
        excess = np.log(total) + beta[open_rows] * mean - wanted
        out[open_rows] = weights / total[:, None]
        wide = excess > 0
        far = np.abs(excess) >= TOLERANCE
        low[open_rows[wide]] = beta[open_rows[wide]]
        high[open_rows[~wide]] = beta[open_rows[~wide]]
        open_rows = open_rows[far]
        if not len(open_rows):
            break
        beta[open_rows] = np.where(
            np.isinf(high[open_rows]),
            2 * beta[open_rows],
            (low[open_rows] + np.minimum(high[open_rows], np.finfo(np.float64).max)) / 2,
        )
    return out


def effective_number(
    codes: Codes, n_codes: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """One over the sum of squared shares of each code in a row: how many there are, in effect."""
    n, k = codes.shape
    at = (np.arange(n)[:, None] * n_codes + codes).ravel()
    flat = np.full(n * k, 1 / k) if weights is None else weights.ravel()
    shares = np.bincount(at, flat, minlength=n * n_codes).reshape(n, n_codes)
    return 1 / (shares**2).sum(1)


def _width(
    inner: NDArray[np.float64], outer: NDArray[np.float64], sizes: Codes
) -> NDArray[np.float64]:
    """Silhouette width from mean distances; 0 for a cell alone in its group, as is usual."""
    longest = np.maximum(inner, outer)
    found: NDArray[np.float64] = np.zeros(len(inner))
    np.divide(outer - inner, longest, out=found, where=longest > 0)
    found[sizes == 1] = 0
    return found
