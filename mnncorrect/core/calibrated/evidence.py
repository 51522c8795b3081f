"""Evidence: whether two batches differ more than two random parts of one batch.

Mutual neighbors are near by selection. So displacements are not zero on average, even without an
effect: at the rim of a population they point inwards. Their size depends on the number of cells and
of dimensions. So they are compared with displacements after the cells of both batches are assigned
at random to two sides of the same sizes. Without an effect, both are draws from the same
distribution, whatever it is (a permutation test).

A side of fewer than :data:`~mnncorrect.core.calibrated.neighborhoods.ENOUGH` cells has no good
estimate of its noise, and displacements from few pairs vary much between random splits. So there
are more splits, and the common displacement is compared with what another split exceeds once in a
hundred times. No noise is needed for that.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from .neighborhoods import (
    ENOUGH,
    BatchNeighborhoods,
    average_over,
    evenly,
    reduce_for_noise,
    square_residuals,
)

if TYPE_CHECKING:
    from mnncorrect.core.merging.pairs import Pairs

# Neighbors in each direction among which pairs are mutual, as in every MNN method.
N_NEIGHBORS = 20
# Neighbors in its batch, including itself, that are averaged at each end of a pair: a tenth of the
# noise.
N_END = 10
# Neighbors for the noise of a cell.
N_NOISE = 30
# Evidence below which batches are not distinguishable from random splits. With 50 components, all
# values from 1.3 to 3.1 decide equally in seven data sets.
ENOUGH_EVIDENCE = 2.0
# Cells of each side that are compared, and number of random splits. Another split exceeds the
# largest of five in one case of six, and almost never exceeds it twofold.
MOST_TESTED, N_DEALT = 1_000, 5
# The number with a small side, of which at least some are needed for their scatter; and how often
# another split reaches the evidence that is asked for.
N_DEALT_FEW, LEAST_DEALT_FEW, REACHED = 40, 10, 0.01
# Right cells whose displacement is used; neighboring cells share anchors, so more add nothing.
MOST_LOOKED = 250
# Neighbors among the cells of both sides, found once. The neighbors of each split are picked from
# them. With sides of equal size, they include the 31 neighbors of one side for all but a few cells
# in a thousand. These cells are searched again, and so are cells of true sides that lie apart.
N_POOLED = 100


# The smallest positive number, and the logarithm of about the largest.
TINY, MOST_LOG = np.finfo(np.float64).tiny, 700.0

EXACTLY = partial(nearest, compute=ComputeOptions("exact", n_jobs=1))


class Evidence(NamedTuple):
    """Difference of two batches relative to random splits."""

    # Ratio of signal to noise of the displacements, divided by the largest ratio among random
    # splits, or by 1 if that is more. 1 is expected if pairs do not depend on the noise. With a
    # small side of n cells: square of the common displacement, in such a unit that
    # :data:`ENOUGH_EVIDENCE` is 1 + n / :data:`ENOUGH` times what another split exceeds once in a
    # hundred times.
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
    times_few: int = N_DEALT_FEW,
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
    times, times_few
        Number of random splits, usually and with a small side. With fewer than
        :data:`LEAST_DEALT_FEW` of the latter, small sides are compared like others.
    random_state
        Random seed of the splits.
    """
    exactly = ComputeOptions("exact", n_jobs=n_jobs)
    some = [side[evenly(len(side), tested)] for side in (left, right)]
    cells, n_left = np.concatenate(some), len(some[0])
    pooled = nearest(cells, cells, N_POOLED, compute=exactly, ranked=False).indices

    divisions = [np.arange(len(cells)) < n_left]
    few = min(map(len, some)) < ENOUGH and times_few >= LEAST_DEALT_FEW
    rng = np.random.default_rng(random_state)
    for _ in range(times_few if few else times):
        chosen = np.zeros(len(cells), np.bool_)
        chosen[rng.choice(len(cells), n_left, replace=False)] = True
        divisions.append(chosen)
    seen, *dealt = map_blocks(
        lambda chosen: _measure(cells, chosen, pooled, looked), divisions, n_jobs=n_jobs
    )
    largest = max(1.0, *(one.ratio for one in dealt))
    if np.isinf(largest):
        # Cells without noise, such as a few distinct points: any parts of them differ.
        return Evidence(0.0, 1.0)
    ratio = seen.ratio / largest
    if few:
        # With more cells, weaker effects exceed chance: those of replicates too.
        margin = (1 + min(map(len, some)) / ENOUGH) / ENOUGH_EVIDENCE
        ratio = seen.common / _reach([one.common for one in dealt]) / margin
    return Evidence(ratio, max(1.0, float(np.mean([one.ratio for one in dealt]))))


def _reach(dealt: Sequence[float]) -> float:
    """Compute what another random split exceeds with the chance :data:`REACHED`.

    A prediction interval, as logarithms are nearly normal (their upper tail is lighter).
    """
    # Deferred: most calls do not need it.
    from scipy.special import stdtrit

    logs = np.log(np.maximum(dealt, TINY))
    wide = stdtrit(len(logs) - 1, 1 - REACHED) * np.sqrt(1 + 1 / len(logs))
    return float(np.exp(min(logs.mean() + wide * logs.std(ddof=1), MOST_LOG)))


def _deal_out(
    cells: NDArray[Any], chosen: NDArray[np.bool_], pooled: NDArray[np.int32]
) -> tuple[list[NDArray[Any]], list[BatchNeighborhoods], Pairs]:
    """Divide cells into two sides, and find their neighborhoods and pairs.

    Parameters as of :func:`_measure`.
    """
    rows = [np.flatnonzero(chosen), np.flatnonzero(~chosen)]
    parts = [cells[own] for own in rows]
    place = np.empty(len(cells), np.int32)
    for own in rows:
        place[own] = np.arange(len(own))

    def pick(query: int, reference: int, k: int) -> NDArray[np.int32]:
        n, k = len(rows[query]), min(k, len(rows[reference]))
        out, counts = np.empty((n, k), np.int32), np.empty(n, np.int64)
        evidence_kernels.pick(rows[query], chosen, reference == 0, place, pooled, out, counts)
        lacking = np.flatnonzero(counts < k)
        if len(lacking):
            found = EXACTLY(parts[query][lacking], parts[reference], k, ranked=False)
            out[lacking] = found.indices
        return out

    around = []
    for side, some in enumerate(parts):
        near = pick(side, side, N_NOISE + 1)
        k = reduce_for_noise(N_NOISE, len(some))
        squares = square_residuals(some, near, k, n_jobs=1)
        around.append(BatchNeighborhoods(near, average_over(squares, near[:, :k])))
    in_left, in_right = (
        Neighbors(found, np.empty(found.shape))
        for found in (pick(1, 0, N_NEIGHBORS), pick(0, 1, N_NEIGHBORS))
    )
    return parts, around, mutual_pairs(in_left, in_right)


class _Measured(NamedTuple):
    """Displacements of a division of cells into two sides."""

    ratio: float  # Their squares, divided by their variances.
    common: float  # Square of their mean.


def _measure(
    cells: NDArray[Any], chosen: NDArray[np.bool_], pooled: NDArray[np.int32], looked: int
) -> _Measured:
    """Measure the displacements of a division.

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
        return _Measured(0.0, 0.0)
    signal, noise = float((found.vectors**2).sum()), float(found.noise.sum())
    common = float((found.vectors.mean(0) ** 2).sum())
    if noise > 0:
        return _Measured(signal / noise, common)
    return _Measured(np.inf if signal > 0 else 0.0, common)
