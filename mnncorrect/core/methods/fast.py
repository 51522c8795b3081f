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
from numpy.typing import NDArray

from mnncorrect.core.merging.diagnostics import relative_batch_size
from mnncorrect.core.merging.loop import (
    Correction,
    FindPairs,
    Node,
    Outcome,
    carry_out,
    node_groups,
    pair_finder,
)
from mnncorrect.core.merging.pairs import Pairs, PairsByAnchor, choose_k
from mnncorrect.core.merging.smoothing import tricube
from mnncorrect.core.neighbors.engines import grouped, resolve_engine
from mnncorrect.core.runtime.checks import check_ranges
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions, batches_at_once
from mnncorrect.core.runtime.threads import TAKEN_ROWS, copy_rows, each_block, one_pool, row_blocks

from .deferred import Deferring, can_defer, deferred_cells
from .leveling import AtHand, Leveling

if TYPE_CHECKING:
    from mnncorrect.core.merging.guides import Guides
    from mnncorrect.core.merging.plans import Order

# Mean number of cells below which batches are made ready one after the other: threads would wait
# for each other longer than they work.
SMALL_BATCH = 2_000


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
    guides: Guides | None = None,
    sketch: int | None = None,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> Correction:
    """Correct an embedding by mutual nearest neighbors, without normalization.

    Parameters are explained at :func:`mnncorrect.pp.mnn_fast`; cells of batch -1 are ignored, and
    ``sketch=None`` searches all cells. The first batch moves too, because variation along the batch
    vectors is removed from both sides.

    Agrees with ``reducedMNN`` of batchelor 1.14.1 up to rounding, with two differences. A batch
    vector of length zero removes nothing; in batchelor it turns all coordinates into NaN. A merge
    order must name every batch.
    """
    check_ranges(locals())
    n_jobs = compute.n_jobs
    batch = np.asarray(batch)
    sizes = np.bincount(batch[batch >= 0])
    # The last merge has a side of more cells then, and most merges of many batches have.
    sketching = sketch is not None and len(x) > 2 * sketch
    store = None
    if sketching and not auto_merge and can_defer(len(sizes), *x.shape):
        store = deferred_cells(sizes, x.shape[1], x.dtype, n_jobs=n_jobs)

    at_once, within = batches_at_once(len(sizes), compute)
    if len(x) < SMALL_BATCH * len(sizes):
        at_once = 1

    def node(number: int) -> Node:
        rows, starts = np.flatnonzero(batch == number), None
        data: Any = copy_rows(x, rows, n_jobs=within.n_jobs)
        searched = resolve_engine(compute.engine, len(rows), len(x) - len(rows), x.shape[1])
        if sketching or searched == "partition":
            # What lies together goes on lying together when it is moved: the groups are made once,
            # and all that is looked up of neighbors stands close by in memory.
            order, starts = grouped(data, within)
            rows, data = rows[order], copy_rows(data, order, n_jobs=within.n_jobs)
        kept = None if restrict is None else np.flatnonzero(restrict[rows])
        if store is not None:
            store.put([number], data, kept)
            data = store.of([number])
        return Node((number,), rows, data, restrict=kept, starts=starts)

    if guides is not None:
        every = [np.flatnonzero(batch == number) for number in range(len(sizes))]
        guides = guides.completed(((rows, x[rows]) for rows in every), compute)
    find_pairs = pair_finder(
        compute,
        sketch=sketch,
        lopsided=not sketching,
        guides=guides,
        n_neighbors=n_neighbors,
        prop_neighbors=prop_neighbors,
    )
    cells = AtHand(batch, n_jobs) if store is None else Deferring(store)
    method = Fast(cells, n_neighbors, prop_neighbors, ndist, min_batch_size, compute)
    with one_pool(n_jobs):
        merged, merges = carry_out(
            each_block(node, list(range(len(sizes))), n_jobs=at_once),
            merge_order,
            method,
            find_pairs,
            auto_merge=auto_merge,
            compute=compute,
        )
        # Cells that take no part stay where they are.
        corrected = np.empty_like(x) if len(merged.rows) == len(x) else np.array(x)
        for block in row_blocks(len(merged.rows), TAKEN_ROWS):
            corrected[merged.rows[block]] = merged.data[np.arange(block.start, block.stop)]
    return Correction(corrected, merges)


