"""Genes that vary highly within batches, by the flavour that scanpy calls "seurat"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

N_BINS = 20
# Digits after the point of normalized dispersions that are compared: what differs beyond them does
# so by rounding, as genes do that are two in their bin, and all lie 0.7071 from its mean.
ROUNDED_DIGITS = 7
# pandas' cut widens the lowest of several bins, or both ends where all values are equal, by this.
WIDENED = 0.001


def highly_variable(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    expressed: NDArray[np.bool_],
    n_top_genes: int,
    names: Sequence[str] | NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Choose the genes that vary most for their mean, in most batches.

    Parameters
    ----------
    mean, variance
        Of normalized counts, not their logarithm; batches x genes.
    expressed
        Whether a batch has a cell that expresses the gene; batches x genes.
    n_top_genes
        How many genes to choose.
    names
        Of the genes.

    Returns
    -------
    A mask over the genes. Genes are ranked by the number of batches in which they are among the
    ``n_top_genes``, then by their mean normalized dispersion, then by their names as scanpy does,
    or by position.

    Notes
    -----
    These are the genes of scanpy's ``highly_variable_genes(flavor="seurat", batch_key=...)``, but
    where rounding decides there: genes that are two in their bin lie equally far from its mean, and
    genes whose normalized dispersions are the same to seven digits are taken for equal here. Cells
    without counts take no part here.

    References
    ----------
    Satija et al. 2015, doi:10.1038/nbt.3192; the ranking over batches is scanpy's.
    """
    n_batches, n_genes = mean.shape
    spread = np.zeros((n_batches, n_genes))
    chosen = np.zeros(n_genes, np.int64)
    for b in range(n_batches):
        genes = np.flatnonzero(expressed[b])
        if not len(genes):
            continue
        normalized = normalized_dispersion(mean[b, genes], variance[b, genes]).round(ROUNDED_DIGITS)
        spread[b, genes] = normalized
        known = np.sort(normalized[~np.isnan(normalized)])
        if len(known):
            cut = known[max(0, len(known) - n_top_genes)]
            chosen[genes[normalized >= cut]] += 1
    known_in = (~np.isnan(spread)).sum(0)
    average = np.round(np.nansum(spread, 0) / np.maximum(known_in, 1), ROUNDED_DIGITS)
    average[known_in == 0] = -np.inf
    order = np.arange(n_genes) if names is None else np.argsort(np.asarray(names), kind="stable")
    order = order[np.lexsort((-average[order], -chosen[order]))]
    mask = np.zeros(n_genes, dtype=bool)
    mask[order[:n_top_genes]] = True
    return mask


def normalized_dispersion(
    mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compare the dispersion of genes with that of genes of a similar mean.

    Parameters
    ----------
    mean, variance
        Of normalized counts, not their logarithm.

    Returns
    -------
    Log dispersion, less its mean over the genes in the same of 20 bins of log mean, over its
    standard deviation there; 1 for a gene alone in its bin; NaN for a gene that does not vary.
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
