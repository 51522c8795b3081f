"""What each batch stands for itself by: its cells, or representatives of many.

**Many cells.** Displacements and noise are smooth fields. A batch of more than 8,000 cells is
represented by 4,000 of them (:mod:`mnncorrect.core.calibrated.representatives`), whose neighbours
are sought among all cells; all cells take displacement, confidence and noise from the
representatives nearest to them, once, after all merges. In nodes of more than 1,500 cells
displacements are worked out, shrunk and compared at 1,000 of them, or at one in 20 if these are
more, and their noise and folding at 1,000 of those; others take the mean of those near them. Rounds
before the last look at some thousand cells, the last one at 8,000 of a node. Pairs are those of the
cells that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.loop import Node
from mnncorrect.core.neighbors.engines import by_groups, grouped, nearest, resolve_engine
from mnncorrect.core.runtime.threads import copy_rows

from .effort import effort_for
from .evidence import N_NOISE
from .neighborhoods import canonical_order, look_around
from .noise_scale import N_MEAN, noise_neighbors
from .representatives import represent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.neighbors.engines import Neighbors
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .neighborhoods import BatchNeighborhoods, Search
    from .representatives import Representatives

# Cells of a batch beyond which the neighbours that noise is read off are near enough for the rest.
MANY = 10_000
# Share of the true neighbours that are sought where means are taken over them: a mean over cells
# nearly as near is as good. Pairs are sought at the recall that is asked for.
RECALL_FOR_MEANS = 0.9


@dataclass(frozen=True)
class Stand:
    """A batch as the method looks at it: its cells, or representatives of many.

    Attributes
    ----------
    rows
        Rows of its cells in the input.
    starts
        Where groups of the cells that lie together begin, and their end, if they stand so.
    node
        What is merged: the cells, or the representatives, whose ``out`` are the means about them.
    local
        Neighbourhoods of the same.
    found
        The representatives; ``None`` where all cells stand for themselves.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64] | None
    node: Node
    local: BatchNeighborhoods
    found: Representatives | None = None


def look_at_batches(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    names: Sequence[str],
    cells: NDArray[Any] | None,
    search: Search,
    by_groups: Search,
    compute: ComputeOptions,
) -> list[Stand]:
    """Order the cells of each batch, choose representatives of many, and find their noise."""
    n_jobs, progress = compute.n_jobs, compute.progress
    order = canonical_order(x, batch, names, cells)
    order = order[batch[order] >= 0]
    by_batch = np.split(
        order[np.argsort(batch[order], kind="stable")], np.cumsum(np.bincount(batch[order]))[:-1]
    )
    effort = effort_for(len(by_batch))
    least = min(map(len, by_batch))
    stands = []
    for number, own in enumerate(by_batch):
        starts = None
        many = len(own) > 2 * effort.representatives
        engine = resolve_engine(compute.engine, len(own), len(own), x.shape[1])
        if many or engine == "partition":
            # By regions then, which serve all searches, and within a region in canonical order.
            groups, starts = grouped(x[own], compute)
            own = own[groups]
        data = copy_rows(x, own, n_jobs=n_jobs)
        k_noise = noise_neighbors(len(own), least)
        if many and starts is not None:
            found = represent(
                data, starts, effort.representatives, N_NOISE, k_noise, search, by_groups,
                n_jobs=n_jobs,
            )  # fmt: skip
            ends = found.ends.astype(x.dtype)
            node = Node((number,), own[found.cells], data[found.cells], out=ends)
            stands.append(Stand(own, starts, node, found.local, found))
        else:
            # Of many cells, those nearest enough for the noise do for the local mean as well.
            k = k_noise + 1 if len(own) > MANY else max(N_MEAN, k_noise + 1)
            local = look_around(data, k, N_NOISE, search, starts=starts, n_jobs=n_jobs)
            stands.append(Stand(own, starts, Node((number,), own, data, starts=starts), local))
        if progress is not None:
            progress("neighbourhoods", (number + 1) / len(by_batch))
    if any(stand.found is not None for stand in stands):
        return [
            stand if stand.found else replace(stand, node=replace(stand.node, out=stand.node.data))
            for stand in stands
        ]
    return stands


def search_for_means(compute: ComputeOptions) -> Search:
    """Search for neighbors that means are taken over: not all of the nearest are needed."""
    return partial(nearest, compute=_loose(compute))


def search_by_groups(compute: ComputeOptions) -> Search:
    """Search what stands in groups in a few of these, where there is a choice and it is quicker."""
    compute = _loose(compute)

    def find(query: NDArray[Any], reference: NDArray[Any], k: int, **known: Any) -> Neighbors:
        chosen = by_groups(compute, len(query), len(reference))
        return nearest(query, reference, k, compute=chosen, **known)

    return find


def _loose(compute: ComputeOptions) -> ComputeOptions:
    return replace(compute, recall=min(compute.recall, RECALL_FOR_MEANS), progress=None)
