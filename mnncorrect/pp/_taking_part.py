"""Which cells take part in a correction: those with a value above zero in the genes used.

Others lie at the same place whatever they are, so that each would be the nearest of all others, and
a batch of such cells would be merged first and keep the rest apart. They are left out of
components, pairs, evidence and the order of merges, and are not moved.

The methods of ``core`` leave out cells whose batch number is -1. Batches that take part are
numbered anew for them, and get their own numbers back in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed
from mnncorrect._log import warn_caller

if TYPE_CHECKING:
    from mnncorrect._adata import Batches
    from mnncorrect.core.merging.loop import Correction
    from mnncorrect.core.merging.plans import Order, Tree

# Cells that a batch needs.
LEAST_BATCH_CELLS = 2
# Batches that a message names.
LISTED_LEFT_OUT = 5


@dataclass(frozen=True)
class TakingPart:
    """The cells and batches of a correction that take part in it."""

    codes: NDArray[np.int64]  # The new number of each cell's batch; -1: the cell takes no part.
    kept: NDArray[np.int64]  # The number that each of these batches has among all.
    n_batches: int  # How many there are among all.

    @property
    def cells(self) -> NDArray[np.bool_]:
        """Which cells take part."""
        return self.codes >= 0

    def names(self, names: Sequence[str]) -> list[str]:
        """Return the names of the batches that take part."""
        return [names[number] for number in self.kept]

    def weights(self, weights: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Return their weights."""
        return None if weights is None else weights[self.kept]

    def order(self, order: Order) -> Order:
        """Return a plan of merges without the batches that take no part."""
        if order is None or isinstance(order, str):
            return order
        pruned = _pruned(order, {int(old): new for new, old in enumerate(self.kept)})
        assert pruned is not None
        return pruned

    def number(self, number: int) -> int:
        """Return the new number of a batch."""
        at = np.flatnonzero(self.kept == number)
        if not len(at):
            raise ValueError(
                "the reference has no cells with values above zero; name another batch"
            )
        return int(at[0])

    def restored(self, correction: Correction) -> Correction:
        """Return a correction in which batches have the numbers that they have among all."""
        if len(self.kept) == self.n_batches:
            return correction
        merges = []
        for merge in correction.merges:
            lost = np.full(self.n_batches, np.nan if np.isnan(merge.lost_variance).all() else 0.0)
            lost[self.kept] = merge.lost_variance
            left, right = (
                tuple(int(self.kept[number]) for number in side)
                for side in (merge.left, merge.right)
            )
            merges.append(replace(merge, left=left, right=right, lost_variance=lost))
        return replace(correction, merges=tuple(merges))


def _pruned(tree: Tree, numbers: dict[int, int]) -> Tree | None:
    """Leave batches out of a plan, and number the others anew."""
    if isinstance(tree, int):
        return numbers.get(tree)
    left, right = (_pruned(part, numbers) for part in tree)
    if left is None or right is None:
        return right if left is None else left
    return (left, right)


def taking_part(batches: Batches, filled: NDArray[np.bool_] | None) -> TakingPart:
    """Choose the cells that take part in a correction, by batch and by having ``filled`` values."""
    n_batches = len(batches.names)
    if filled is None or filled.all():
        return TakingPart(batches.codes, np.arange(n_batches), n_batches)
    kept, text = refuse_too_few(batches, filled)
    warn_caller(text)
    numbers = np.full(n_batches, -1)
    numbers[kept] = np.arange(len(kept))
    codes: Any = np.where(filled, numbers[batches.codes], -1)
    return TakingPart(codes, kept, n_batches)


def refuse_too_few(batches: Batches, filled: NDArray[np.bool_]) -> tuple[NDArray[np.int64], str]:
    """Refuse values of which fewer than two batches have two cells with any.

    Returns the batches that take part, and a message on the others.
    """
    sizes = np.bincount(batches.codes[filled], minlength=len(batches.names))
    kept = np.flatnonzero(sizes >= LEAST_BATCH_CELLS)
    left_out = [batches.names[number] for number in np.flatnonzero(sizes < LEAST_BATCH_CELLS)]
    told = (
        f"; batches that contain no other cells are excluded: {listed(left_out, LISTED_LEFT_OUT)}"
        if left_out
        else ""
    )
    text = (
        f"{int((~filled).sum())} cells have no value above zero in the genes that are used; they "
        f"are excluded from the correction and not moved{told}"
    )
    if len(kept) < 2:
        raise ValueError(
            f"{text}; a correction needs two batches with values: name other genes or values"
        )
    return kept, text
