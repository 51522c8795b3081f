"""Properties of cells within their own batch: order, neighbors and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.pairs import neighbor_weights, square_weights
from mnncorrect.core.neighbors.exact import FEW_ROWS, gather_few
from mnncorrect.core.runtime.mapped import column_of
from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels

if TYPE_CHECKING:
    from mnncorrect.core.neighbors.engines import GroupStarts, Neighbors

    Search = Callable[..., Neighbors]

ROW_BLOCK = 4096
# Rows searched at a time, so that results never need more memory than the cells.
SEARCH_BLOCK = 1 << 16
# Above the first number of cells, smooth quantities are computed at fewer points: at the second
# number, or at one cell in so many if these are more. Other cells average at most so many points.
MOST_DIRECT, LEAST_POINTS, SPACING, N_BETWEEN = 1_500, 1_000, 20, 8
# Cells from which on neighborhoods belong to one population each. Smaller batches and sides average
# over proportionally fewer neighbors; for the noise over so many at least. From 6 to 12, batches of
# 20 to 65 cells of six data sets mixed equally.
ENOUGH, FEWEST_FOR_NOISE = 150, 10


def canonical_order(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    names: Sequence[str],
    cells: Any,
) -> NDArray[np.int64]:
    """Order cells by their values, then by the name of their batch, then by their own name.

    Results in this order do not depend on the order of rows or batches. Cells that are equal in all
    three are not distinguishable and keep their order.
    """
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=lambda number: names[number])] = np.arange(len(names))
    first = column_of(x, 0)
    order: NDArray[np.int64] = np.argsort(first, kind="stable")
    first = first[order]
    tied, group = _still_tied(np.arange(len(order)), first[1:] != first[:-1])
    # Few cells are tied in several dimensions, so each is looked at where the ones before tie.
    keys: list[Callable[[NDArray[np.int64]], NDArray[Any]]] = [
        *(
            lambda rows, column=column: column_of(x, column)[rows]
            for column in range(1, x.shape[1])
        ),
        lambda rows: rank[batch[rows]],
        *([] if cells is None else [lambda rows: np.asarray(cells[rows], dtype=str)]),
    ]
    for key in keys:
        if not len(tied):
            break
        rows = order[tied]
        values = key(rows)
        within = np.lexsort((values, group))
        order[tied], values = rows[within], values[within]
        differs = (values[1:] != values[:-1]) | (group[1:] != group[:-1])
        tied, group = _still_tied(tied, differs)
    return order


def _still_tied(
    places: NDArray[np.int64], differs: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places that equal the one before or after, and the number of their group.

    ``differs``: whether each differs from the one before, from the second on.
    """
    starts = np.append(True, differs)[: len(places)]
    kept = ~(starts & np.append(differs, True)[: len(places)])
    return places[kept], np.cumsum(starts)[kept]


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Choose at most ``most`` of ``n`` rows, evenly spaced, so they cover all values."""
    return np.arange(n) if n <= most else np.arange(most) * n // most


def median(values: NDArray[np.float64]) -> Any:
    """Compute the median over rows: :func:`numpy.median` takes longer than to order few of them."""
    half = len(values) // 2
    # Each column in one piece. One place is sought, in a fifth of the time of two.
    columns = np.array(values.T, order="C")
    columns.partition(half, axis=-1)
    high = columns[..., half]
    low = high if len(values) % 2 else columns[..., :half].max(-1)
    return (low + high) / 2


def spread_of(cells: NDArray[Any]) -> float:
    """Compute the mean squared distance of cells from their mean."""
    return float(((cells - cells.mean(0, dtype=np.float64)) ** 2).sum(1).mean())


@dataclass(frozen=True)
class Points:
    """Evenly spaced cells (points) at which smooth quantities are computed."""

    rows: NDArray[np.int64]  # Rows of these cells.
    # For each cell, the points near it (in their own order) and their weights, which sum to 1.
    near: NDArray[np.int32]
    weights: NDArray[np.float64]


class Listed(NamedTuple):
    """Lists of cells whose mean replaces each cell."""

    cells: NDArray[np.int32]  # Cells x longest list.
    counts: NDArray[np.int64]  # Length of each list.

    def only(self, wanted: NDArray[np.bool_]) -> Listed:
        """Keep the wanted cells of each list, and its first cell."""
        cells, counts = self.cells.copy(), self.counts.copy()
        displacement_kernels.keep_wanted(cells, counts, wanted)
        return Listed(cells, counts)


@dataclass(frozen=True)
class BatchNeighborhoods:
    """The neighborhoods of a batch's cells within the batch, in the coordinates of the input.

    For the noise scale, :func:`mnncorrect.core.calibrated.signal_columns.by_signal` finds those of
    the corrected cells in some dimensions.
    """

    # Nearest cells of each cell in the batch, cells x k, including itself.
    neighbors: NDArray[np.int32]
    # Noise of each cell: mean squared residual of its neighbors, summed over dimensions.
    variance: NDArray[np.float64]
    # Whether cells are means over neighbors already. Then the noise is that of the means.
    averaged: bool = False

    def __len__(self) -> int:
        return len(self.neighbors)

    def listed(self, k: int) -> Listed:
        """List the ``k`` nearest cells of each cell, whose mean replaces it."""
        k = min(k, self.neighbors.shape[1])
        return Listed(np.ascontiguousarray(self.neighbors[:, :k]), np.full(len(self), k))

    def points(self, most: int) -> Points:
        """Choose points; each cell takes the mean of the points nearest to it.

        Points are searched among the neighbors of a cell. If there are none, the cell takes the
        points of its nearest neighbor that has some.
        """
        n = len(self)
        rows = evenly(n, most)
        near = np.zeros((n, N_BETWEEN), np.int32)
        weights = np.zeros((n, N_BETWEEN))
        number = np.full(n, -1, np.int32)
        number[rows] = np.arange(len(rows))
        displacement_kernels.points_among(self.neighbors, number, near, weights)
        count = weights.sum(1)
        while (count == 0).any():
            without = np.flatnonzero(count == 0)
            has = count[self.neighbors[without]] > 0
            helped = has.any(1)
            if not helped.any():
                # Cells that are no neighbors of any: the first point is as good as another.
                weights[without, 0] = count[without] = 1.0
                break
            source = self.neighbors[without[helped], has[helped].argmax(1)]
            near[without[helped]], weights[without[helped]] = near[source], weights[source]
            count[without[helped]] = count[source]
        weights /= count[:, None]
        return Points(rows, near, weights)


def list_several(several: Sequence[BatchNeighborhoods], k: int, *, ends: bool = False) -> Listed:
    """List the neighbors of cells as :meth:`Local.listed`, for stacked batches.

    Parameters
    ----------
    k
        Neighbors whose mean replaces each cell.
    ends
        Whether batches that are averaged already remain unchanged.
    """
    starts = np.cumsum([0, *map(len, several)]).tolist()
    cells = np.empty((starts[-1], k), np.int32)
    counts = np.empty(starts[-1], np.int64)
    for one, start, stop in zip(several, starts, starts[1:], strict=False):
        own = one.neighbors[:, : 1 if ends and one.averaged else k]
        counts[start:stop] = own.shape[1]
        np.add(own, start, out=cells[start:stop, : own.shape[1]], casting="unsafe")
    return Listed(cells, counts)


def join_points(several: Sequence[BatchNeighborhoods], *, share: float = 1.0) -> Points | None:
    """Choose points in several stacked batches.

    ``None`` if there are so few cells that all are used. ``share``: share of the usual number.
    """
    n = sum(map(len, several))
    if n <= share * MOST_DIRECT:
        return None
    most = max(round(share * LEAST_POINTS), n // SPACING)
    some = [local.points(-(-most * len(local) // n)) for local in several]
    cells = np.cumsum([0, *map(len, several)]).tolist()
    points = np.cumsum([0, *(len(one.rows) for one in some)]).tolist()
    return Points(
        np.concatenate([one.rows + start for one, start in zip(some, cells, strict=False)]),
        np.concatenate([one.near + start for one, start in zip(some, points, strict=False)]).astype(
            np.int32
        ),
        np.concatenate([one.weights for one in some]),
    )


def look_around(
    x: NDArray[Any],
    k: int,
    k_noise: int,
    search: Search,
    *,
    starts: NDArray[np.int64] | None = None,
    n_jobs: int,
) -> BatchNeighborhoods:
    """Find the ``k`` nearest cells of each cell in its batch, and its noise from ``k_noise``.

    A small batch takes fewer (:func:`reduce_for_noise`). ``starts``: first row of each group of
    nearby cells, and the end of the last; default: none.
    """
    known = {} if starts is None else {"groups": (starts, starts), "ranked": False}
    neighbors = search(x, x, k, **known).indices
    k_noise = reduce_for_noise(k_noise, len(x))
    squares = square_residuals(x, neighbors, k_noise, n_jobs=n_jobs)
    return BatchNeighborhoods(neighbors, average_over(squares, neighbors[:, :k_noise]))


def reduce_for_noise(k: int, size: int) -> int:
    """Reduce the number of neighbors for the noise in a small batch.

    Otherwise they belong to several populations, the noise is overestimated, and displacements are
    shrunk too much.
    """
    return max(min(k, FEWEST_FOR_NOISE), min(k, k * size // ENOUGH))


def square_residuals(
    x: NDArray[Any], neighbors: NDArray[np.int32], k: int, *, n_jobs: int
) -> NDArray[np.float64]:
    """Compute the unbiased squared distance of each cell to the mean of ``k`` neighbors.

    The mean of k cells of variance s has variance s / k. So k / (k + 1) of the square has the
    expectation s. A batch of fewer than three cells has no meaningful residuals.
    """
    out = np.zeros(len(x))
    if len(x) < 3:
        return out
    # One memory layout, because the loop is compiled for each layout.
    listed = np.ascontiguousarray(neighbors[:, : k + 1])
    map_blocks(
        lambda rows: displacement_kernels.neighbor_residuals(
            x, rows.start, listed[rows], out[rows]
        ),
        row_blocks(len(x), ROW_BLOCK),
        n_jobs=n_jobs,
    )
    return out


def average_over(
    values: NDArray[np.float64], neighbors: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Average values over neighbors."""
    out = np.empty(len(neighbors))
    listed = np.ascontiguousarray(neighbors, np.int32)
    displacement_kernels.mean_values(np.asarray(values, np.float64), listed, out)
    return out


