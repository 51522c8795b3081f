"""In which order batches are merged, by how much they are like one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .evidence import N_NEIGHBORS
from .local import evenly
from .pairs import find_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .plans import Tree

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
        Their names, which decide between what is equal.
    reference
        Number of the batch to start with.
    """
    sizes = [len(cells) for cells in batches]
    order = sorted(range(len(batches)), key=lambda number: (-sizes[number], names[number]))
    start = order[0] if reference is None else int(reference)
    todo = [number for number in order if number != start]
    most = min(SKETCH, max(LEAST_SKETCH, LARGEST_SKETCH // len(batches)))
    sketch = [cells[evenly(len(cells), most)] for cells in batches]
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
