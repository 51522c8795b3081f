"""Evidence: whether two batches differ more than two random parts of one batch.

Mutual neighbors are near by selection. So displacements are not zero on average, even without an
effect: at the rim of a population they point inwards. Their size depends on the number of cells and
of dimensions. So they are compared with displacements after the cells of both batches are assigned
at random to two sides of the same sizes. Without an effect, both are draws from the same
distribution, whatever it is (a permutation test).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.pairs import mutual_pairs
from mnncorrect.core.neighbors.engines import Neighbors, nearest
from mnncorrect.core.runtime.compute import ComputeOptions
from mnncorrect.core.runtime.threads import map_blocks

from . import evidence_kernels
from .displacement import MergeSide, displace
from .neighborhoods import BatchNeighborhoods, average_over, evenly, square_residuals

if TYPE_CHECKING:
    from mnncorrect.core.merging.pairs import Pairs

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


EXACTLY = partial(nearest, compute=ComputeOptions("exact", n_jobs=1))


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

    divisions = [np.arange(len(cells)) < n_left]
    rng = np.random.default_rng(random_state)
    for _ in range(times):
        chosen = np.zeros(len(cells), np.bool_)
        chosen[rng.choice(len(cells), n_left, replace=False)] = True
        divisions.append(chosen)
    seen, *dealt = map_blocks(
        lambda chosen: _signal_to_noise(cells, chosen, pooled, looked), divisions, n_jobs=n_jobs
    )
    largest = max(1.0, *dealt)
    if np.isinf(largest):
        # Cells without noise, such as a few distinct points: any parts of them differ.
        return Evidence(0.0, 1.0)
    return Evidence(seen / largest, max(1.0, float(np.mean(dealt))))


def _deal_out(
    cells: NDArray[Any], chosen: NDArray[np.bool_], pooled: NDArray[np.int32]
) -> tuple[list[NDArray[Any]], list[BatchNeighborhoods], Pairs]:
    """Divide cells into two sides, and find their neighborhoods and pairs.

    Parameters as of :func:`_signal_to_noise`.
    """
    rows = [np.flatnonzero(chosen), np.flatnonzero(~chosen)]
    parts = [cells[own] for own in rows]
    place = np.empty(len(cells), np.int32)
    for own in rows:
        place[own] = np.arange(len(own))

    def pick(query: int, reference: int, k: int) -> NDArray[np.int32]:
        out = np.empty((len(rows[query]), min(k, len(rows[reference]))), np.int32)
        evidence_kernels.pick(
            rows[query], parts[query], parts[reference], chosen, reference == 0, place, pooled, out
        )
        return out

    around = []
    for side, some in enumerate(parts):
        near = pick(side, side, N_NOISE + 1)
        squares = square_residuals(some, near, N_NOISE, n_jobs=1)
        around.append(BatchNeighborhoods(near, average_over(squares, near[:, :N_NOISE])))
    in_left, in_right = (
        Neighbors(found, np.empty(found.shape))
        for found in (pick(1, 0, N_NEIGHBORS), pick(0, 1, N_NEIGHBORS))
    )
    return parts, around, mutual_pairs(in_left, in_right)


def _signal_to_noise(
    cells: NDArray[Any], chosen: NDArray[np.bool_], pooled: NDArray[np.int32], looked: int
) -> float:
    """Divide the squared displacements of a division by their variances.

    Parameters
    ----------
    cells
        Cells of both sides.
    chosen
        Which of them are the left side.
    pooled
        Nearest cells of each cell among all.
    looked
        Right cells whose displacement is used.
    """
    parts, around, pairs = _deal_out(cells, chosen, pooled)
    left, right = (
        MergeSide(side, local.listed(N_END), local.variance)
        for side, local in zip(parts, around, strict=True)
    )
    found = displace(left, right, pairs, EXACTLY, at=evenly(len(right.data), looked), n_jobs=1)
    if found is None:
        return 0.0
    signal, noise = float((found.vectors**2).sum()), float(found.noise.sum())
    if noise > 0:
        return signal / noise
    return np.inf if signal > 0 else 0.0
