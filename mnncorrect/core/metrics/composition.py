"""How clusters are shared out over batches: a sign of batch effects that a correction left."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Added to scaled counts before the logarithm, so that clusters of few cells do not stand out.
PRIOR_COUNT = 10.0


def abundance_table(
    clusters: NDArray[np.integer[Any]], batch: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Count cells, clusters x batches."""
    table = np.zeros((int(clusters.max()) + 1, int(batch.max()) + 1), np.int64)
    np.add.at(table, (clusters, batch), 1)
    return table


def abundance_test(table: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Test each cluster's counts (clusters x batches) against the overall shares of the batches.

    The p-values are those of the chi-squared test of goodness of fit with B - 1 degrees of freedom.
    Cells are not independent replicates of a batch, so these rank clusters and prove nothing.
    """
    from scipy.special import chdtrc

    expected = table.sum(1, keepdims=True) * (table.sum(0) / table.sum())
    statistic = ((table - expected) ** 2 / expected).sum(1)
    return chdtrc(table.shape[1] - 1, statistic)


def abundance_variance(table: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the variance over batches of ``log2(count / size factor + 10)`` of each cluster.

    The size factor is the batch's number of cells over the mean of these; the denominator is B - 1.
    """
    totals = table.sum(0)
    scaled = np.log2(table / (totals / totals.mean()) + PRIOR_COUNT)
    return scaled.var(1, ddof=1)
