"""Representation of each batch: by its cells, or by representatives of many cells.

**Many cells.** Displacements and noise are smooth fields. A batch of more than 8,000 cells is
represented by 4,000 of them (:mod:`mnncorrect.core.calibrated.representatives`), whose neighbors
are searched among all cells. After all merges, each cell takes displacement, confidence and noise
from the nearest representatives, once.

In nodes of more than 1,500 cells, displacements are computed, shrunk and compared at 1,000 points,
or at one cell in 20 if these are more. Noise and folding are computed at 1,000 of these points.
Other cells take the mean of points near them. The last round uses 8,000 cells of a node, earlier
rounds a few thousand. Pairs are formed among these cells only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.loop import Node
from mnncorrect.core.neighbors.engines import by_groups, grouped, nearest, resolve_engine
from mnncorrect.core.runtime.compute import batches_at_once
from mnncorrect.core.runtime.threads import RowsOf, copy_rows, map_blocks

from .effort import effort_for
from .evidence import N_NOISE
from .neighborhoods import canonical_order, look_around
from .noise_scale import N_MEAN, noise_neighbors
from .representatives import represent
from .small_sides import least_compared

if TYPE_CHECKING:
    from mnncorrect.core.neighbors.engines import Neighbors
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .neighborhoods import BatchNeighborhoods, Search
    from .representatives import Representatives

# Size of a batch beyond which the neighbors for the noise also serve for local means.
MANY = 10_000
# Recall of searches for means, for which cells that are nearly as near serve as well. Pairs are
# searched at the recall of the caller.
RECALL_FOR_MEANS = 0.9


@dataclass(frozen=True)
class Stand:
    """A batch in the method: its cells, or representatives of many."""

    rows: NDArray[np.int64]  # Rows of its cells in the input.
    # First row of each group of nearby cells, and the end of the last; ``None``: not grouped.
    starts: NDArray[np.int64] | None
    # The node to merge: the cells, or the representatives with the means around them as ``out``.
    node: Node
    neighborhoods: BatchNeighborhoods  # Neighborhoods of the same.
    found: Representatives | None = None  # The representatives; ``None`` if all cells are used.


def look_at_batches(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    names: Sequence[str],
    cells: Any,
    compute: ComputeOptions,
) -> list[Stand]:
    """Order the cells of each batch, choose representatives of large ones, and find their noise."""
    order = canonical_order(x, batch, names, cells)
    order = order[batch[order] >= 0]
    by_batch = np.split(
        order[np.argsort(batch[order], kind="stable")], np.cumsum(np.bincount(batch[order]))[:-1]
    )
    most = effort_for(len(by_batch)).representatives
    least = least_compared([len(own) for own in by_batch])
    at_once, within = batches_at_once(len(by_batch), compute)
    look = _StandOfBatch(search_for_means(within), search_by_groups(within), within, most, least)
    stands = map_blocks(
        look,
        [(number, own, RowsOf(x, own)) for number, own in enumerate(by_batch)],
        n_jobs=at_once,
        progress=compute.progress,
        stage="neighborhoods",
        pure=True,
    )
    if any(stand.found is not None for stand in stands):
        return [
            stand if stand.found else replace(stand, node=replace(stand.node, out=stand.node.data))
            for stand in stands
        ]
    return stands


@dataclass(frozen=True)
class _StandOfBatch:
    """Looks at one batch; other processes can do so."""

    search: Search
    by_groups: Search
    compute: ComputeOptions
    representatives: int  # How many a batch has at most.
    least: int  # Cells of the smallest batch whose noise is compared.

    def __call__(self, item: tuple[int, NDArray[np.int64], RowsOf]) -> Stand:
        number, own, rows = item
        compute, starts = self.compute, None
        data = rows.take(n_jobs=compute.n_jobs)
        many = len(own) > 2 * self.representatives
        engine = resolve_engine(compute.engine, len(own), len(own), data.shape[1])
        if many or engine == "partition":
            # By region, which serves all searches, and within a region in canonical order.
            groups, starts = grouped(data, compute)
            own, data = own[groups], copy_rows(data, groups, n_jobs=compute.n_jobs)
        k_noise = noise_neighbors(len(own), self.least)
        if many and starts is not None:
            found = represent(
                data, starts, self.representatives, N_NOISE, k_noise, self.search, self.by_groups,
                n_jobs=compute.n_jobs,
            )  # fmt: skip
            ends = found.ends.astype(data.dtype)
            node = Node((number,), own[found.cells], data[found.cells], out=ends)
            return Stand(own, starts, node, found.neighborhoods, found)
        # With many cells, the neighbors for the noise also serve for local means.
        k = k_noise + 1 if len(own) > MANY else max(N_MEAN, k_noise + 1)
        local = look_around(data, k, N_NOISE, self.search, starts=starts, n_jobs=compute.n_jobs)
        return Stand(own, starts, Node((number,), own, data, starts=starts), local)


def search_for_means(compute: ComputeOptions) -> Search:
    """Search neighbors for means, at a lower recall."""
    return partial(nearest, compute=_loose(compute))


def search_by_groups(compute: ComputeOptions) -> Search:
    """Search by groups of nearby cells, if the engine may choose and this is faster."""
    compute = _loose(compute)

    def find(query: NDArray[Any], reference: NDArray[Any], k: int, **known: Any) -> Neighbors:
        chosen = by_groups(compute, len(query), len(reference))
        return nearest(query, reference, k, compute=chosen, **known)

    return find


def _loose(compute: ComputeOptions) -> ComputeOptions:
    return replace(compute, recall=min(compute.recall, RECALL_FOR_MEANS), progress=None)
