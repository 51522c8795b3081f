"""The fast form of the method, in the space of principal components (batchelor's fastMNN).

Cells are cosine-normalized, and every batch contributes equally to the components
(:func:`mnncorrect.core.matrix.pca.multibatch_pca`). Batches are merged two at a time. In a merge,
the batch vector is the mean of the pair vectors. Variation along it is removed from both sides, so
that it cannot leak into the correction. Then each target cell moves by a tricube-weighted mean of
the vectors of its nearest anchors. Later merges first remove variation along the batch vectors of
earlier merges.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.diagnostics import relative_batch_size, variance_by_batch
from mnncorrect.core.merging.loop import (
    Correction,
    Node,
    Outcome,
    carry_out,
    node_groups,
    pair_finder,
)
from mnncorrect.core.merging.pairs import average_vectors, choose_k
from mnncorrect.core.merging.smoothing import tricube
from mnncorrect.core.methods import level_kernels
from mnncorrect.core.neighbors.engines import grouped, resolve_engine
from mnncorrect.core.runtime.checks import check_ranges
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE
from mnncorrect.core.runtime.threads import (
    copy_rows,
    map_blocks,
    one_pool,
    row_blocks,
    sum_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.loop import FindPairs
    from mnncorrect.core.merging.plans import Order
    from mnncorrect.core.runtime.compute import ComputeOptions

# The direction of a vector shorter than this share of the cells' typical length is meaningless.
NEGLIGIBLE = 1e-12
ROW_BLOCK = 16384


def mnn_reduced(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    *,
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    ndist: float = 3.0,
    min_batch_size: float | None = 0.0,
    merge_order: Order = None,
    auto_merge: bool = False,
    restrict: NDArray[np.bool_] | None = None,
    sketch: int | None = None,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> Correction:
    """Correct an embedding by mutual nearest neighbors, without normalization.

    Parameters
    ----------
    x
        Cells x dimensions.
    batch
        Batch number of each cell, 0 to B - 1; each occurs. Cells of batch -1 are ignored.
    n_neighbors
        Neighbors in each direction. More: more pairs, smoother corrections, looser matches.
    prop_neighbors
        Share of a batch to use as neighbors, 0..1, if this gives more than ``n_neighbors``.
    ndist
        Bandwidth of the tricube smoothing, in units of the distance to the median neighbor. Larger
        is smoother.
    min_batch_size
        Relative batch size below which a merge is left uncorrected, 0..1. ``None``: the size is
        not computed.
    merge_order
        A plan as :func:`mnncorrect.core.merging.plans.parse_merge_order` makes it.
    auto_merge
        Always merge the two nodes with most pairs, instead of following a plan.
    restrict
        Cells that may form pairs and that centers are computed from; default: all. All cells are
        corrected.
    sketch
        Largest number of cells of each side of a merge that are searched for pairs. They are drawn
        from all of its batches and regions; default: all. All cells are corrected.
    compute
        Settings of the neighbor search.

    Returns
    -------
    The corrected embedding and the merges. The first batch moves too, because variation along the
    batch vectors is removed from both sides.

    Notes
    -----
    Agrees with ``reducedMNN`` of batchelor 1.14.1 up to rounding, with two differences. A batch
    vector of length zero removes nothing; in batchelor it turns all coordinates into NaN. A merge
    order must name every batch.
    """
    check_ranges(
        n_neighbors=n_neighbors,
        prop_neighbors=prop_neighbors,
        ndist=ndist,
        min_batch_size=min_batch_size,
        sketch=sketch,
    )
    n_jobs = compute.n_jobs
    batch = np.asarray(batch)
    n_batches = int(batch.max()) + 1
    # Then the last merge has a larger side than that, as do most merges of many batches.
    sketching = sketch is not None and len(x) > 2 * sketch

    def node(number: int) -> Node:
        rows, starts = np.flatnonzero(batch == number), None
        data = copy_rows(x, rows, n_jobs=n_jobs)
        searched = resolve_engine(compute.engine, len(rows), len(x) - len(rows), x.shape[1])
        if sketching or searched == "partition":
            # Nearby cells stay nearby when they move. So groups are made once, and the data of
            # neighbors are close in memory.
            order, starts = grouped(data, compute)
            rows, data = rows[order], copy_rows(data, order, n_jobs=n_jobs)
        kept = None if restrict is None else np.flatnonzero(restrict[rows])
        return Node((number,), rows, data, restrict=kept, starts=starts)

    find_pairs = pair_finder(
        compute,
        sketch=sketch,
        lopsided=not sketching,
        n_neighbors=n_neighbors,
        prop_neighbors=prop_neighbors,
    )
    method = Fast(batch, n_neighbors, prop_neighbors, ndist, min_batch_size, compute)
    with one_pool(n_jobs):
        merged, merges = carry_out(
            (node(number) for number in range(n_batches)),
            merge_order,
            method,
            find_pairs,
            auto_merge=auto_merge,
            compute=compute,
        )
    # Ignored cells keep their coordinates.
    corrected = np.array(x, merged.data.dtype)
    corrected[merged.rows] = merged.data
    return Correction(corrected, merges)


@dataclass(frozen=True)
class Fast:
    """One merge of :func:`mnn_reduced`."""

    batch: NDArray[np.integer[Any]]
    n_neighbors: int
    prop_neighbors: float | None
    ndist: float
    min_batch_size: float | None
    compute: ComputeOptions
    # Current variance of each batch, by its number.
    variances: dict[int, float] = field(default_factory=dict)

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Remove from each node the variation along the other's batch vectors, in their order."""
        return self._level(left, right.vectors), self._level(right, left.vectors)

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Remove the batch vector from both nodes and move the right one to the left."""
        before = self._known(left) | self._known(right)
        left, right = self.align(left, right)
        pairs = find_pairs(left, right)
        _, vectors = average_vectors(left.data, right.data, pairs, n_jobs=self.compute.n_jobs)
        batch_vector = vectors.mean(0, dtype=np.float64)
        size = np.nan if self.min_batch_size is None else relative_batch_size(vectors)
        skipped = self.min_batch_size is not None and size < self.min_batch_size
        if not skipped:
            # Both nodes are overwritten, so no further arrays are needed.
            left, right = (
                self._level(node, [batch_vector], in_place=True) for node in (left, right)
            )
        after = self._variances(left) | self._variances(right)
        with np.errstate(invalid="ignore", divide="ignore"):
            lost = {b: float(1 - np.divide(after[b], before[b])) for b in before}
        self.variances.update(after)
        if not skipped:
            right = self._move(left, right, pairs)
            for moved in right.batches:
                del self.variances[moved]
        return Outcome(
            left, right, pairs, size, skipped, lost, vector=None if skipped else batch_vector
        )

    def _move(self, left: Node, right: Node, pairs: Any) -> Node:
        anchors, vectors = average_vectors(left.data, right.data, pairs, n_jobs=self.compute.n_jobs)
        k = choose_k(self.n_neighbors, self.prop_neighbors, len(right.rows))
        correction = tricube(
            right.data,
            anchors,
            vectors,
            k=k,
            ndist=self.ndist,
            compute=replace(self.compute, progress=None),
            groups=(right.starts, node_groups(right, anchors)),
        )
        lost = int(np.isnan(correction).any(1).sum())
        if lost:
            msg = (
                f"ndist={self.ndist} leaves {lost} cells without a paired cell in reach; use a "
                "larger value, above 1"
            )
            raise ValueError(msg)
        correction += right.data
        return replace(right, data=correction)

    def _known(self, node: Node) -> dict[int, float]:
        """Look up the variance of each batch, and measure it again if the batch has moved."""
        if not all(number in self.variances for number in node.batches):
            self.variances.update(self._variances(node))
        return {number: self.variances[number] for number in node.batches}

    def _variances(self, node: Node) -> dict[int, float]:
        return variance_by_batch(node.data, self.batch[node.rows], n_jobs=self.compute.n_jobs)

    def _level(
        self, node: Node, vectors: Sequence[NDArray[np.float64]], *, in_place: bool = False
    ) -> Node:
        """Remove the variation of a node along vectors, one after the other.

        All cells get the coordinate of their mean, or of the mean of the restricted cells if there
        are any. So the mean does not move. A vector of negligible length is skipped.
        """
        if not vectors:
            return node
        blocks = row_blocks(len(node.rows), ROW_BLOCK)

        def add(rows: slice) -> NDArray[np.float64]:
            totals = np.zeros(node.data.shape[1] + 1)
            level_kernels.add_rows_and_squares(node.data[rows], totals)
            return totals

        *total, square = sum_blocks(add, blocks, n_jobs=self.compute.n_jobs)
        mean = np.array(total) / len(node.rows)
        if node.restrict is not None:
            mean = node.data[node.restrict].mean(0, dtype=np.float64)
        negligible = NEGLIGIBLE * np.sqrt(square / node.data.size)
        lengths = [np.linalg.norm(vector) for vector in vectors]
        units = [
            vector / length
            for vector, length in zip(vectors, lengths, strict=True)
            if length > negligible
        ]
        if not units:
            return node
        stacked = np.stack(units)
        levels = np.einsum("vg,g->v", stacked, mean)
        data = node.data if in_place else np.empty_like(node.data)
        map_blocks(
            lambda block: level_kernels.level_along(node.data[block], stacked, levels, data[block]),
            blocks,
            n_jobs=self.compute.n_jobs,
        )
        return replace(node, data=data)
