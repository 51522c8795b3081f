"""Displacements as a linear map of cells, so that their noise follows from that of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels
from .neighborhoods import ROW_BLOCK, mix

# Displacements whose noise is computed at a time.
NOISE_BLOCK = 64
# Number of additions to a dense row that take as long as one to a place that is looked up; and
# largest number of values in dense rows.
DENSER, MOST_DENSE = 10, 1 << 20


class SparseRows(NamedTuple):
    """Sparse rows of weights of cells."""

    # As in a CSR matrix; columns of a row are in no order.
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]
    n_columns: int  # Number of cells.

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def dense(self) -> NDArray[np.float64]:
        """Return the weights as a dense matrix."""
        out = np.zeros((self.n_rows, self.n_columns))
        out[np.repeat(np.arange(self.n_rows), np.diff(self.indptr)), self.indices] = self.data
        return out

    def are_dense(self) -> bool:
        """Return whether their sums take less time as dense rows."""
        n = self.n_columns * self.n_rows
        return n <= min(MOST_DENSE, DENSER * len(self.data))

    def times(self, x: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Multiply by values of cells in float64, without a float64 copy of the values."""
        out = np.empty((self.n_rows, x.shape[1]))
        map_blocks(
            lambda rows: displacement_kernels.sparse_rows(
                self.indptr[rows.start : rows.stop + 1], self.indices, self.data, x, out[rows]
            ),
            row_blocks(len(out), ROW_BLOCK),
            n_jobs=n_jobs,
        )
        return out


@dataclass(frozen=True)
class LinearMap:
    """Linear map from the cells of both sides to displacements."""

    # Weights of the left and the right cells at each anchor, :math:`P A_L` and :math:`Q A_R`.
    left_ends: SparseRows
    right_ends: SparseRows
    # For each displaced cell, the anchors of its smoothing and their weights.
    near: NDArray[np.int32]
    weights: NDArray[np.float64]

    def apply(self, left: NDArray[Any], right: NDArray[Any], *, n_jobs: int) -> NDArray[np.float64]:
        """Turn values of the cells of both sides into displacements."""
        vectors = self.left_ends.times(left, n_jobs=n_jobs)
        vectors -= self.right_ends.times(right, n_jobs=n_jobs)
        return mix(self.near, self.weights, vectors, n_jobs=n_jobs)

    def carry(
        self,
        brought: NDArray[np.float64],
        at: NDArray[np.int64],
        own: NDArray[np.float64] | None,
        *,
        n_jobs: int,
    ) -> NDArray[np.float64]:
        """Tell how far cells have been brought before, each by itself or as the anchors near it.

        Parameters
        ----------
        brought
            How far each right cell has been brought.
        at
            The cells that are displaced.
        own
            How much each of them counts for itself, 0..1; wholly if not given.
        """
        if own is None:
            return brought[at]
        ends = self.right_ends.times(brought, n_jobs=n_jobs)
        near = mix(self.near, self.weights, ends, n_jobs=n_jobs)
        return own[:, None] * brought[at] + (1 - own)[:, None] * near

    def noise(
        self,
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        *,
        of: NDArray[np.int64],
        n_jobs: int,
    ) -> NDArray[np.float64]:
        """Turn variances of independent cells into those of some of the displacements."""
        near, weights = self.near[of], self.weights[of]
        sides = (self.left_ends, left), (self.right_ends, right)
        noise = np.zeros(len(near))
        if all(ends.are_dense() for ends, _ in sides):
            for ends, variance in sides:
                noise += mix(near, weights, ends.dense(), n_jobs=n_jobs) ** 2 @ variance
            return noise

        def some(rows: slice) -> None:
            for ends, variance in sides:
                displacement_kernels.composed_variance(
                    near[rows], weights[rows], ends.indptr, ends.indices, ends.data,
                    variance, np.zeros(ends.n_columns), np.empty(ends.n_columns, np.int64),
                    noise[rows],
                )  # fmt: skip

        map_blocks(some, row_blocks(len(noise), NOISE_BLOCK), n_jobs=n_jobs)
        return noise