def choose_points(n: int, share: float) -> NDArray[np.int64]:
    """Choose the points among ``n`` cells at which smooth quantities are computed.

    If displacements use a share of the usual number of points, noise and folding do too, because
    they cost the most at each point.
    """
    share **= 2
    return evenly(n, n if n <= share * MOST_DIRECT else round(share * LEAST_POINTS))


def weigh_nearest(
    cells: NDArray[Any],
    points: NDArray[Any],
    k: int,
    search: Search,
    n_jobs: int,
    *,
    groups: GroupStarts = (None, None),
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find the points nearest to each cell, in any order, and their weights in a mean."""
    k = min(k, len(points))
    if len(points) <= FEW_ROWS:
        found = gather_few(cells, points, k, n_jobs=n_jobs)
        if found is not None:
            return found[0], square_weights(found[1])
    if groups[0] is not None:
        known = search(cells, points, k, groups=groups)
        return known.indices, neighbor_weights(known.distances)
    near, weights = np.empty((len(cells), k), np.int32), np.empty((len(cells), k))
    for rows in row_blocks(len(cells), SEARCH_BLOCK):
        known = search(cells[rows], points, k)
        near[rows], weights[rows] = known.indices, neighbor_weights(known.distances)
    return near, weights


def mix(
    near: NDArray[np.int32],
    weights: NDArray[np.float64],
    x: NDArray[np.float64],
    *,
    n_jobs: int,
) -> NDArray[np.float64]:
    """Average rows of ``x`` by the weights of each cell."""
    out = np.empty((len(near), x.shape[1]))

    def of_some(rows: slice) -> None:
        listed = np.ascontiguousarray(near[rows])  # Of one layout, to compile once.
        displacement_kernels.weighted_rows(listed, weights[rows], x, out[rows])

    # One thread needs no equal shares.
    size = ROW_BLOCK // 4 if n_jobs > 1 else SEARCH_BLOCK
    map_blocks(of_some, row_blocks(len(near), size), n_jobs=n_jobs)
    return out


def mean_of(
    neighbors: NDArray[np.int32], values: NDArray[Any], *, n_jobs: int
) -> NDArray[np.float64]:
    """Average values over the neighbors of each."""
    total = mix(neighbors, np.ones(neighbors.shape), values, n_jobs=n_jobs)
    total /= neighbors.shape[1]
    return total


def mix_values(
    near: NDArray[np.int32],
    weights: NDArray[np.float64],
    values: NDArray[np.float64],
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Average one value a row by the weights of each cell, or of some cells."""
    if rows is not None:
        near, weights = near[rows], weights[rows]
    return mix(near, weights, values[:, None], n_jobs=1)[:, 0]
