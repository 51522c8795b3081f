"""Mutual nearest pairs between two groups of cells, and the vectors between their ends.

A left and a right cell are a pair if each is among the nearest neighbors of the other
(Haghverdi et al. 2018). The left group is the reference, the right one the target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._log import warn_caller
from mnncorrect.core.merging import pair_kernels
from mnncorrect.core.neighbors.engines import Neighbors, nearest, nearest_both
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions
from mnncorrect.core.runtime.threads import even_blocks, map_blocks, row_blocks

if TYPE_CHECKING:
    from mnncorrect.core.neighbors.engines import GroupStarts

ANCHOR_BLOCK, PAIR_BLOCK = 1024, 4096
# Left cells whose true pairs are searched to see how many an approximate engine finds, and the
# share of them below which it is worth a warning.
RECALL_SAMPLE = 64
RECALL_WARNED_OF = 0.95


@dataclass(frozen=True)
class Pairs:
    """Mutual nearest pairs, listed by left row and for one left row by increasing distance."""

    # Row numbers of the two ends, one entry a pair.
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    engine: str = "exact"  # What searched the neighbors.
    recall: float = 1.0  # Share of the true pairs found, on a sample; 1 with exact neighbors.
    # The same in the tenth of the sample where it is lowest, by batch or by region.
    worst_recall: float = 1.0
    # How much each pair counts, by :func:`dual_softmax`; ``None`` where that was not asked for.
    weights: NDArray[np.float64] | None = None
    # Whether what is known of cells decided which pairs are allowed, so that there may be none.
    guided: bool = False

    def __len__(self) -> int:
        return len(self.left)

    def only(self, some: NDArray[np.bool_]) -> Pairs:
        """Leave out all other pairs."""
        weights = None if self.weights is None else self.weights[some]
        return replace(self, left=self.left[some], right=self.right[some], weights=weights)


def choose_k(n_neighbors: int, prop_neighbors: float | None, n: int) -> int:
    """Choose how many neighbors are sought among ``n`` cells.

    ``n_neighbors``, or with ``prop_neighbors`` that share of the cells if it is more; never more
    than there are cells then. Halves are rounded to even, as in the reference.
    """
    if prop_neighbors is None:
        return n_neighbors
    return min(n, max(n_neighbors, round(prop_neighbors * n)))


def mutual_pairs(in_left: Neighbors, in_right: Neighbors, *, n_jobs: int = 1) -> Pairs:
    """Intersect the nearest left cells of right cells with the nearest right cells of left ones."""
    rows = in_right.rows
    if rows is None:
        rows = np.arange(len(in_right.indices))
    mutual = np.zeros(in_right.indices.shape, np.bool_)
    map_blocks(
        lambda some: pair_kernels.mark_mutual(
            in_right.indices[some], rows[some], in_left.indices, mutual[some]
        ),
        even_blocks(len(rows), PAIR_BLOCK),
        n_jobs=n_jobs,
    )
    # The places of a table with two axes would be found far more slowly.
    found = np.flatnonzero(mutual)
    right = in_right.indices.ravel()[found].astype(np.int64)
    return Pairs(rows[found // in_right.indices.shape[1]], right, in_right.engine)


def dual_softmax(pairs: Pairs, in_left: Neighbors, in_right: Neighbors) -> NDArray[np.float64]:
    r"""Weigh mutual pairs by how much each end prefers the other to the rest of its neighbors.

    The weight is :math:`p(j | i)\,p(i | j)`, each a softmax of negative squared distances over all
    neighbors of a cell, in units of their mean.
    """
    rows = in_right.rows
    at_left = pairs.left if rows is None else np.searchsorted(rows, pairs.left)
    ahead = (in_right.indices[at_left] == pairs.right[:, None]).argmax(1)
    back = (in_left.indices[pairs.right] == pairs.left[:, None]).argmax(1)
    return (
        neighbor_weights(in_right.distances)[at_left, ahead]
        * neighbor_weights(in_left.distances)[pairs.right, back]
    )


def find_pairs(
    left: NDArray[Any],
    right: NDArray[Any],
    *,
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    restrict_left: NDArray[np.int64] | None = None,
    restrict_right: NDArray[np.int64] | None = None,
    groups: GroupStarts = (None, None),
    weighted: bool = False,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> Pairs:
    """Find the mutual nearest pairs between two groups of cells, in their row numbers.

    ``prop_neighbors`` is explained at :func:`choose_k`, ``groups`` and ``compute`` at
    :func:`mnncorrect.core.neighbors.engines.nearest`; groups of a restricted side are ignored.
    Pairs are ``weighted`` by :func:`dual_softmax`. Exact neighbors always give a pair: the closest
    is mutual.
    """
    some_left = np.asarray(left) if restrict_left is None else left[restrict_left]
    some_right = np.asarray(right) if restrict_right is None else right[restrict_right]
    k_left = choose_k(n_neighbors, prop_neighbors, len(some_left))
    k_right = choose_k(n_neighbors, prop_neighbors, len(some_right))
    in_left, in_right = nearest_both(
        some_left,
        some_right,
        k_left,
        k_right,
        compute=compute,
        groups=(
            groups[0] if restrict_left is None else None,
            groups[1] if restrict_right is None else None,
        ),
        measured=weighted,
    )
    pairs = mutual_pairs(in_left, in_right, n_jobs=compute.n_jobs)
    if weighted:
        pairs = replace(pairs, weights=dual_softmax(pairs, in_left, in_right))
    if pairs.engine != "exact":
        found = _pair_recall(some_left, some_right, pairs, in_right, in_left, compute.n_jobs)
        pairs = replace(pairs, recall=found[0], worst_recall=found[1])
        if pairs.recall < RECALL_WARNED_OF:
            warn_caller(
                f"neighbors={pairs.engine!r} found {pairs.recall:.1%} of the mutual pairs of a "
                'sample; raise recall, or use neighbors="exact"'
            )
    return replace(
        pairs,
        left=pairs.left if restrict_left is None else restrict_left[pairs.left],
        right=pairs.right if restrict_right is None else restrict_right[pairs.right],
    )


def _pair_recall(
    left: NDArray[Any],
    right: NDArray[Any],
    pairs: Pairs,
    in_right: Neighbors,
    in_left: Neighbors,
    n_jobs: int,
) -> tuple[float, float]:
    """Search the true pairs of a sample of left cells; return the share found, mean and worst.

    The sample is spread evenly over the left cells that are neighbors of any right cell (no
    other can have a pair), in the order of their rows, which stand batch by batch; it is cut
    into tenths by row and by region of space.
    """
    popular = np.arange(len(left)) if in_right.rows is None else in_right.rows
    chosen = np.linspace(0, len(popular) - 1, min(RECALL_SAMPLE, len(popular))).astype(int)
    rows = popular[chosen]
    k_right, k_left = in_right.indices.shape[1], in_left.indices.shape[1]
    exactly = ComputeOptions("exact", n_jobs=n_jobs)
    nearest_right = nearest(left[rows], right, k_right, compute=exactly)
    ahead = nearest_right.indices
    # What is further from an end than all left cells found for it is not among its nearest.
    may = nearest_right.distances <= in_left.distances[ahead, -1]
    ends, at = np.unique(ahead[may], return_inverse=True)
    true = np.zeros(ahead.shape, np.bool_)
    if len(ends):
        back = nearest(right[ends], left, k_left, compute=exactly).indices
        true[may] = (back[at] == rows[np.nonzero(may)[0], None]).any(1)
    own = np.isin(pairs.left, rows)
    found_keys = np.sort(pairs.left[own] * len(right) + pairs.right[own])
    keys = rows[:, None] * len(right) + ahead
    place = np.searchsorted(found_keys, keys).clip(max=max(len(found_keys) - 1, 0))
    found = true & (found_keys[place] == keys if len(found_keys) else False)
    orders = [np.arange(len(rows))]
    if in_right.cell is not None:
        orders.append(np.argsort(in_right.cell[chosen], kind="stable"))
    shares = [
        found[tenth].sum() / true[tenth].sum()
        for order in orders
        for tenth in np.array_split(order, 10)
        if true[tenth].any()
    ]
    return float(found.sum() / max(1, true.sum())), float(min(shares, default=1.0))


def average_vectors(
    left: NDArray[Any], right: NDArray[Any], pairs: Pairs, *, n_jobs: int = 1
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Average the pair vectors (left end minus right end) of each right cell that has a pair.

    Returns these anchors, ascending, and their mean vectors in the type of ``right``, summed in
    float64.
    """
    by_anchor = PairsByAnchor.of(pairs, len(right))
    anchors = by_anchor.anchors
    return anchors, by_anchor.average(left, right, anchors, n_jobs=n_jobs)


