"""In which order batches are merged, by how much they are like one another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.merging.plans import scatter
from mnncorrect.core.runtime.compute import ComputeOptions
from mnncorrect.core.runtime.threads import map_blocks

from .evidence import N_NEIGHBORS
from .neighborhoods import evenly

if TYPE_CHECKING:
    from mnncorrect.core.merging.plans import Tree

# Cells of a batch, and of all, that distances between batches are read off.
MANY_COMPARED, FEW_COMPARED, ALL_COMPARED = 500, 10, 10_000
# Cells of a batch, and of all, that the order of merges in a chain is read off.
ORDER_SKETCH, LARGEST_SKETCH, LEAST_SKETCH = 500, 20_000, 50


def chain(
    batches: Sequence[NDArray[Any]],
    names: Sequence[str],
    reference: int | None,
    small: Collection[int] = (),
) -> Tree:
    """Plan to add to the reference, or to the largest batch, always the one most like what is.

    Likeness is the number of mutual pairs per cell, between evenly spaced cells of both, as they
    are before the correction; it is summed over the batches that are merged already. Small batches
    come last: they find more of their populations in many batches, and a cell of few is in a pair
    with more cells.

    Parameters
    ----------
    batches
        Cells x dimensions of each, in canonical order.
    names
        Their names, which decide between batches of equal size and scatter.
    reference
        Number of the batch to start with.
    small
        Numbers of the small batches.
    """
    order = _in_order(batches, names)
    start = order[0] if reference is None else int(reference)
    todo = [number for number in order if number != start]
    sketch = _sketches(batches)
    like = dict.fromkeys(todo, 0.0)
    tree: Tree = start
    added = start
    while todo:
        if len(todo) > 1:
            for number in todo:
                pairs = find_pairs(
                    sketch[added],
                    sketch[number],
                    n_neighbors=N_NEIGHBORS,
                    compute=ComputeOptions("exact"),
                )
                like[number] += len(pairs) / len(sketch[number])
        added = max(todo, key=lambda number: (number not in small, like[number]))
        todo.remove(added)
        tree = (tree, added)
    return tree


def halving(
    batches: Sequence[NDArray[Any]],
    names: Sequence[str],
    reference: int | None,
    strange: NDArray[np.bool_] | None = None,
    *,
    n_jobs: int = 1,
) -> Tree:
    """Plan to merge in rounds that halve the number of nodes, always the two that are most alike.

    Each cell then takes part in about log2(batches) merges, where a chain searches all that is
    merged already with every batch. Likeness is by :func:`distances`, of which the mean is taken
    where several batches are merged already. An odd node waits for the next round.

    Parameters
    ----------
    batches, names
        As of :func:`chain`.
    reference
        Number of the batch that is never on the right side. If not given, it is the larger side
        that the other is merged to.
    strange
        Batches x batches: which may not be paired. Nodes of such batches alone are merged last, so
        that no node has batches that were not corrected onto each other before it has to.
    """
    order = _in_order(batches, names)
    strangers = np.zeros((len(order), len(order)), np.bool_)
    if strange is not None:
        strangers = strange[np.ix_(order, order)]
    apart = distances([batches[number] for number in order], n_jobs=n_jobs)
    nodes: list[tuple[Tree, list[int]]] = [(number, [number]) for number in order]
    while len(nodes) > 1:
        one, other = np.triu_indices(len(nodes), 1)
        ranked = np.argsort(apart[one, other], kind="stable")
        free = np.ones(len(nodes), np.bool_)
        joined = []
        met = ~strangers[one[ranked], other[ranked]]
        if met.any():
            ranked = ranked[met]
        for i, j in zip(one[ranked].tolist(), other[ranked].tolist(), strict=True):
            if free[i] and free[j]:
                free[[i, j]] = False
                joined.append((i, j))
        groups = [list(pair) for pair in joined] + [[at] for at in np.flatnonzero(free).tolist()]
        sizes = [np.array([len(nodes[at][1]) for at in group], float) for group in groups]
        # The mean over all pairs of batches of two nodes.
        share = np.zeros((len(groups), len(nodes)))
        for row, (group, size) in enumerate(zip(groups, sizes, strict=True)):
            share[row, group] = size / size.sum()
        apart = share @ apart @ share.T
        # Nodes are strangers if all of their batches are.
        within = share > 0
        strangers = ~(within @ ~strangers @ within.T)
        nodes = [
            nodes[group[0]]
            if len(group) == 1
            else _ordered_pair(nodes[group[0]], nodes[group[1]], batches, reference)
            for group in groups
        ]
    return nodes[0][0]


def distances(batches: Sequence[NDArray[Any]], *, n_jobs: int = 1) -> NDArray[np.float64]:
    """Tell how far batches lie apart: the mean distance of a cell to the nearest of another batch.

    Of both directions the mean, among evenly spaced cells, as they are before the correction.
    Cells of a population that one of two batches does not have count as what they are: far.
    """
    most = int(np.clip(ALL_COMPARED // len(batches), FEW_COMPARED, MANY_COMPARED))
    some = [cells[evenly(len(cells), most)] for cells in batches]
    starts = np.cumsum([0, *map(len, some)])
    cells = np.concatenate(some).astype(np.float64)
    cells -= cells.mean(0)
    norms = (cells**2).sum(1).astype(np.float32)
    cells = cells.astype(np.float32)
    out = np.zeros((len(some), len(some)))

    def look(block: tuple[int, tuple[int, int]]) -> None:
        at, (begin, end) = block
        # One product says how near both sides of two batches are.
        squares = cells[begin:end] @ cells[begin:].T
        squares *= -2
        squares += norms[begin:]
        squares += norms[begin:end, None]
        ahead = np.minimum.reduceat(squares, starts[at:-1] - begin, axis=1)
        out[at, at:] += np.sqrt(np.maximum(ahead, 0)).mean(0, dtype=np.float64)
        back = np.sqrt(np.maximum(squares.min(0), 0)).astype(np.float64)
        out[at, at:] += np.add.reduceat(back, starts[at:-1] - begin) / np.diff(starts[at:])

    map_blocks(look, list(enumerate(pairwise(starts.tolist()))), n_jobs=n_jobs)
    out += out.T
    return out / 2


def _ordered_pair(
    one: tuple[Tree, list[int]],
    other: tuple[Tree, list[int]],
    batches: Sequence[NDArray[Any]],
    reference: int | None,
) -> tuple[Tree, list[int]]:
    """Put the larger node on the left, or the one that has the reference."""
    sizes = [sum(len(batches[number]) for number in node[1]) for node in (one, other)]
    swap = reference in other[1] or (reference not in one[1] and sizes[1] > sizes[0])
    left, right = (other, one) if swap else (one, other)
    return (left[0], right[0]), left[1] + right[1]


def _in_order(batches: Sequence[NDArray[Any]], names: Sequence[str]) -> list[int]:
    """Order batches by size and scatter, the largest first; those equal in both by name."""
    scatters = [scatter(cells) for cells in batches]
    return sorted(
        range(len(batches)),
        key=lambda number: (-len(batches[number]), -scatters[number], names[number]),
    )


def _sketches(batches: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    most = min(ORDER_SKETCH, max(LEAST_SKETCH, LARGEST_SKETCH // len(batches)))
    return [cells[evenly(len(cells), most)] for cells in batches]