@dataclass(frozen=True)
class Ends:
    """The cells of two nodes that have pairs, and these pairs."""

    left: NDArray[Any]
    right: NDArray[Any]
    # In rows of these left cells. Right cells are the anchors, in their order.
    pairs: PairsByAnchor

    @classmethod
    def of(cls, left: Node, right: Node, pairs: Pairs) -> Ends:
        """Copy the cells of two nodes that have pairs."""
        # Pairs are listed by left row.
        new = np.diff(pairs.left, prepend=-1) > 0
        numbered = replace(pairs, left=np.cumsum(new) - 1)
        by_anchor = PairsByAnchor.of(numbered, len(right.rows))
        return cls(left.data[pairs.left[new]], right.data[by_anchor.anchors], by_anchor)

    def average(self, n_jobs: int) -> NDArray[Any]:
        """Average the pair vectors of each right cell."""
        rows = np.arange(len(self.right))
        return self.pairs.average(self.left, self.right, rows, n_jobs=n_jobs)


@dataclass(frozen=True)
class Fast:
    """One merge of :func:`mnn_reduced`."""

    cells: Leveling
    n_neighbors: int
    prop_neighbors: float | None
    ndist: float
    min_batch_size: float | None
    compute: ComputeOptions
    # Current variance of each batch, by its number.
    variances: dict[int, float] = field(default_factory=dict)

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Remove from each node the variation along the other's batch vectors, in their order."""
        vectors = right.vectors, left.vectors
        return self.cells.level(left, vectors[0])[0], self.cells.level(right, vectors[1])[0]

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Remove the batch vector from both nodes and move the right one to the left."""
        before = self._known(left) | self._known(right)
        left, right = self.align(left, right)
        right = self.cells.settled(right)
        pairs = find_pairs(left, right)
        ends = Ends.of(left, right, pairs)
        batch_vector, size, skipped = np.zeros(left.data.shape[1]), np.nan, True
        if len(pairs):
            vectors = ends.average(self.compute.n_jobs)
            batch_vector = vectors.mean(0, dtype=np.float64)
            size = np.nan if self.min_batch_size is None else relative_batch_size(vectors)
            skipped = self.min_batch_size is not None and size < self.min_batch_size
        if not skipped:
            # Both nodes are overwritten, so no further arrays are needed.
            left, levels = self.cells.level(left, [batch_vector], in_place=True)
            levels.apply(ends.left, ends.left)
            right, levels = self.cells.level(right, [batch_vector], in_place=True)
            levels.apply(ends.right, ends.right)
        after = self.cells.variances(left) | self.cells.variances(right)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = 1 - np.divide([after[b] for b in before], list(before.values()))
        lost = dict(zip(before, shares.tolist(), strict=True))
        self.variances.update(after)
        if not skipped:
            right = self._move(right, self.cells.leveled(right, levels), ends)
            for moved in right.batches:
                del self.variances[moved]
        return Outcome(
            left, right, pairs, size, skipped, lost, vector=None if skipped else batch_vector
        )

    def _move(self, right: Node, data: NDArray[Any], ends: Ends) -> Node:
        anchors, vectors = ends.pairs.anchors, ends.average(self.compute.n_jobs)
        k = choose_k(self.n_neighbors, self.prop_neighbors, len(right.rows))
        correction = tricube(
            data,
            anchors,
            vectors,
            k=k,
            ndist=self.ndist,
            compute=replace(self.compute, progress=None),
            groups=(right.starts, node_groups(right, anchors)),
        )
        lost = int(np.isnan(correction).any(1).sum())
        if lost:
            raise ValueError(
                f"ndist={self.ndist} leaves {lost} cells without a paired cell in reach; use a "
                "larger value, above 1"
            )
        correction += data
        return self.cells.replaced(right, correction)

    def _known(self, node: Node) -> dict[int, float]:
        """Look up the variance of each batch, and measure it again if the batch has moved."""
        if not all(number in self.variances for number in node.batches):
            self.variances.update(self.cells.variances(node))
        return {number: self.variances[number] for number in node.batches}
