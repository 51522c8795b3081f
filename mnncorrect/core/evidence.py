"""Whether two batches differ by more than two random parts of one batch would.

Mutual neighbours are chosen for being near, so that displacements are not nil on average even
where there is no effect: they point inwards at the rim of a population. How large they are then
depends on the number of cells and of dimensions. So they are compared with what they are when the
cells of both batches are dealt out at random, as many to each; under the hypothesis of no effect
that is a draw from the same distribution, whatever this is (a permutation test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .displacement import Side, displace
from .local import evenly, look_around
from .pairs import find_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .local import Search

# Neighbours in each direction among which pairs are mutual, as in every MNN method.
N_NEIGHBORS = 20
# Neighbours of the own batch, itself one, that stand for each end of a pair: a tenth of the noise.
N_END = 10
# Neighbours that a cell's noise is read off.
N_NOISE = 30
# Cells of each side that are compared, and how often they are dealt out. Another draw exceeds the
# largest of five in a sixth of cases, and exceeds it twice hardly ever.
MOST_TESTED, N_DEALT = 1_000, 5
# Right cells whose displacement is looked at: neighbouring ones share anchors, and say the same.
MOST_LOOKED = 250


class Evidence(NamedTuple):
    """How far two batches differ.

    Attributes
    ----------
    ratio
        Signal over noise of the displacements, over the largest seen when cells are dealt out at
        random; over 1 at least, which is expected where pairs do not depend on the noise.
    dispersion
        Mean signal over noise when cells are dealt out, 1 at least: by how much the noise that
        the linear map tells is too small because the choice of pairs depends on it.
    """

    ratio: float
    dispersion: float


def weigh_evidence(
    left: NDArray[Any], right: NDArray[Any], search: Search, *, random_state: int, n_jobs: int
) -> Evidence:
    """Compare two sets of cells with random parts of both.

    Parameters
    ----------
    left, right
        Cells x dimensions, in canonical order.
    search
        Finds neighbours.
    random_state
        Seed of the dealing.
    n_jobs
        Threads.
    """
    some = [side[evenly(len(side), MOST_TESTED)] for side in (left, right)]
    seen = _signal(some[0], some[1], search, n_jobs)
    cells = np.concatenate(some)
    rng = np.random.default_rng(random_state)
    dealt = []
    for _ in range(N_DEALT):
        chosen = np.zeros(len(cells), np.bool_)
        chosen[rng.choice(len(cells), len(some[0]), replace=False)] = True
        dealt.append(_signal(cells[chosen], cells[~chosen], search, n_jobs))
    largest = max(1.0, *dealt)
    if np.isinf(largest):
        # Cells without noise of their own, such as a few distinct points: any parts of them differ.
        return Evidence(0.0, 1.0)
    return Evidence(seen / largest, max(1.0, float(np.mean(dealt))))


def _signal(left: NDArray[Any], right: NDArray[Any], search: Search, n_jobs: int) -> float:
    """Divide the sum of squared displacements by the sum of their variances."""
    sides = []
    for cells in (left, right):
        around = look_around(cells, N_NOISE + 1, N_NOISE, search, n_jobs=n_jobs)
        sides.append(Side(cells, around.averaging(N_END), around.variance))
    pairs = find_pairs(left, right, n_neighbors=N_NEIGHBORS, engine="exact", n_jobs=n_jobs)
    at = evenly(len(right), MOST_LOOKED)
    found = displace(sides[0], sides[1], pairs, search, at=at, n_jobs=n_jobs)
    if found is None:
        return 0.0
    signal, noise = float((found.vectors**2).sum()), float(found.noise.sum())
    if noise > 0:
        return signal / noise
    return np.inf if signal > 0 else 0.0
