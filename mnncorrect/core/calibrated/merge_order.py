"""In which order batches are merged, by how much they are like one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.merging.plans import scatter

from .evidence import N_NEIGHBORS
from .neighborhoods import evenly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.plans import Tree

# Cells of a batch, and of all, that the order of merges is read off.
SKETCH, LARGEST_SKETCH, LEAST_SKETCH = 500, 20_000, 50


def chain(batches: Sequence[NDArray[Any]], names: Sequence[str], reference: int | None) -> Tree:
    """Plan to add to the reference, or to the largest batch, always the one most like what is.

    Likeness is the number of mutual pairs per cell, between evenly spaced cells of both, as they
    are before the correction; it is summed over the batches that are merged already.

    Parameters
    ----------
    batches
        Cells x dimensions of each, in canonical order.
    names
        Their names, which decide between batches of equal size and scatter.
    reference
        Number of the batch to start with.
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
                    sketch[added], sketch[number], n_neighbors=N_NEIGHBORS, engine="exact"
                )
                like[number] += len(pairs) / len(sketch[number])
        added = max(todo, key=lambda number: like[number])
        todo.remove(added)
        tree = (tree, added)
    return tree


def halving(batches: Sequence[NDArray[Any]], names: Sequence[str], reference: int | None) -> Tree:
    """Plan to merge in rounds that halve the number of nodes, always the two that are most alike.

    Each cell then takes part in about log2(batches) merges, where a chain searches all that is
    merged already with every batch. Likeness is that of :func:`chain`, over the smaller sketch,
    and its mean where several batches are merged already. An odd node waits for the next round.

    Parameters
    ----------
    batches, names
        As of :func:`chain`.
    reference
        Number of the batch that is never on the right side. If not given, it is the larger side
        that the other is merged to.
    """
    order = _in_order(batches, names)
    sketch = _sketches(batches)
    like = np.zeros((len(batches), len(batches)))
    for at, one in enumerate(order):
        for other in order[at + 1 :]:
            pairs = find_pairs(sketch[one], sketch[other], n_neighbors=N_NEIGHBORS, engine="exact")
            share = len(pairs) / min(len(sketch[one]), len(sketch[other]))
            like[one, other] = like[other, one] = share
    nodes: list[tuple[Tree, list[int]]] = [(number, [number]) for number in order]
    while len(nodes) > 1:
        ranked = sorted(
            ((i, j) for i in range(len(nodes)) for j in range(i + 1, len(nodes))),
            key=lambda at: (-like[np.ix_(nodes[at[0]][1], nodes[at[1]][1])].mean(), at),
        )
        free = set(range(len(nodes)))
        joined = []
        for i, j in ranked:
            if i in free and j in free:
                free -= {i, j}
                joined.append(_join(nodes[i], nodes[j], batches, reference))
        nodes = joined + [nodes[at] for at in sorted(free)]
    return nodes[0][0]


def _join(
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
    most = min(SKETCH, max(LEAST_SKETCH, LARGEST_SKETCH // len(batches)))
    return [cells[evenly(len(cells), most)] for cells in batches]
