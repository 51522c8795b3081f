"""The cells of a large batch by a bounded number of representatives, and back.

A batch effect varies smoothly, so that it need not be worked out at every cell. Representatives are
cells, evenly spaced over the groups that a search makes of the batch
(:func:`mnncorrect.core.neighbors.engines.grouped`), and in canonical order within these. They are
compared, and paired, as cells. The end of a pair is the mean of a representative's neighbours among
all cells, and its noise is read off all cells. What is found at representatives, cells take from
those of their own batch that are nearest to them, once, after all merges (:class:`Field`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.pairs import neighbor_weights
from mnncorrect.core.runtime.threads import row_blocks

from .confidence import readiness
from .evidence import N_END
from .neighborhoods import SEARCH_BLOCK, BatchNeighborhoods, average_over, evenly, look_around, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .neighborhoods import Search

# Representatives that a cell takes what is known of. With 8, 3 % fewer of its neighbours stay.
N_TAKEN = 20


@dataclass(frozen=True)
class Representatives:
    """Representatives of a batch.

    Attributes
    ----------
    cells
        Which cells of the batch these are, ascending.
    neighbors
        Of each, its nearest of all cells of the batch, itself among them.
    ends
        Their means, representatives x dimensions, float64.
    local
        Neighbourhoods of representatives among themselves; the noise is that of ``ends``.
    squares
        Of each, its squared distance to the mean of its neighbours, without bias, as
        :func:`mnncorrect.core.calibrated.neighborhoods.square_residuals` has it.
    starts
        Where groups of them begin, and their end; the groups are those of the cells.
    """

    cells: NDArray[np.int64]
    neighbors: NDArray[np.int32]
    ends: NDArray[np.float64]
    local: BatchNeighborhoods
    squares: NDArray[np.float64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cells)

    def average(self, values: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Replace values of cells by the means that stand at the ends of pairs."""
        return mean_of(self.neighbors[:, :N_END], values, n_jobs=n_jobs)


def mean_of(
    neighbors: NDArray[np.int32], values: NDArray[Any], *, n_jobs: int
) -> NDArray[np.float64]:
    """Average values over the neighbours of each."""
    total = mix(neighbors, np.ones(neighbors.shape), values, n_jobs=n_jobs)
    total /= neighbors.shape[1]
    return total


def represent(
    x: NDArray[Any],
    starts: NDArray[np.int64],
    most: int,
    k: int,
    k_noise: int,
    search: Search,
    by_groups: Search,
    *,
    n_jobs: int,
) -> Representatives:
    """Choose ``most`` representatives of the cells of a batch, and look around them.

    Parameters
    ----------
    x
        Cells x dimensions, in groups that lie together.
    starts
        Where groups begin, and their end.
    most
        Representatives wanted.
    k
        Neighbours of a representative among them, itself one.
    k_noise
        Neighbours among all cells that the noise of a cell is read off.
    search, by_groups
        Find neighbours among representatives, and among cells.
    n_jobs
        Threads.
    """
    cells = evenly(len(x), most)
    cuts = np.unique(np.searchsorted(cells, starts))
    own = x[cells]
    listed = by_groups(own, x, k_noise + 1, groups=(cuts, starts), ranked=False).indices
    n = listed.shape[1] - 1
    # One of those that are listed is the cell itself.
    others = (mean_of(listed, x, n_jobs=n_jobs) * (n + 1) - own) / n
    squares = ((own - others) ** 2).sum(1) * (n / (n + 1))
    around = look_around(own, k, 1, search, n_jobs=n_jobs)
    ends = mean_of(listed[:, :N_END], x, n_jobs=n_jobs)
    variance = average_over(squares, around.neighbors) / min(N_END, n + 1)
    local = BatchNeighborhoods(around.neighbors, variance, averaged=True)
    return Representatives(cells, listed[:, :N_END].copy(), ends, local, squares, cuts)


@dataclass(frozen=True)
class Field:
    """What a correction does to the cells of one batch, as it is known at representatives.

    Attributes
    ----------
    points
        The means about these before the correction, representatives x dimensions, in the type of
        the cells.
    displacement
        How far they are moved, of the same shape.
    confidence
        0..1.
    log_factor
        Log of what residuals are multiplied by.
    starts
        Where groups of them begin, and their end, if they stand so.
    """

    points: NDArray[Any]
    displacement: NDArray[np.float64]
    confidence: NDArray[np.float64]
    log_factor: NDArray[np.float64]
    starts: NDArray[np.int64] | None = None

    def taken(
        self,
        x: NDArray[Any],
        search: Search,
        *,
        starts: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Find the representatives near each cell, and their weights."""
        groups = (starts, self.starts if starts is not None else None)
        found = search(x, self.points, N_TAKEN, groups=groups)
        return found.indices, neighbor_weights(found.distances)


@dataclass(frozen=True)
class Taken:
    """What cells take from representatives.

    Attributes
    ----------
    near, weights
        The representatives near each cell, and their weights.
    done
        Share of the displacement that a cell is moved by: 0 where it is unsure.
    factor
        What its residual about the mean of those near it is multiplied by.
    """

    near: NDArray[np.int32]
    weights: NDArray[np.float64]
    done: NDArray[np.float64]
    factor: NDArray[np.float64]

    def added(
        self,
        x: NDArray[Any],
        before: NDArray[Any],
        displacement: NDArray[np.float64],
        *,
        n_jobs: int,
    ) -> NDArray[np.float64]:
        """Tell what is added to values of the cells.

        Parameters
        ----------
        x
            Values of the cells, cells x any number of columns.
        before, displacement
            Values of the representatives before, and what was added to them.
        n_jobs
            Threads.
        """
        n = x.shape[1]
        sums = mix(self.near, self.weights, np.hstack([before, displacement]), n_jobs=n_jobs)
        added = self.done[:, None] * sums[:, n:]
        added += (self.factor - 1)[:, None] * (x - sums[:, :n])
        return added


def apply(
    field: Field,
    x: NDArray[Any],
    search: Search,
    *,
    starts: NDArray[np.int64] | None = None,
    n_jobs: int,
) -> tuple[NDArray[Any], NDArray[np.float64], Taken]:
    """Correct the cells of a batch by what is known at its representatives.

    Parameters
    ----------
    field
        What is known there.
    x
        Cells x dimensions, before the correction.
    search
        Finds neighbours.
    starts
        Where groups of cells that lie together begin, and their end, if they stand so.
    n_jobs
        Threads.

    Returns
    -------
    The corrected cells, their confidence, and what they took. A cell below the confidence from
    which cells move comes back as it was, to the bit.
    """
    near, weights = field.taken(x, search, starts=starts)
    known = np.column_stack([field.confidence, field.log_factor])
    sums = mix(near, weights, known, n_jobs=n_jobs)
    confidence = np.clip(sums[:, 0], 0, 1)
    done = readiness(confidence)
    taken = Taken(near, weights, done, np.exp(done * sums[:, 1]))
    out = np.empty_like(x)
    for rows in row_blocks(len(x), SEARCH_BLOCK):
        some = Taken(near[rows], weights[rows], taken.done[rows], taken.factor[rows])
        out[rows] = x[rows] + some.added(x[rows], field.points, field.displacement, n_jobs=n_jobs)
    return out, confidence, taken
