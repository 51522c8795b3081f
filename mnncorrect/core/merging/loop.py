"""The loop that carries out a merge plan. All methods share it.

A merge joins two nodes: the left one is the reference, the right one is corrected. A node is a
batch, or the union of batches merged before. A :class:`Method` defines what one merge does. This
module decides the order of the merges and what is recorded of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.neighbors.engines import by_groups, groups_left
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE
from mnncorrect.core.runtime.threads import each_block, single_blas

from .guides import guided_pairs
from .pairs import Pairs, find_pairs
from .plans import balanced, plan_of_merges, postorder, progressive, scatter

if TYPE_CHECKING:
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .guides import Guides
    from .plans import Order, Tree


# Least number of cells that a sketch of one side has where the other side has fewer cells. Twice as
# many cells as the other side has gave the same mixing and purity in 96 real batches.
LEAST_SKETCHED = 1_000


@dataclass(frozen=True)
class Node:
    """A set of cells that is treated as one batch in a merge."""

    batches: tuple[int, ...]  # Numbers of the batches in it, in the order they were merged.
    rows: NDArray[np.int64]  # Row numbers of its cells in the input.
    data: NDArray[Any]  # Coordinates for pairs and distances, cells x dimensions.
    # Values that are corrected by the same weights, if they differ from ``data``.
    out: NDArray[Any] | None = None
    # Rows of the node that may form pairs (0 is the node's first); ``None``: all.
    restrict: NDArray[np.int64] | None = None
    # Batch vectors of the merges that made it, in their order.
    vectors: tuple[NDArray[np.float64], ...] = ()
    # First row of each group of nearby cells, and the end of the last; ``None``: not grouped.
    starts: NDArray[np.int64] | None = None


FindPairs = Callable[[Node, Node], Pairs]
"""Finds the pairs of two nodes, in rows of the nodes."""


def pair_finder(
    compute: ComputeOptions,
    *,
    sketch: int | None = None,
    lopsided: bool = True,
    guides: Guides | None = None,
    **options: Any,
) -> FindPairs:
    """Prepare :func:`mnncorrect.core.merging.pairs.find_pairs` to be called with two nodes.

    ``sketch`` is the largest number of cells of each node that are searched; see :func:`sketched`.
    Unless ``lopsided``, it is further limited to the size of the other side, but not below
    :data:`LEAST_SKETCHED`. The cells are then expected to be grouped.
    With ``guides``, only pairs are found that these allow, and there may be none.
    """

    def find(left: Node, right: Node) -> Pairs:
        most = [sketch, sketch]
        if sketch is not None and not lopsided:
            others = len(right.rows), len(left.rows)
            most = [min(sketch, max(LEAST_SKETCHED, other)) for other in others]
        rows = [
            sketched(node, some, compute.random_state)
            for node, some in zip((left, right), most, strict=True)
        ]
        sizes = [
            len(node.rows) if some is None else len(some)
            for node, some in zip((left, right), rows, strict=True)
        ]
        search = partial(
            find_pairs,
            left.data,
            right.data,
            groups=(node_groups(left), node_groups(right)),
            compute=compute if lopsided else by_groups(compute, *sizes),
            **options,
        )
        if guides is None:
            return search(restrict_left=rows[0], restrict_right=rows[1])
        return guided_pairs(guides, (left.rows, right.rows), rows, search)

    return find


def node_groups(node: Node, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64] | None:
    """Find the groups of a node, or of some of its rows, for a search.

    ``None`` for a node of several batches, because their groups overlap.
    """
    if node.starts is None or len(node.batches) > 1:
        return None
    return node.starts if rows is None else groups_left(node.starts, rows)


def sketched(node: Node, most: int | None, random_state: int) -> NDArray[np.int64] | None:
    """Draw at most ``most`` of the rows of a node that may form pairs.

    The rows are cut into ``most`` equal stretches, and one row is drawn from each. Rows are sorted
    by batch, and within a batch by group if they are grouped. So every batch and every region gets
    its share. ``None``: all rows.
    """
    n = len(node.rows) if node.restrict is None else len(node.restrict)
    if most is None or n <= most:
        return node.restrict
    ends = np.arange(most + 1) * n // most
    drawn = np.random.default_rng([random_state, n]).integers(ends[:-1], ends[1:])
    return drawn if node.restrict is None else node.restrict[drawn]


@dataclass(frozen=True)
class Outcome:
    """The result of one merge."""

    # The nodes with their new coordinates.
    left: Node
    right: Node
    pairs: Pairs  # In rows of the two nodes.
    # Relative size of the batch effect, 0..1; NaN if the method does not measure it.
    batch_size: float = np.nan
    skipped: bool = False  # Whether the merge was left uncorrected because its effect is too small.
    lost_variance: dict[int, float] | None = None  # Share of variance lost, by batch number.
    # Batch vector of the merge, if later merges remove variation along it.
    vector: NDArray[np.float64] | None = None
    # Size of the effect relative to noise alone; NaN if it is not measured.
    evidence: float = np.nan
    # Share of the pairs whose two ends have a counterpart without doubt; NaN if it is not measured.
    shared: float = np.nan


class Method(Protocol):
    """A correction of two nodes."""

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Transform two nodes into the coordinates for the search of pairs."""

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Correct the right node to the left one. Both are overwritten."""


@dataclass(frozen=True)
class Merge:
    """Record of a merge."""

    # Numbers of the batches in the reference and in the corrected node.
    left: tuple[int, ...]
    right: tuple[int, ...]
    pairs: Pairs  # Mutual nearest pairs, in rows of the input.
    batch_size: float  # As in :class:`Outcome`.
    skipped: bool  # As in :class:`Outcome`.
    # By batch; 0 for batches outside this merge, NaN if it is not measured.
    lost_variance: NDArray[np.float64]
    evidence: float = np.nan  # As in :class:`Outcome`.
    shared: float = np.nan  # As in :class:`Outcome`.


@dataclass(frozen=True)
class Correction:
    """A corrected data set."""

    corrected: NDArray[Any]  # Cells x features, in the order of the input's rows.
    merges: tuple[Merge, ...]  # In the order they were carried out.

    @property
    def plan(self) -> Tree:
        """The merges that were made, as a tree."""
        return plan_of_merges([(merge.left, merge.right) for merge in self.merges])

    @property
    def engines(self) -> tuple[str, ...]:
        """The neighbor engines that found the pairs; ``auto`` is replaced by its choice."""
        return tuple(sorted({merge.pairs.engine for merge in self.merges}))


def carry_out(
    nodes: Iterable[Node],
    merge_order: Order,
    method: Method,
    find_pairs: FindPairs,
    *,
    auto_merge: bool = False,
    in_a_thread: tuple[Method, FindPairs] | None = None,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> tuple[Node, tuple[Merge, ...]]:
    """Merge all nodes, one for each batch, into one; return it with the record of each merge.

    ``merge_order`` is a plan; ``"balanced"``: a plan made from the means of the nodes; ``None``:
    one node after the other. With ``auto_merge`` the two nodes with most pairs are merged next
    instead. ``in_a_thread`` is the same method and search with one thread: with it, independent
    merges run in parallel, round by round.
    """
    # Merged nodes are dropped at once, because their result takes as much memory.
    waiting = dict(enumerate(nodes))
    n_batches = len(waiting)
    merges: list[Merge] = []

    def merge(left: Node, right: Node) -> Node:
        outcome = method.merge(left, right, _need_pairs(find_pairs))
        merges.append(_remember(outcome, n_batches))
        if compute.progress is not None:
            compute.progress("merges", len(merges) / (n_batches - 1))
        return _join_nodes(outcome)

    if auto_merge:
        return _merge_automatically(list(waiting.values()), method, find_pairs, merge), tuple(
            merges
        )
    plan = merge_order
    if plan is None:
        plan = progressive(n_batches)
    elif isinstance(plan, str):
        values = [np.asarray(node.data) for node in waiting.values()]
        means = np.stack([some.mean(0, dtype=np.float64) for some in values])
        sizes = np.array([len(some) for some in values])
        plan = balanced(means, sizes, np.array([scatter(some) for some in values]))
        del values
    if in_a_thread is not None:
        made = _merge_in_rounds(waiting, plan, (method, find_pairs), in_a_thread, compute)
        return made[0], tuple(made[1])
    finished: list[Node] = []
    for node in postorder(plan):
        if isinstance(node, int):
            finished.append(waiting.pop(node))
        else:
            finished.append(merge(finished.pop(), finished.pop()))
    return finished[0], tuple(merges)


def _need_pairs(find_pairs: FindPairs) -> FindPairs:
    """Raise an error if no pairs are found."""

    def find(left: Node, right: Node) -> Pairs:
        pairs = find_pairs(left, right)
        if not len(pairs) and not pairs.guided:
            raise ValueError(
                f"no mutual nearest pairs were found by neighbors={pairs.engine!r}; "
                'use neighbors="exact" or a larger n_neighbors'
            )
        return pairs

    return find


def _merge_in_rounds(
    nodes: dict[int, Node],
    plan: Tree,
    alone: tuple[Method, FindPairs],
    in_a_thread: tuple[Method, FindPairs],
    compute: ComputeOptions,
) -> tuple[Node, list[Merge]]:
    """Run the merges of a round in parallel; fewer than threads, one by one with all threads.

    A merge belongs to the first round after the rounds of both of its sides.
    """
    n_jobs, progress = compute.n_jobs, compute.progress
    rounds: dict[int, list[tuple[int, int, int]]] = {}
    # Nodes by number, batches first, each with its number of rounds.
    stack: list[tuple[int, int]] = []
    number = len(nodes)
    for node in postorder(plan):
        if isinstance(node, int):
            stack.append((node, 0))
            continue
        (left, before), (right, also) = stack.pop(), stack.pop()
        depth = 1 + max(before, also)
        rounds.setdefault(depth, []).append((number, left, right))
        stack.append((number, depth))
        number += 1
    finished = dict(nodes)
    merges: list[Merge] = []
    n_merges = len(nodes) - 1
    nodes.clear()
    for _, together in sorted(rounds.items()):
        at_once = n_jobs > 1 and len(together) >= n_jobs
        method, find_pairs = in_a_thread if at_once else alone
        sides = [(finished.pop(left), finished.pop(right)) for _, left, right in together]

        def merge(
            some: tuple[Node, Node], method: Method = method, find_pairs: FindPairs = find_pairs
        ) -> Outcome:
            with single_blas():
                return method.merge(*some, _need_pairs(find_pairs))

        made = each_block(merge, sides, n_jobs=n_jobs if at_once else 1)
        for (number, _, _), outcome in zip(together, made, strict=True):
            merges.append(_remember(outcome, n_merges + 1))
            finished[number] = _join_nodes(outcome)
            if progress is not None:
                progress("merges", len(merges) / n_merges)
    return finished.popitem()[1], merges


def _merge_automatically(
    nodes: list[Node],
    method: Method,
    find_pairs: FindPairs,
    merge: Callable[[Node, Node], Node],
) -> Node:
    """Repeatedly merge the two nodes with most pairs; the later one is the reference.

    Row ``i`` of the table counts the pairs of node ``i`` as left with each earlier node as right.
    """
    table = [_count_pairs(nodes[i], nodes[:i], method, find_pairs) for i in range(len(nodes))]
    while len(nodes) > 1:
        # Most pairs; ties go to the earliest right node, then the earliest left one.
        j, i = min(
            ((j, i) for i in range(len(nodes)) for j in range(i)),
            key=lambda at: (-table[at[1]][at[0]], at),
        )
        merged = merge(nodes[i], nodes[j])
        kept = [at for at in range(len(nodes)) if at not in (i, j)]
        table = [[table[a][b] for b in kept if b < a] for a in kept]
        nodes = [nodes[at] for at in kept]
        table.append(_count_pairs(merged, nodes, method, find_pairs))
        nodes.append(merged)
    return nodes[0]


def _count_pairs(
    left: Node, others: Sequence[Node], method: Method, find_pairs: FindPairs
) -> list[int]:
    counts = []
    for other in others:
        # The reference implementation keeps the left node's alignment between counts.
        left, right = method.align(left, other)
        counts.append(len(find_pairs(left, right)))
    return counts


def _remember(outcome: Outcome, n_batches: int) -> Merge:
    lost = np.full(n_batches, np.nan if outcome.lost_variance is None else 0.0)
    for batch, share in (outcome.lost_variance or {}).items():
        lost[batch] = share
    pairs = replace(
        outcome.pairs,
        left=outcome.left.rows[outcome.pairs.left],
        right=outcome.right.rows[outcome.pairs.right],
    )
    return Merge(
        outcome.left.batches,
        outcome.right.batches,
        pairs,
        outcome.batch_size,
        outcome.skipped,
        lost,
        outcome.evidence,
        outcome.shared,
    )


def _join_nodes(outcome: Outcome) -> Node:
    """Put the right node's rows below the left one's."""
    left, right = outcome.left, outcome.right
    if left.restrict is None and right.restrict is None:
        restrict = None
    else:
        below = np.arange(len(right.rows)) if right.restrict is None else right.restrict
        above = np.arange(len(left.rows)) if left.restrict is None else left.restrict
        restrict = np.concatenate([above, below + len(left.rows)])
    starts = None
    if left.starts is not None and right.starts is not None:
        starts = np.concatenate([left.starts[:-1], right.starts + len(left.rows)])
    vectors = left.vectors + right.vectors
    return replace(
        left,
        batches=left.batches + right.batches,
        rows=np.concatenate([left.rows, right.rows]),
        data=np.concatenate([left.data, right.data])
        if isinstance(left.data, np.ndarray)
        else left.data.joined(right.data),
        out=None
        if left.out is None or right.out is None
        else np.concatenate([left.out, right.out]),
        restrict=restrict,
        vectors=vectors if outcome.vector is None else (*vectors, outcome.vector),
        starts=starts,
    )
