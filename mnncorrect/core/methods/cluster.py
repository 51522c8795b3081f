"""Correction by the centroids of given clusters (batchelor's clusterMNN).

Each batch's clusters are reduced to their centroids. Centroids are matched and corrected as cells
are in the fast form, with one neighbor in each direction; each cell then follows the centroids
of its batch, weighted by how near they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mnncorrect.core.matrix.pca import PCA, multibatch_pca, project_cells
from mnncorrect.core.matrix.rows import MIN_NORM, Matrix, Rows, as_rows, row_norms
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions
from mnncorrect.core.runtime.threads import row_blocks, sum_blocks

from .fast import mnn_reduced

if TYPE_CHECKING:
    from mnncorrect.core.merging.loop import Correction
    from mnncorrect.core.merging.plans import Order

ROW_BLOCK = 4096


@dataclass(frozen=True)
class Clusters:
    """The clusters of all batches, one entry each."""

    # Batch number and label number.
    batch: NDArray[np.int64]
    label: NDArray[np.int64]
    # Number of the meta-cluster: clusters that pairs connect, across batches.
    meta: NDArray[np.int64]


def mnn_cluster(
    x: Matrix,
    batch: NDArray[np.integer[Any]],
    clusters: NDArray[np.integer[Any]],
    *,
    mask: NDArray[np.bool_] | None = None,
    correct_all: bool = False,
    cosine_norm: bool = True,
    norms: NDArray[np.float64] | None = None,
    min_batch_size: float | None = 0.0,
    merge_order: Order = None,
    auto_merge: bool = False,
    restrict: NDArray[np.bool_] | None = None,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> tuple[Correction, PCA, Clusters]:
    """Correct cells by the matched centroids of their clusters.

    Parameters are explained at :func:`mnncorrect.pp.mnn_cluster`; the same cluster number in two
    batches means nothing. ``norms`` are lengths of cells that are known already. Returns corrected
    components with merges, whose pairs are in numbers of the clusters; the PCA of the centroids
    with the cells' scores before correction; and the clusters.

    A cell ``y`` moves by the mean of its batch's centroid shifts with weights ``softmax(-||y -
    m_j||^2 / s^2)``, where ``s`` is the median distance of the batch's cells to their nearest
    centroid. Follows batchelor 1.14.1's ``clusterMNN``, except that ``min_batch_size`` has its
    effect, and that cells follow their nearest centroid where ``s`` is 0.
    """
    n_jobs = compute.n_jobs
    batch, clusters = np.asarray(batch), np.asarray(clusters)
    scale = None
    if cosine_norm:
        scale = np.maximum(row_norms(x, mask, n_jobs=n_jobs) if norms is None else norms, MIN_NORM)
    rows = Rows(as_rows(x), scale)
    kept = batch >= 0 if restrict is None else restrict & (batch >= 0)
    keys, member = np.unique(
        np.stack([batch[kept], clusters[kept]], 1), axis=0, return_inverse=True
    )
    centroids = _centroids(rows, np.flatnonzero(kept), member.ravel(), len(keys), n_jobs)
    of_batch = keys[:, 0]
    components = multibatch_pca(
        centroids,
        of_batch,
        len(keys) - 1,
        mask=mask,
        all_genes=correct_all,
        random_state=compute.random_state,
        n_jobs=n_jobs,
    )
    correction = mnn_reduced(
        components.scores,
        of_batch,
        n_neighbors=1,
        min_batch_size=min_batch_size,
        merge_order=merge_order,
        auto_merge=auto_merge,
        compute=replace(compute, engine="exact"),
    )
    genes = None if mask is None else np.flatnonzero(mask)
    chosen = slice(None) if genes is None or not correct_all else genes
    scores = project_cells(
        Rows(rows.x, scale, genes),
        components.rotation[chosen],
        components.center[chosen],
        n_jobs=n_jobs,
    )
    shifts = correction.corrected - components.scores
    corrected = scores.copy()  # cells that take no part stay where they are
    for number in range(int(batch.max()) + 1):
        cells, own = np.flatnonzero(batch == number), of_batch == number
        corrected[cells] = _follow_centroids(
            scores[cells], kept[cells], components.scores[own], shifts[own]
        )
    return (
        replace(correction, corrected=corrected),
        replace(components, scores=scores),
        Clusters(of_batch, keys[:, 1], _meta_clusters(correction, len(keys))),
    )


def _centroids(
    rows: Rows, cells: NDArray[np.int64], member: NDArray[np.int64], n_clusters: int, n_jobs: int
) -> NDArray[np.float64]:
    """Average the cells of each cluster."""
    sizes = np.bincount(member, minlength=n_clusters)
    number = np.full(rows.shape[0], -1)
    number[cells] = member

    def add(block: slice) -> NDArray[np.float64]:
        total = np.zeros((n_clusters, rows.shape[1]))
        some = number[block] >= 0
        np.add.at(total, number[block][some], rows[block][some])
        return total

    total = sum_blocks(add, row_blocks(rows.shape[0], ROW_BLOCK), n_jobs=n_jobs)
    return total / sizes[:, None]


def _follow_centroids(
    scores: NDArray[Any], kept: NDArray[np.bool_], centroids: NDArray[Any], shifts: NDArray[Any]
) -> NDArray[Any]:
    """Move a batch's cells with their centroids."""
    y = scores.astype(np.float64)
    square = np.stack([np.square(y - m).sum(1) for m in centroids], 1)
    nearest = square.min(1)
    bandwidth = np.median(np.sqrt(nearest[kept])) ** 2
    if bandwidth > 0:
        weights = np.exp(-(square - nearest[:, None]) / bandwidth)
    else:
        weights = (square == nearest[:, None]).astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    return (y + weights @ shifts).astype(scores.dtype)


def _meta_clusters(correction: Correction, n_clusters: int) -> NDArray[np.int64]:
    """Find the clusters that pairs connect; groups are numbered by their first cluster."""
    none = [np.empty(0, np.int64)]
    left = np.concatenate(none + [merge.pairs.left for merge in correction.merges])
    right = np.concatenate(none + [merge.pairs.right for merge in correction.merges])
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(n_clusters, n_clusters))
    _, found = connected_components(graph, directed=False)
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[number]
