"""A limited number of representatives for the cells of a large batch.

A batch effect varies smoothly, so it is not computed at every cell. Representatives are cells. They
are evenly spaced over the groups of a search (:func:`mnncorrect.core.neighbors.engines.grouped`),
and within groups in canonical order. Representatives are compared and paired like cells. The end of
a pair is the mean of the neighbors of a representative among all cells; its noise comes from all
cells too. After all merges, each cell takes its results from the nearest representatives of its
batch, once (:class:`Field`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import row_blocks

from .evidence import N_END
from .neighborhoods import (
    SEARCH_BLOCK,
    BatchNeighborhoods,
    average_over,
    evenly,
    look_around,
    mean_of,
    mix,
    weigh_nearest,
)

if TYPE_CHECKING:
    from .neighborhoods import Search

# Representatives from which a cell takes its results. With 8, 3 % fewer neighbors are preserved.
N_TAKEN = 20


@dataclass(frozen=True)
class Representatives:
    """Representatives of a batch."""

    cells: NDArray[np.int64]  # Rows of these cells in the batch, ascending.
    neighbors: NDArray[np.int32]  # Nearest cells of each in the whole batch, including itself.
    ends: NDArray[np.float64]  # Means of these neighbors, representatives x dimensions, float64.
    # Neighborhoods among representatives; the noise is that of ``ends``.
    neighborhoods: BatchNeighborhoods
    # Unbiased squared distance of each to the mean of its neighbors; see
    # :func:`mnncorrect.core.calibrated.neighborhoods.square_residuals`.
    squares: NDArray[np.float64]
    # First of each group of nearby representatives, and the end of the last; the groups are those
    # of the cells.
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cells)

    def average(self, values: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Replace values of cells by the means at the ends of pairs."""
        return mean_of(self.neighbors[:, :N_END], values, n_jobs=n_jobs)


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
    """Choose ``most`` representatives of the cells of a batch, and find their neighborhoods.

    Parameters
    ----------
    x
        Cells x dimensions, in groups of nearby cells.
    starts
        First row of each group, and the end of the last.
    most
        Number of representatives.
    k
        Neighbors of a representative among representatives, including itself.
    k_noise
        Neighbors among all cells for the noise of a cell.
    search, by_groups
        Find neighbors among representatives, and among cells.
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
    """The correction of one batch, at its representatives."""

    # Means around the representatives before the correction, representatives x dimensions, in the
    # type of the cells.
    points: NDArray[Any]
    displacement: NDArray[np.float64]  # Displacements, of the same shape.
    confidence: NDArray[np.float64]  # 0..1.
    log_factor: NDArray[np.float64]  # Log of the factor of residuals.
    # First of each group of nearby representatives, and the end of the last.
    starts: NDArray[np.int64] | None = None

    def taken(
        self,
        x: NDArray[Any],
        search: Search,
        *,
        starts: NDArray[np.int64] | None = None,
        n_jobs: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Find the representatives near each cell, and their weights."""
        groups = (starts, self.starts if starts is not None else None)
        return weigh_nearest(x, self.points, N_TAKEN, search, n_jobs, groups=groups)


@dataclass(frozen=True)
class Taken:
    """Weights for the transfer from representatives to cells."""

    # The representatives near each cell, and their weights.
    near: NDArray[np.int32]
    weights: NDArray[np.float64]
    # What its residual about the mean of those near it is multiplied by.
    factor: NDArray[np.float64]

    def added(
        self,
        x: NDArray[Any],
        before: NDArray[Any],
        displacement: NDArray[np.float64],
        *,
        n_jobs: int,
    ) -> NDArray[np.float64]:
        """Compute the change of values of the cells.

        Parameters
        ----------
        x
            Values of the cells, cells x any number of columns.
        before, displacement
            Values of the representatives before the correction, and their change.
        """
        n = x.shape[1]
        sums = mix(self.near, self.weights, np.hstack([before, displacement]), n_jobs=n_jobs)
        return sums[:, n:] + (self.factor - 1)[:, None] * (x - sums[:, :n])


def joined_taken(pieces: Sequence[Taken]) -> Taken:
    """Put what pieces of a batch took below each other."""
    if len(pieces) == 1:
        return pieces[0]
    return Taken(*(np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(Taken)))


def apply(
    field: Field,
    x: NDArray[Any],
    search: Search,
    *,
    starts: NDArray[np.int64] | None = None,
    n_jobs: int,
) -> tuple[NDArray[Any], NDArray[np.float64], Taken]:
    """Correct the cells of a batch from the results at its representatives.

    Parameters
    ----------
    field
        Results at the representatives.
    x
        Cells x dimensions, before the correction.
    starts
        First row of each group of nearby cells, and the end of the last; ``None``: not grouped.

    Returns
    -------
    The corrected cells, their confidence, and what they took. Cells of a batch that was left
    alone come back as they were, to the bit.
    """
    near, weights = field.taken(x, search, starts=starts, n_jobs=n_jobs)
    known = np.column_stack([field.confidence, field.log_factor])
    sums = mix(near, weights, known, n_jobs=n_jobs)
    confidence = np.clip(sums[:, 0], 0, 1)
    taken = Taken(near, weights, np.exp(sums[:, 1]))
    out = np.empty_like(x)
    for rows in row_blocks(len(x), SEARCH_BLOCK):
        some = Taken(near[rows], weights[rows], taken.factor[rows])
        out[rows] = x[rows] + some.added(x[rows], field.points, field.displacement, n_jobs=n_jobs)
    return out, confidence, taken
