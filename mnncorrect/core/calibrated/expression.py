r"""The same correction of other values of the same cells, by the same weights.

A calibrated correction is a linear map of cells once its weights are known: to each cell it adds
differences between weighted means of others. So what it does to components it does to any values
of the cells, such as expression:

.. math:: x_c + \sum_i w_{ci}\,x_i, \qquad \sum_i w_{ci} = 0.

Projecting the corrected values on loadings gives the corrected components, to rounding, whatever
the loadings leave out. Nothing of a cell's own expression is smoothed away but where its residual
is contracted to the noise of a calmer batch. Cells that did not move keep their values to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.matrix.rows import Rows, as_rows
from mnncorrect.core.runtime.threads import resolve_n_jobs, row_blocks

from .neighborhoods import mix
from .noise_scale import contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mnncorrect.core.runtime.threads import Progress

    from .displacement import LinearMap
    from .neighborhoods import Points
    from .representatives import Representatives, Taken

# Numbers of a block of columns, at least: 64 MB in float64. No less than the embedding has, as
# that is held anyway.
COLUMN_BLOCK_VALUES = 1 << 23
# Columns of a block are a multiple of this where they are more, as a file packs them.
BLOCK_COLUMNS = 64
ROW_BLOCK = 4096


@dataclass(frozen=True)
class Round:
    """One estimate of displacements: ``total = kept * (total + displacement)``.

    At all right cells, or at points among them, from which all take theirs.

    Attributes
    ----------
    weights
        The displacement as a linear map of both sides.
    kept
        Share of each cell's or point's displacement that is told apart from noise, and done.
    points
        Those points, if it is not at all cells.
    """

    weights: LinearMap
    kept: NDArray[np.float64]
    points: Points | None = None


@dataclass(frozen=True)
class Move:
    """What a merge did to the cells of its right node.

    Attributes
    ----------
    left, right
        Rows of the cells of both sides.
    rounds
        How their displacement was found.
    ready
        Share of it that each right cell is moved by.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    rounds: tuple[Round, ...]
    ready: NDArray[np.float64]


@dataclass(frozen=True)
class Contraction:
    """How the residuals of a batch about local means were contracted.

    Attributes
    ----------
    rows
        Of its cells.
    points
        Where these lay before.
    neighbors
        Of each, in rows of the batch.
    factors
        What each residual was multiplied by.
    counts
        Which cells local means are over.
    """

    rows: NDArray[np.int64]
    points: NDArray[Any]
    neighbors: NDArray[np.int32]
    factors: NDArray[np.float64]
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class Transfer:
    """How the cells of a large batch follow from its representatives.

    Attributes
    ----------
    rows
        Of its cells.
    found
        Their representatives.
    taken
        What each cell takes of these.
    """

    rows: NDArray[np.int64]
    found: Representatives
    taken: Taken


@dataclass(frozen=True)
class Weights:
    """All that a correction did, in order.

    Attributes
    ----------
    moves
        One a merge that was not left alone.
    contractions
        One a batch that took part, of those whose cells stand for themselves.
    transfers
        One a batch that is seen by representatives.
    """

    moves: tuple[Move, ...] = ()
    contractions: tuple[Contraction, ...] = ()
    transfers: tuple[Transfer, ...] = ()

    def displacement(
        self, x: NDArray[np.float64], scale: NDArray[np.float64] | None = None, *, n_jobs: int
    ) -> NDArray[np.float64]:
        """Tell what the correction adds to values of the cells.

        Parameters
        ----------
        x
            Cells x any number of columns, in the order of the rows that were corrected.
        scale
            What each cell is divided by first.
        n_jobs
            Threads.
        """
        now = x.copy() if scale is None else x / scale[:, None]
        # The mean about a representative stands, meanwhile, in its row.
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
                if step.points is not None:
                    total = total[step.points.rows]
                total = step.kept[:, None] * (total + found)
                if step.points is not None:
                    total = mix(step.points.near, step.points.weights, total, n_jobs=n_jobs)
            now[move.right] = right + move.ready[:, None] * total
        for some in self.contractions:
            now[some.rows] = contract(
                some.points,
                some.neighbors,
                some.factors,
                some.counts,
                values=now[some.rows],
                n_jobs=n_jobs,
            )
        for one, seat, mean in zip(self.transfers, seats, before, strict=True):
            moved = now[seat] - mean
            own = x[one.rows] if scale is None else x[one.rows] / scale[one.rows, None]
            now[one.rows] = own + one.taken.added(own, mean, moved, n_jobs=n_jobs)
        # The same division gives the same bits, so that what did not move is moved by 0.
        now -= x if scale is None else x / scale[:, None]
        return now


def column_blocks(n_cells: int, n_columns: int, n_dims: int) -> Iterator[slice]:
    """Cut columns into blocks that are no larger than an embedding, or than is always held."""
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
    """Correct expression by the weights that corrected its components, some genes at a time.

    Parameters
    ----------
    weights
        What was done to the components.
    x
        Expression, cells x genes; dense, CSR or CSC, or rows of it.
    out
        Where corrected values go, cells x genes taken: an array, or what is written to like one.
    genes
        Genes that are taken; all if not given.
    scale
        What each cell was divided by before components were found; displacements are multiplied
        by it, so that values are on the scale of ``x``.
    n_dims
        Columns that may be held at least.
    n_jobs
        Threads.
    progress
        Told how far this is.
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
