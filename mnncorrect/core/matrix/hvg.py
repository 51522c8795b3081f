"""Genes that vary highly within batches, by the flavour that scanpy calls "seurat"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BINS = 20
# Digits after the point of normalized dispersions that are compared: what differs beyond them does
# so by rounding, as genes do that are two in their bin, and all lie 0.7071 from its mean.
ROUNDED_DIGITS = 7
# pandas' cut widens the lowest of several bins, or both ends where all values are equal, by this.
WIDENED = 0.001


def highly_variable(
    batches: Iterable[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]],
    n_genes: int,
    n_top_genes: int,
    names: Sequence[str] | NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Return a mask of the genes that vary most for their mean, in most batches.

    ``batches`` give mean and variance of each gene, of normalized counts and not of their
    logarithm, and whether a cell of the batch expresses it. Genes are ranked by the number of
    batches in which they are among the ``n_top_genes``, then by their mean normalized
    dispersion, then by name or position. These are the genes of scanpy's
    ``highly_variable_genes(flavor="seurat", batch_key=...)`` (Satija et al. 2015,
    doi:10.1038/nbt.3192), except where rounding decides there: two genes alone in their bin lie
    equally far from its mean, and dispersions that agree in seven digits are equal here.
    """
    spread = np.zeros(n_genes)
    chosen, known_in = np.zeros(n_genes, np.int64), np.zeros(n_genes, np.int64)
    for mean, variance, expressed in batches:
        known_in += 1
        genes = np.flatnonzero(expressed)
        if not len(genes):
            continue
        normalized = normalized_dispersion(mean[genes], variance[genes]).round(ROUNDED_DIGITS)
        is_known = ~np.isnan(normalized)
        known_in[genes[~is_known]] -= 1
        spread[genes[is_known]] += normalized[is_known]
        known = np.sort(normalized[is_known])
        if len(known):
            cut = known[max(0, len(known) - n_top_genes)]
            chosen[genes[normalized >= cut]] += 1
    average = np.round(spread / np.maximum(known_in, 1), ROUNDED_DIGITS)
    average[known_in == 0] = -np.inf
    order = np.arange(n_genes) if names is None else np.argsort(np.asarray(names), kind="stable")
    order = order[np.lexsort((-average[order], -chosen[order]))]
    mask = np.zeros(n_genes, dtype=bool)
    mask[order[:n_top_genes]] = True
    return mask


def normalized_dispersion(
    mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standardize the log dispersion of each gene in its bin, one of 20 of the log mean.

    A gene alone in its bin has 1, and a gene that does not vary NaN.
    """
    mean = np.where(mean == 0, 1e-12, mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion = np.log(variance / mean)
    dispersion[~np.isfinite(dispersion)] = np.nan
    bins = _bins(np.log1p(mean))
    known = ~np.isnan(dispersion)
    filled = np.where(known, dispersion, 0.0)
    n = np.bincount(bins[known], minlength=N_BINS + 1)
    average = np.bincount(bins, filled, N_BINS + 1) / np.maximum(n, 1)
    apart = np.where(known, dispersion - average[bins], 0.0)
    deviation = np.sqrt(np.bincount(bins, apart**2, N_BINS + 1) / np.maximum(n - 1, 1))
    alone = n == 1
    deviation[alone], average[alone] = average[alone], 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        normalized: NDArray[np.float64] = (dispersion - average[bins]) / deviation[bins]
    return normalized


def _bins(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find which of 20 bins of equal width, closed on the right, each value is in."""
    low, high = values.min(), values.max()
    if low == high:
        low -= WIDENED * abs(low) if low != 0 else WIDENED
        high += WIDENED * abs(high) if high != 0 else WIDENED
        edges = np.linspace(low, high, N_BINS + 1)
    else:
        edges = np.linspace(low, high, N_BINS + 1)
        edges[0] -= (high - low) * WIDENED
    return np.searchsorted(edges, values, side="left").astype(np.int64)
