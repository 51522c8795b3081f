"""Evidence: whether two batches differ more than two random parts of one batch.

Mutual neighbors are near by selection. So displacements are not zero on average, even without an
effect: at the rim of a population they point inwards. Their size depends on the number of cells and
of dimensions. So they are compared with displacements after the cells of both batches are assigned
at random to two sides of the same sizes. Without an effect, both are draws from the same
distribution, whatever it is (a permutation test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnncorrect.core.merging.pairs import mutual_pairs
from mnncorrect.core.neighbors.engines import Neighbors, nearest
from mnncorrect.core.runtime.compute import ComputeOptions

from . import displacement_kernels
from .displacement import MergeSide, displace
from .neighborhoods import BatchNeighborhoods, average_over, evenly, square_residuals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.pairs import Pairs

    from .neighborhoods import Search

# Neighbors in each direction among which pairs are mutual, as in every MNN method.
N_NEIGHBORS = 20
# Neighbors in its batch, including itself, that are averaged at each end of a pair: a tenth of the
# noise.
N_END = 10
# Neighbors for the noise of a cell.
N_NOISE = 30
# Cells of each side that are compared, and number of random splits. Another split exceeds the
# largest of five in one case of six, and almost never exceeds it twofold.
MOST_TESTED, N_DEALT = 1_000, 5
# Right cells whose displacement is used; neighboring cells share anchors, so more add nothing.
MOST_LOOKED = 250
# Neighbors among the cells of both sides, found once. The neighbors of each split are picked from
# them. With sides of equal size, they include the 31 neighbors of one side for all but a few cells
# in a thousand. These cells are searched again, and so are cells of true sides that lie apart.
N_POOLED = 100


class Evidence(NamedTuple):
    """Difference of two batches relative to random splits."""

    # Ratio of signal to noise of the displacements, divided by the largest ratio among random
    # splits, or by 1 if that is more. 1 is expected if pairs do not depend on the noise.
    ratio: float
    # Mean ratio among random splits, at least 1. The linear map underestimates the noise by this
    # factor, because the choice of pairs depends on the noise.
    dispersion: float


def weigh_evidence(
    left: NDArray[Any],
    right: NDArray[Any],
    search: Search,
    *,
    tested: int = MOST_TESTED,
    looked: int = MOST_LOOKED,
    times: int = N_DEALT,
    random_state: int,
    n_jobs: int,
) -> Evidence:
    """Compare two sets of cells with random parts of both.

    Parameters
    ----------
    left, right
        Cells x dimensions, in canonical order.
    tested, looked
        Cells of each side to compare; number of right cells whose displacement is used.
    times
        Number of random splits.
    random_state
        Random seed of the splits.
    """
    exactly = ComputeOptions("exact", n_jobs=n_jobs)
    some = [side[evenly(len(side), tested)] for side in (left, right)]
    cells, n_left = np.concatenate(some), len(some[0])
    pooled = nearest(cells, cells, N_POOLED, compute=exactly, ranked=False).indices

    def signal(chosen: NDArray[np.bool_]) -> float:
        parts = [cells[chosen], cells[~chosen]]
        around, pairs = _deal_out(parts, chosen, pooled, n_jobs)
        return _signal(parts, around, pairs, search, looked, n_jobs)

    seen = signal(np.arange(len(cells)) < n_left)
    rng = np.random.default_rng(random_state)
    dealt = []
    for _ in range(times):
        chosen = np.zeros(len(cells), np.bool_)
        chosen[rng.choice(len(cells), n_left, replace=False)] = True
        dealt.append(signal(chosen))
    largest = max(1.0, *dealt)
    if np.isinf(largest):
        # Cells without noise, such as a few distinct points: any parts of them differ.
        return Evidence(0.0, 1.0)
    return Evidence(seen / largest, max(1.0, float(np.mean(dealt))))


def _deal_out(
    parts: Sequence[NDArray[Any]],
    chosen: NDArray[np.bool_],
    pooled: NDArray[np.int32],
    n_jobs: int,
) -> tuple[list[BatchNeighborhoods], Pairs]:
    """Find the neighborhoods and pairs of a random split.

    Parameters
    ----------
    parts
        The cells of both sides.
    chosen
        Rows of the left cells among all cells.
    pooled
        Nearest cells of each cell among all.
    """
    place = np.where(chosen, chosen.cumsum(), (~chosen).cumsum()).astype(np.int32) - 1

    def pick(query: int, reference: int, k: int) -> NDArray[np.int32]:
        rows = np.flatnonzero(chosen if query == 0 else ~chosen)
        k = min(k, len(parts[reference]))
        out, enough = np.empty((len(rows), k), np.int32), np.empty(len(rows), np.bool_)
        displacement_kernels.pick(rows, pooled, chosen, reference == 0, place, out, enough)
        if not enough.all():
            cells = parts[query][~enough]
            exactly = ComputeOptions("exact", n_jobs=n_jobs)
            found = nearest(cells, parts[reference], k, compute=exactly, ranked=False)
            out[~enough] = found.indices
        return out

    around = []
    for side, cells in enumerate(parts):
        own = pick(side, side, N_NOISE + 1)
        squares = square_residuals(cells, own, N_NOISE, n_jobs=n_jobs)
        around.append(BatchNeighborhoods(own, average_over(squares, own[:, :N_NOISE])))
    in_left, in_right = (
        Neighbors(found, np.empty(found.shape))
        for found in (pick(1, 0, N_NEIGHBORS), pick(0, 1, N_NEIGHBORS))
    )
    return around, mutual_pairs(in_left, in_right)


def _signal(
    cells: Sequence[NDArray[Any]],
    around: Sequence[BatchNeighborhoods],
    pairs: Pairs,
    search: Search,
    looked: int,
    n_jobs: int,
) -> float:
    """Divide the sum of squared displacements by the sum of their variances."""
    left, right = (
        MergeSide(side, local.listed(N_END), local.variance)
        for side, local in zip(cells, around, strict=True)
    )
    at = evenly(len(right.data), looked)
    found = displace(left, right, pairs, search, at=at, n_jobs=n_jobs)
    if found is None:
        return 0.0
    signal, noise = float((found.vectors**2).sum()), float(found.noise.sum())
    if noise > 0:
        return signal / noise
    return np.inf if signal > 0 else 0.0
