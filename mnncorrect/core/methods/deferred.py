"""Cells of many batches, and the linear maps that they still have to go through.

Each merge of the fast method levels both sides along its batch vector: an affine map of the cells.
Where batches are merged one after the other, this changes all cells merged so far, again and again.
So only the product of these maps is kept, one for each batch. A cell goes through it when somebody
asks for the cell. What is known of a batch as a whole (its mean, and the scatter about it) goes
through each map by itself, so that the price of a merge depends on the number of batches, and not
on the number of cells merged so far.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import (
    copy_rows,
    map_blocks,
    row_blocks,
    single_blas,
    sum_blocks,
)

from . import level_kernels
from .leveling import Levels, find_levels

if TYPE_CHECKING:
    from mnncorrect.core.merging.loop import Node


# Rows whose squares are summed at a time, that are mapped, and that are leveled.
ROW_BLOCK, MAP_BLOCK, LEVELED_BLOCK = 8192, 512, 4096
# Vectors above which what is known of batches is leveled along all of them at once, by a product.
FEW_VECTORS = 10
# Batches of which what is known is leveled at a time.
LEVELED_BATCHES = 128


@dataclass(frozen=True)
class DeferredCells:
    """The cells of all batches, and for each batch the map that is still to be applied.

    A cell ``x`` of batch ``b`` lies at ``x @ maps[b] + shifts[b]``.
    """

    cells: NDArray[Any]  # Cells x dimensions, batch by batch.
    starts: NDArray[np.int64]  # Row where each batch begins, and the end of the last one.
    maps: NDArray[np.float64]  # Batches x dimensions x dimensions.
    shifts: NDArray[np.float64]  # Batches x dimensions.
    pending: NDArray[np.bool_]  # Whether there is anything to apply, by batch.
    means: NDArray[np.float64]  # Of all cells of each batch, as they lie now.
    # Sums of squares and products of their distances from the mean.
    scatters: NDArray[np.float64]
    # Number and mean of those cells of each batch that may form pairs.
    counts: NDArray[np.int64]
    centers: NDArray[np.float64]
    n_jobs: int
    # Batches, rows and coordinates that were taken last of cells with something to apply, until
    # there is more to apply. Cells that have pairs are taken twice.
    lately: list[tuple[tuple[int, ...], NDArray[np.int64], NDArray[Any]]] = field(
        default_factory=list
    )

    def of(self, batches: Sequence[int]) -> DeferredRows:
        """Return a view of the cells of some batches, one below the other."""
        return DeferredRows(self, tuple(batches))

    def rows_of(self, batch: int) -> slice:
        """Return where the cells of a batch stand."""
        return slice(*self.starts[batch : batch + 2])

    def settle(self, batches: Sequence[int]) -> None:
        """Apply to the cells of some batches what is pending."""
        for batch in batches:
            if not self.pending[batch]:
                continue
            rows = self.rows_of(batch)
            places = np.arange(rows.start, rows.stop)
            self.cells[rows] = self.take(places, np.full(len(places), batch))
            self._forget(batch)

    def _forget(self, batch: int) -> None:
        """Leave nothing to apply to the cells of a batch."""
        if any(batch in batches for batches, _, _ in self.lately):
            self.lately.clear()
        self.maps[batch], self.shifts[batch] = np.eye(self.cells.shape[1]), 0.0
        self.pending[batch] = False

    def put(
        self, batches: Sequence[int], data: NDArray[Any], restrict: NDArray[np.int64] | None
    ) -> None:
        """Replace the cells of some batches, which stand below each other in ``data``.

        Nothing may be left to apply to them. ``restrict``: rows of ``data`` for pairs and levels.
        """
        ends = np.cumsum([self.starts[b + 1] - self.starts[b] for b in batches])
        for batch, end in zip(batches, ends.tolist(), strict=True):
            own = self.rows_of(batch)
            start = end - int(own.stop - own.start)
            rows = data[start:end]
            self.cells[own] = rows
            self._forget(batch)
            self.means[batch] = rows.mean(0, dtype=np.float64)
            self.scatters[batch] = _scatter(rows, self.means[batch], self.n_jobs)
            self.counts[batch], self.centers[batch] = len(rows), self.means[batch]
            if restrict is not None:
                kept = restrict[slice(*np.searchsorted(restrict, [start, end]))]
                self.counts[batch], self.centers[batch] = len(kept), 0.0
                if len(kept):
                    self.centers[batch] = data[kept].mean(0, dtype=np.float64)

    def totals(self, batches: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum the squared distances of cells from their mean, for each of some batches."""
        squares = self.scatters.diagonal(axis1=1, axis2=2)[batches]
        return np.maximum(squares.sum(1), 0)

    def take(self, places: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[Any]:
        """Return some cells, of which the batch is known, as they lie now."""
        if not self.pending[owners].any():
            return copy_rows(self.cells, places, n_jobs=self.n_jobs)
        out = np.empty((len(places), self.cells.shape[1]), self.cells.dtype)
        map_blocks(
            lambda rows: level_kernels.map_rows(
                self.cells, places[rows], owners[rows], self.pending, self.maps, self.shifts,
                out[rows],
            ),
            row_blocks(len(places), MAP_BLOCK),
            n_jobs=self.n_jobs,
        )  # fmt: skip
        return out


@dataclass(frozen=True)
class DeferredRows:
    """Cells of some batches, one below the other, as they lie when they are asked for.

    Some rows are taken as of an array, and all by ``np.asarray``.
    """

    store: DeferredCells
    batches: tuple[int, ...]

    def __len__(self) -> int:
        return int(self._sizes.sum())

    @property
    def _sizes(self) -> NDArray[np.int64]:
        starts, some = self.store.starts, np.array(self.batches)
        return starts[some + 1] - starts[some]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the coordinates."""
        return self.store.cells.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and dimensions."""
        return len(self), self.store.cells.shape[1]

    def joined(self, other: DeferredRows) -> DeferredRows:
        """Return the cells of both, those of the other below."""
        return DeferredRows(self.store, self.batches + other.batches)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Take some rows, ascending."""
        for batches, known, values in self.store.lately:
            at = np.searchsorted(known, rows)
            if batches == self.batches and np.array_equal(known.take(at, mode="clip"), rows):
                return copy_rows(values, at, n_jobs=self.store.n_jobs)
        some, ends = np.array(self.batches), self._sizes.cumsum()
        counts = np.diff(np.searchsorted(rows, ends), prepend=0)
        # From the end of a batch among these batches to its end among all.
        away = self.store.starts[some + 1] - ends
        found = self.store.take(rows + np.repeat(away, counts), np.repeat(some, counts))
        if self.store.pending[some].any():
            self.store.lately[:] = [(self.batches, rows, found)]
        return found

    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> NDArray[Any]:
        if len(self.batches) == 1 and not self.store.pending[self.batches[0]]:
            found = self.store.cells[self.store.rows_of(self.batches[0])]
        else:
            found = self[np.arange(len(self))]
        # numpy 1 has no `copy=None`.
        return np.array(found, dtype) if copy else np.asarray(found, dtype)


@dataclass(frozen=True)
class Deferring:
    """Levels what is known of batches, and leaves their cells for later."""

    store: DeferredCells
    # Vectors that were last leveled along at once, and the product of these maps.
    product: list[tuple[tuple[NDArray[np.float64], ...], NDArray[np.float64]]] = field(
        default_factory=list
    )

    def level(
        self,
        node: Node,
        vectors: Sequence[NDArray[np.float64]],
        *,
        in_place: bool = False,  # noqa: ARG002  # there is one place only
    ) -> tuple[Node, Levels]:
        """Level a node along vectors, one after the other; skip a vector of negligible length."""
        store, some = self.store, np.array(node.batches)
        store.lately.clear()
        if not vectors:
            return node, find_levels(vectors, np.zeros(store.cells.shape[1]), 0.0)
        counts, sizes = store.counts[some], np.diff(store.starts)[some]
        square = store.totals(some).sum() + sizes @ (store.means[some] ** 2).sum(1)
        center = counts @ store.centers[some] / counts.sum()
        typical = float(np.sqrt(square / (sizes.sum() * store.cells.shape[1])))
        levels = find_levels(vectors, center, typical)
        if not len(levels.units):
            return node, levels
        store.pending[some] = True
        if len(levels.units) == len(vectors) > FEW_VECTORS:
            self._level_at_once(node, tuple(vectors), levels, center)
        else:
            map_blocks(
                lambda block: level_kernels.level_maps(
                    some[block], *levels,
                    store.maps, store.shifts, store.means, store.centers, store.scatters,
                ),
                row_blocks(len(some), LEVELED_BATCHES),
                n_jobs=store.n_jobs,
            )  # fmt: skip
        return node, levels

    def _level_at_once(
        self,
        node: Node,
        vectors: tuple[NDArray[np.float64], ...],
        levels: Levels,
        center: NDArray[np.float64],
    ) -> None:
        """Level what is known of the batches of a node by the product of the maps of all vectors.

        From one merge to the next, one vector is added where batches are merged one by one.
        """
        store, done, product = self.store, 0, np.eye(len(center))
        for known, of_known in self.product:
            more = len(vectors) >= len(known)
            if more and all(map(operator.is_, known, vectors)):
                done, product = len(known), of_known
        for unit in levels.units[done:]:
            product = product - np.outer(product @ unit, unit)
        self.product[:] = [(vectors, product)]
        for batch in node.batches:
            store.maps[batch] = store.maps[batch] @ product
            for place in (store.shifts, store.means, store.centers):
                place[batch] = center + (place[batch] - center) @ product
            store.scatters[batch] = product.T @ store.scatters[batch] @ product

    def settled(self, node: Node) -> Node:
        """Apply to the cells of a node what is pending: all of them are wanted."""
        self.store.settle(node.batches)
        return node

    def leveled(self, node: Node, levels: Levels) -> NDArray[Any]:
        """Return all cells of a node that was settled, and leveled since."""
        store = self.store
        out = np.concatenate([store.cells[store.rows_of(batch)] for batch in node.batches])
        map_blocks(
            lambda rows: levels.apply(out[rows], out[rows]),
            row_blocks(len(out), LEVELED_BLOCK),
            n_jobs=store.n_jobs,
        )
        return out

    def variances(self, node: Node) -> dict[int, float]:
        """Sum the variance over dimensions of each batch; NaN for a batch of one cell."""
        some = np.array(node.batches)
        sizes = np.diff(self.store.starts)[some]
        values = np.where(sizes > 1, self.store.totals(some) / np.maximum(sizes - 1, 1), np.nan)
        return dict(zip(node.batches, values.tolist(), strict=True))

    def replaced(self, node: Node, data: NDArray[Any]) -> Node:
        """Put other coordinates in the place of a node's."""
        self.store.put(node.batches, data, node.restrict)
        return node


def can_defer(n_batches: int, n_cells: int, n_dims: int) -> bool:
    """Tell whether maps of all batches take no more room, or time, than the cells themselves."""
    return n_batches * n_dims <= n_cells


def deferred_cells(
    sizes: NDArray[np.integer[Any]], n_dims: int, dtype: Any, *, n_jobs: int
) -> DeferredCells:
    """Make room for the cells of batches of these sizes."""
    n, squares = len(sizes), (len(sizes), n_dims, n_dims)
    return DeferredCells(
        np.empty((int(sizes.sum()), n_dims), dtype),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.empty(squares),
        np.empty((n, n_dims)),
        np.zeros(n, np.bool_),
        np.empty((n, n_dims)),
        np.empty(squares),
        np.empty(n, np.int64),
        np.empty((n, n_dims)),
        n_jobs,
    )


def _scatter(x: NDArray[Any], mean: NDArray[np.float64], n_jobs: int) -> NDArray[np.float64]:
    """Sum the squares and products of the distances of cells from their mean."""

    def add(rows: slice) -> NDArray[np.float64]:
        away = x[rows] - mean
        return away.T @ away

    with single_blas():
        return sum_blocks(add, row_blocks(len(x), ROW_BLOCK), n_jobs=n_jobs)
