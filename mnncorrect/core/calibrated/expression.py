r"""The correction of other values of the same cells, with the same weights.

Once its weights are known, a calibrated correction is a linear map of cells: it adds differences
between weighted means of cells to each cell. So it applies to any values of the cells, such as
expression:

.. math:: x_c + \sum_i w_{ci}\,x_i, \qquad \sum_i w_{ci} = 0.

The projection of corrected values on loadings gives the corrected components, up to rounding. This
holds for any loadings. Two steps smooth the expression of a cell: contraction to the noise of a
calmer batch, and the move of small batches towards the cells around them. Cells that did not move
keep their exact values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.matrix.rows import Rows, as_rows
from mnncorrect.core.runtime.threads import resolve_n_jobs, row_blocks

from .neighborhoods import mix
from .noise_scale import contract

if TYPE_CHECKING:
    from mnncorrect.core.runtime.threads import Progress

    from .linear_map import LinearMap
    from .neighborhoods import Points
    from .representatives import Representatives, Taken

# Smallest number of values in a block of columns: 64 MB in float64. A block has at least the size
# of the embedding, which is in memory anyway.
COLUMN_BLOCK_VALUES = 1 << 23
# Columns of larger blocks are a multiple of this, because files store columns in such chunks.
BLOCK_COLUMNS = 64
ROW_BLOCK = 4096


@dataclass(frozen=True)
class Round:
    """One estimate of displacements: ``total = kept * (total + displacement)``.

    At all right cells, or at selected points from which all cells take their displacement.
    """

    weights: LinearMap  # The displacement as a linear map of both sides.
    # Share of the displacement of each cell or point that is distinguishable from noise.
    kept: NDArray[np.float64]
    points: Points | None = None  # Those points, if it is not at all cells.
    # How much each counts for itself in what it was brought by before, 0..1; wholly if not given.
    own: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Move:
    """Displacement of the right node in a merge."""

    # Rows of the cells of both sides.
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    rounds: tuple[Round, ...]  # How their displacement was found.


@dataclass(frozen=True)
class Contraction:
    """Contraction of the residuals of a batch around local means."""

    rows: NDArray[np.int64]  # Rows of its cells.
    points: NDArray[Any]  # Coordinates of the cells before.
    neighbors: NDArray[np.int32]  # Neighbors of each cell, in rows of the batch.
    factors: NDArray[np.float64]  # Factor of each residual.
    chance: NDArray[np.float64]  # Chance of a counterpart of each cell, 0..1.


@dataclass(frozen=True)
class Transfer:
    """Transfer from the representatives of a large batch to its cells."""

    rows: NDArray[np.int64]  # Rows of its cells.
    found: Representatives  # Their representatives.
    taken: Taken  # Weights of the representatives for each cell.


@dataclass(frozen=True)
class Weights:
    """All steps of a correction, in order."""

    moves: tuple[Move, ...] = ()  # One for each merge that was not skipped.
    # One for each corrected batch without representatives.
    contractions: tuple[Contraction, ...] = ()
    transfers: tuple[Transfer, ...] = ()  # One for each batch with representatives.

    def displacement(
        self, x: NDArray[np.float64], scale: NDArray[np.float64] | None = None, *, n_jobs: int
    ) -> NDArray[np.float64]:
        """Compute the change of other values of the cells.

        Parameters
        ----------
        x
            Values, cells x any number of columns, in the order of the corrected rows.
        scale
            Divisor of each cell before the correction.
        """
        now = x.copy() if scale is None else x / scale[:, None]
        # Meanwhile, the row of a representative holds the mean around it.
        seats = [one.rows[one.found.cells] for one in self.transfers]
        before = []
        for one, seat in zip(self.transfers, seats, strict=True):
            before.append(one.found.average(now[one.rows], n_jobs=n_jobs))
            now[seat] = before[-1]
        for move in self.moves:
            left, right = now[move.left], now[move.right]
            total = np.zeros_like(right)
            for step in move.rounds:
                found = step.weights.apply(left, right + total, n_jobs=n_jobs)
                at = np.arange(len(right)) if step.points is None else step.points.rows
                total = step.weights.carry(total, at, step.own, n_jobs=n_jobs)
                total = step.kept[:, None] * (total + found)
                if step.points is not None:
                    total = mix(step.points.near, step.points.weights, total, n_jobs=n_jobs)
            now[move.right] = right + total
        for some in self.contractions:
            now[some.rows] = contract(
                some.points,
                some.neighbors,
                some.factors,
                some.chance,
                values=now[some.rows],
                n_jobs=n_jobs,
            )
        for one, seat, mean in zip(self.transfers, seats, before, strict=True):
            moved = now[seat] - mean
            own = x[one.rows] if scale is None else x[one.rows] / scale[one.rows, None]
            now[one.rows] = own + one.taken.added(own, mean, moved, n_jobs=n_jobs)
        # The same division gives the same bits, so cells that did not move change by exactly 0.
        now -= x if scale is None else x / scale[:, None]
        return now


def column_blocks(n_cells: int, n_columns: int, n_dims: int) -> Iterator[slice]:
    """Cut columns into blocks of at most the size of the embedding, or of the minimum."""
    width = max(n_dims, COLUMN_BLOCK_VALUES // max(1, n_cells), 1)
    if width > BLOCK_COLUMNS:
        width -= width % BLOCK_COLUMNS
    for start in range(0, n_columns, width):
        yield slice(start, min(start + width, n_columns))


def correct_expression(
    weights: Weights,
    x: Any,
    out: Any,
    *,
    genes: NDArray[np.bool_] | None = None,
    scale: NDArray[np.float64] | None = None,
    n_dims: int = 1,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Correct expression with the weights of the components, some genes at a time.

    Parameters
    ----------
    weights
        Weights of the correction of the components.
    x
        Expression, cells x genes; dense, CSR or CSC, or rows of it.
    out
        Output, cells x selected genes: an array, or an object that is written to like one.
    genes
        Selected genes; default: all.
    scale
        Divisor of each cell before components were computed. Displacements are multiplied by it,
        so values are on the scale of ``x``.
    n_dims
        Smallest number of columns in a block.
    progress
        Callback for progress.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    rows = as_rows(x)
    taken = np.arange(x.shape[1]) if genes is None else np.flatnonzero(genes)
    blocks = row_blocks(x.shape[0], ROW_BLOCK)
    for columns in column_blocks(x.shape[0], len(taken), n_dims):
        values = np.empty((x.shape[0], columns.stop - columns.start))
        some = Rows(rows, None, taken[columns])
        for block in blocks:
            values[block] = some[block]
        added = weights.displacement(values, scale, n_jobs=n_jobs)
        for block in blocks:
            if scale is not None:
                added[block] *= scale[block][:, None]
            values[block] += added[block]
            out[block, columns] = values[block].astype(x.dtype)
        if progress is not None:
            progress("expression", columns.stop / len(taken))
