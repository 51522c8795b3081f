"""Level cells along batch vectors: give all cells of a node the same coordinate along each.

It is the coordinate of their mean, or of the mean of the cells that may form pairs. So the mean
does not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.diagnostics import variance_by_batch
from mnncorrect.core.methods import level_kernels
from mnncorrect.core.runtime.threads import map_blocks, row_blocks, sum_blocks

if TYPE_CHECKING:
    from mnncorrect.core.merging.loop import Node

# A vector shorter than this share of the cells' typical length has no direction worth the name.
NEGLIGIBLE = 1e-12
ROW_BLOCK = 16384


class Levels(NamedTuple):
    """What leveling did to all cells of a node."""

    units: NDArray[np.float64]  # Unit vectors, in their order.
    levels: NDArray[np.float64]  # Coordinate of all cells along each.

    def apply(self, cells: NDArray[Any], out: NDArray[Any]) -> None:
        """Do the same to other cells; ``out`` may be these."""
        level_kernels.level_along(cells, self.units, self.levels, out)


class Leveling(Protocol):
    """Levels the cells of nodes, and measures and replaces them."""

    def level(
        self, node: Node, vectors: Sequence[NDArray[np.float64]], *, in_place: bool = False
    ) -> tuple[Node, Levels]:
        """Level a node along vectors, one after the other; skip a vector of negligible length."""

    def settled(self, node: Node) -> Node:
        """Return the node with all its cells as they lie now."""

    def leveled(self, node: Node, levels: Levels) -> NDArray[Any]:
        """Return all cells of a node that was settled, and leveled since."""

    def variances(self, node: Node) -> dict[int, float]:
        """Sum the variance over dimensions of each batch; NaN for a batch of one cell."""

    def replaced(self, node: Node, data: NDArray[Any]) -> Node:
        """Return the node with other coordinates."""


def find_levels(
    vectors: Sequence[NDArray[np.float64]], mean: NDArray[np.float64], typical: float
) -> Levels:
    """Find the units of vectors that are not negligible, and the coordinates of the mean.

    ``typical`` is the root mean square of their coordinates.
    """
    if not vectors:
        return Levels(np.empty((0, len(mean))), np.empty(0))
    stacked = np.stack(vectors)
    lengths = np.sqrt(np.einsum("vg,vg->v", stacked, stacked))
    some = lengths > NEGLIGIBLE * typical
    units = stacked[some] / lengths[some, None]
    return Levels(units, np.einsum("vg,g->v", units, mean))


@dataclass(frozen=True)
class AtHand:
    """Levels cells at once. The data of a node are an array."""

    batch: NDArray[np.integer[Any]]  # Batch number of each row of the input.
    n_jobs: int

    def level(
        self, node: Node, vectors: Sequence[NDArray[np.float64]], *, in_place: bool = False
    ) -> tuple[Node, Levels]:
        """Level a node along vectors, one after the other; skip a vector of negligible length."""
        if not vectors:
            return node, find_levels(vectors, np.zeros(node.data.shape[1]), 0.0)
        blocks = row_blocks(len(node.rows), ROW_BLOCK)

        def add(rows: slice) -> NDArray[np.float64]:
            totals = np.zeros(node.data.shape[1] + 1)
            level_kernels.add_rows_and_squares(node.data[rows], totals)
            return totals

        *total, square = sum_blocks(add, blocks, n_jobs=self.n_jobs)
        mean = np.array(total) / len(node.rows)
        if node.restrict is not None:
            mean = node.data[node.restrict].mean(0, dtype=np.float64)
        levels = find_levels(vectors, mean, float(np.sqrt(square / node.data.size)))
        if not len(levels.units):
            return node, levels
        data = node.data if in_place else np.empty_like(node.data)
        map_blocks(
            lambda block: levels.apply(node.data[block], data[block]), blocks, n_jobs=self.n_jobs
        )
        return replace(node, data=data), levels

    def settled(self, node: Node) -> Node:
        """Return the node, whose cells are all at hand."""
        return node

    def leveled(self, node: Node, levels: Levels) -> NDArray[Any]:  # noqa: ARG002  # at once
        """Return all cells of a node that was leveled."""
        data: NDArray[Any] = node.data
        return data

    def variances(self, node: Node) -> dict[int, float]:
        """Sum the variance over dimensions of each batch; NaN for a batch of one cell."""
        return variance_by_batch(node.data, self.batch[node.rows], n_jobs=self.n_jobs)

    def replaced(self, node: Node, data: NDArray[Any]) -> Node:
        """Return the node with other coordinates."""
        return replace(node, data=data)