@dataclass(frozen=True)
class PairsByAnchor:
    """Pairs, those of one right cell below those of another."""

    anchors: NDArray[np.int64]  # Right rows that have a pair, ascending.
    left: NDArray[np.int64]  # Left row of each pair.
    starts: NDArray[np.int64]  # First pair of each anchor, and the end of the last.

    @classmethod
    def of(cls, pairs: Pairs, n_right: int) -> PairsByAnchor:
        """Sort pairs by their right cell."""
        counts = np.bincount(pairs.right, minlength=n_right)
        anchors = np.flatnonzero(counts)
        ends = np.cumsum(counts)
        left = np.empty_like(pairs.left)
        pair_kernels.deal_out(pairs.left, pairs.right, ends - counts, left)
        return cls(anchors, left, np.append(0, ends[anchors]))

    def average(
        self,
        left: NDArray[Any],
        right: NDArray[Any],
        rows: NDArray[np.int64],
        *,
        n_jobs: int,
    ) -> NDArray[Any]:
        """Average the pair vectors of each anchor; ``rows`` are those of the anchors in ``right``.

        In the type of ``right``, summed in float64.
        """
        out = np.empty((len(rows), right.shape[1]), right.dtype)

        def average(block: slice) -> None:
            starts = self.starts[block.start : block.stop + 1]
            pair_kernels.average_pair_vectors(
                left, right, self.left, starts, rows[block], out[block]
            )

        map_blocks(average, row_blocks(len(rows), ANCHOR_BLOCK), n_jobs=n_jobs)
        return out


def neighbor_weights(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh neighbors by a Gaussian whose squared bandwidth is their mean squared distance."""
    return square_weights(distances**2)


def square_weights(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh neighbors as :func:`neighbor_weights` does, by their squared distances in any order."""
    bandwidth = np.maximum(squares.mean(1, keepdims=True), np.finfo(np.float64).tiny)
    weights: NDArray[np.float64] = np.exp((squares.min(1, keepdims=True) - squares) / bandwidth)
    weights /= weights.sum(1, keepdims=True)
    return weights
