"""Components of a mixture that overlap are one cluster: a cluster need not be Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Merged:
    """Which components form a cluster, and how it was decided."""

    # Cluster of each component, numbered from 0 in the order of their first components.
    cluster: NDArray[np.int64]
    # The largest overlap of two clusters while there are as many clusters as components, one fewer,
    # ... and two. All merges are followed to the end, so that the choice can be seen.
    overlaps: NDArray[np.float64]


def merge_overlapping(proba: NDArray[Any], max_overlap: float) -> Merged:
    """Merge the two clusters that overlap most, as long as this exceeds ``max_overlap``.

    ``proba`` is cells x components. The overlap of two clusters is the estimated share of the cells
    of one that would be assigned to the other, in the direction in which it is larger: the sum of
    the probabilities of cluster ``i`` over cells whose most probable cluster is ``j``, over their
    sum for all cells. After each merge, probabilities are added up and overlaps are estimated anew
    (DEMP: Hennig 2010, doi:10.1007/s11634-010-0058-3; Baudry et al. 2010,
    doi:10.1198/jcgs.2010.08111).
    """
    merged = np.array(proba, dtype=np.float64)
    cluster = np.arange(merged.shape[1])
    kept, overlaps, apart = cluster.copy(), [], False
    while merged.shape[1] > 1:
        overlap = _overlaps(merged)
        one, two = sorted(np.unravel_index(int(overlap.argmax()), overlap.shape))
        overlaps.append(float(overlap[one, two]))
        apart = apart or overlaps[-1] <= max_overlap
        merged[:, one] += merged[:, two]
        merged = np.delete(merged, two, axis=1)
        cluster = np.where(cluster == two, one, cluster)
        cluster -= cluster > two
        if not apart:
            kept = cluster.copy()
    return Merged(kept, np.array(overlaps))


def _overlaps(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the overlap of each two clusters, symmetric, with zeros on the diagonal."""
    n_clusters = proba.shape[1]
    shared = np.zeros((n_clusters, n_clusters))
    assigned = proba.argmax(axis=1)
    for j in range(n_clusters):
        shared[:, j] = proba[assigned == j].sum(axis=0)
    totals = shared.sum(axis=1)
    shared /= np.where(totals > 0, totals, 1)[:, None]
    np.fill_diagonal(shared, 0)
    return np.maximum(shared, shared.T)
