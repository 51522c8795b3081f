"""Exact search: matrix products propose neighbors, direct distances decide.

``||y||^2 - 2 <x, y>`` ranks the rows ``y`` like the distance to ``x``, up to rounding. So a few
more rows than needed are kept, and their distances are computed. If rounding may have excluded a
true neighbor, the distances of all candidates are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime import kernels
from mnncorrect.core.runtime.threads import map_blocks, row_blocks, rows_per_block

from . import search_kernels, small_kernels

if TYPE_CHECKING:
    from mnncorrect.core.runtime.threads import Progress

Found: TypeAlias = "tuple[NDArray[np.int32], NDArray[np.float64]]"
"""Nearest reference rows of each query row, by (distance, row), and their distances."""

Heaps: TypeAlias = "tuple[NDArray[Any], NDArray[np.int32]]"
"""Proposals and their rows, one heap per row."""

# Smallest number of rows per thread; for fewer, starting a thread costs more than the search.
QUERY_BLOCK, LEAST_QUERY_BLOCK = 512, 256
REFERENCE_TILE = 4096
# Products that are held at a time when both directions are computed from them.
PANEL = 1 << 23
NORM_CELLS = 1 << 18
# Largest numbers of reference rows and of neighbors for which all distances are computed one by
# one; and number of distances that a thread computes at a time, a quarter of a millisecond.
FEW_ROWS, FEW_NEIGHBORS, FEW_DISTANCES = 1024, 128, 1 << 16
# The same number of rows if their coordinates stay in a core's cache, of as many bytes. Of 1,500 to
# 4,000 rows in 50 dimensions, 20 neighbors then take 0.6 to 0.9 of the time of matrix products.
# Beyond the cache, products take less time. A first call on few cells compiles no other search.
FEW_CACHED_ROWS, CACHED = 4096, 1 << 20
# Largest number of distances that are kept for the other direction. More leave the cache, and are
# computed again as fast.
SHARED_DISTANCES = 3 << 16
# The same number if there is one thread, which needs no equal shares.
FEW_DISTANCES_ALONE = 1 << 20
# Additional proposals to keep, because rounding may change their order.
SPARE = 12


@dataclass(frozen=True)
class SearchSide:
    """Points of one side of a search."""

    points: NDArray[Any]  # Rows x dimensions, contiguous.
    centred: NDArray[Any]  # The same minus the mean of both sides, scaled to the order of 1.
    norms: NDArray[Any]  # Squared lengths of the centered points.


def search_side(points: NDArray[Any], centred: NDArray[Any], *, n_jobs: int) -> SearchSide:
    """Make a side of a search; parameters as the attributes of :class:`SearchSide`."""
    norms = np.empty(len(points))
    map_blocks(
        lambda block: kernels.dense_square_norms(centred[block], norms[block]),
        row_blocks(len(points), rows_per_block(points.shape[1], cells=NORM_CELLS)),
        n_jobs=n_jobs,
    )
    return SearchSide(np.ascontiguousarray(points), centred, norms.astype(centred.dtype))


def are_few(reference: NDArray[Any], k: int) -> bool:
    """Whether :func:`search_few` takes the least time to find ``k`` of these rows."""
    most = FEW_CACHED_ROWS if reference.nbytes <= CACHED else FEW_ROWS
    return len(reference) <= most and k <= FEW_NEIGHBORS


def search_few(
    query: NDArray[Any],
    reference: NDArray[Any],
    k: int,
    *,
    ranked: bool = True,
    n_jobs: int,
    progress: Progress | None = None,
) -> Found | None:
    """Find the ``k`` nearest of few (at least ``k``) reference rows without matrix products.

    ``None`` if a sum of the squares of a row overflows the float type of the points. Unless
    ``ranked``, distances are NaN.
    """
    known = _Ranks(query, reference, k, ranked=ranked)

    blocks = _blocks_to_search(query, reference, n_jobs)
    if not all(
        map_blocks(known.rank, blocks, n_jobs=n_jobs, progress=progress, stage="neighbours")
    ):
        return None
    return known.found()


def search_few_both(
    left: NDArray[Any],
    right: NDArray[Any],
    k_left: int,
    k_right: int,
    *,
    ranked: bool,
    every: bool,
    n_jobs: int,
    progress: Progress | None = None,
) -> tuple[Found, NDArray[np.int64], Found] | None:
    """Search few rows in both directions, with distances that are computed once.

    As :func:`search_both`; ``every``: all left rows are searched, and not only those found.
    ``None`` if sums of squares overflow the float type of the points.
    """
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    columns = np.ascontiguousarray(right.T)
    squares = np.empty((len(left), len(right)), left.dtype)
    back = np.empty((len(right), len(left)), left.dtype)

    def propose(block: slice) -> None:
        small_kernels.propose(left[block], columns, squares[block])
        back[:, block] = squares[block].T

    map_blocks(propose, _blocks_to_search(left, right, n_jobs), n_jobs=n_jobs)
    in_left = _Ranks(right, left, k_left, ranked=ranked, proposed=True)
    fine = map_blocks(
        lambda block: in_left.rank(block, back[block]),
        _blocks_to_search(right, left, n_jobs),
        n_jobs=n_jobs,
    )
    if not all(fine):
        return None
    rows = np.arange(len(left)) if every else found_rows(in_left.indices, len(left))
    if len(rows) < len(left):
        left = left[rows]
    in_right = _Ranks(left, right, k_right, ranked=ranked, proposed=True)
    # A sum of more squares overflows where that of fewer did not.
    fine = map_blocks(
        lambda block: in_right.rank(block, squares[rows[block]]),
        _blocks_to_search(left, right, n_jobs),
        n_jobs=n_jobs,
        progress=progress,
        stage="neighbours",
    )
    if not all(fine):
        return None
    return in_left.found(), rows, in_right.found()


class _Ranks:
    """The nearest of few reference rows, which proposed squares lead to, block by block."""

    def __init__(
        self,
        query: NDArray[Any],
        reference: NDArray[Any],
        k: int,
        *,
        ranked: bool,
        proposed: bool = False,
    ) -> None:
        self.query, self.reference = np.ascontiguousarray(query), np.ascontiguousarray(reference)
        self.none = np.empty((0, len(reference)), query.dtype)
        self.columns = self.none if proposed else np.ascontiguousarray(reference.T)
        self.slack, self.floor = _rounding(query.dtype, query.shape[1])
        self.indices = np.empty((len(query), k), np.int32)
        self.squares = np.empty((len(query), k)) if ranked else np.empty((0, k))

    def rank(self, block: slice, proposals: NDArray[Any] | None = None) -> bool:
        """Find the nearest of some query rows; return whether all sums of squares were finite.

        ``proposals``: squares in the type of the points, if they are known.
        """
        return bool(
            small_kernels.search_few(
                self.query[block], self.reference, self.columns,
                self.none if proposals is None else proposals, self.slack, self.floor,
                self.indices[block], self.squares[block],
            )
        )  # fmt: skip

    def found(self) -> Found:
        """Return the neighbors, and their distances, or NaN unless these are wanted."""
        if len(self.squares) < len(self.indices):
            return self.indices, _not_measured(self.indices.shape)
        return self.indices, np.sqrt(self.squares, out=self.squares)


@cache
def _rounding(dtype: np.dtype[Any], n_dims: int) -> tuple[Any, Any]:
    """Bound the relative and the absolute error of a sum of squares in a float type.

    Twice the bound for a sum of so many squares (Higham 2002, eq. 3.5), plus a margin.
    """
    known = np.finfo(dtype)
    return dtype.type(2 * (n_dims + 4) * known.eps), dtype.type(n_dims * known.tiny)


def _not_measured(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return distances that are NaN, which take no memory and cannot be changed."""
    return np.broadcast_to(np.float64(np.nan), shape)


def _blocks_to_search(query: NDArray[Any], reference: NDArray[Any], n_jobs: int) -> list[slice]:
    at_once = FEW_DISTANCES if n_jobs > 1 else FEW_DISTANCES_ALONE
    return row_blocks(len(query), max(1, at_once // len(reference)))


def gather_few(
    query: NDArray[Any], reference: NDArray[Any], k: int, *, n_jobs: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]] | None:
    """Find the ``k`` nearest of few reference rows, unsorted, and their squared distances.

    This suffices for weighted means over neighbors. Squares are accurate to a few rounding units of
    the float type of the points. ``None`` if they overflow it.
    """
    k = min(k, len(reference))
    indices, squares = np.empty((len(query), k), np.int32), np.empty((len(query), k))
    columns = np.ascontiguousarray(reference.T)
    query = np.ascontiguousarray(query)
    no_rows, none = np.empty((0, query.shape[1]), query.dtype), np.empty((0, k), query.dtype)
    zero = query.dtype.type(0)

    def find(block: slice) -> bool:
        return bool(
            small_kernels.search_few(
                query[block], no_rows, columns, none, zero, zero, indices[block], squares[block]
            )
        )

    if all(map_blocks(find, _blocks_to_search(query, reference, n_jobs), n_jobs=n_jobs)):
        return indices, squares
    return None


def search(
    query: SearchSide,
    reference: SearchSide,
    k: int,
    *,
    n_jobs: int,
    progress: Progress | None = None,
) -> Found:
    """Find the ``k`` nearest reference rows of each query row; there are at least ``k``."""
    tiles = row_blocks(len(reference.points), REFERENCE_TILE)

    def find(block: slice) -> Found:
        heaps = np.arange(block.stop - block.start)
        values, indices = _heaps(len(heaps), k, reference)
        for tile in tiles:
            search_kernels.push_tile(
                query.centred[block] @ reference.centred[tile].T, reference.norms[tile],
                tile.start, heaps, values, indices,
            )  # fmt: skip
        return _rank(query, reference, block, values, indices, k)

    blocks = _query_blocks(len(query.points))
    found = map_blocks(find, blocks, n_jobs=n_jobs, progress=progress, stage="neighbours")
    return _join_found(found)


def search_both(
    left: SearchSide,
    right: SearchSide,
    k_left: int,
    k_right: int,
    *,
    n_jobs: int,
    progress: Progress | None = None,
) -> tuple[Found, NDArray[np.int64], Found]:
    """Search in both directions with one product of the sides; see ``engines.nearest_both``.

    Also returns the left rows that were found, to which the second search belongs.
    """
    n_left, n_right = len(left.points), len(right.points)
    panels = row_blocks(n_left, rows_per_block(n_right, cells=PANEL))
    room = np.empty((panels[0].stop, n_right), left.centred.dtype)
    in_left, in_right = _heaps(n_right, k_left, left), _heaps(n_left, k_right, right)
    for number, panel in enumerate(panels, 1):
        _push_panel(left, right, panel, room, in_left, in_right, n_jobs)
        if progress is not None:
            progress("neighbours", number / len(panels))

    def rank_right(block: slice) -> Found:
        return _rank(right, left, block, in_left[0][block], in_left[1][block], k_left)

    found_left = _join_found(map_blocks(rank_right, _query_blocks(n_right), n_jobs=n_jobs))
    rows = found_rows(found_left[0], n_left)

    def rank_left(block: slice) -> Found:
        some = rows[block]
        return _rank(left, right, some, in_right[0][some], in_right[1][some], k_right)

    return (
        found_left,
        rows,
        _join_found(map_blocks(rank_left, _query_blocks(len(rows)), n_jobs=n_jobs)),
    )


def _push_panel(
    left: SearchSide,
    right: SearchSide,
    panel: slice,
    room: NDArray[Any],
    in_left: Heaps,
    in_right: Heaps,
    n_jobs: int,
) -> None:
    """Multiply some left rows by all right rows, and push the products into both heaps."""
    products = room[: panel.stop - panel.start]

    def multiply(columns: slice) -> None:
        np.matmul(left.centred[panel], right.centred[columns].T, out=products[:, columns])
        search_kernels.push_columns(
            products, columns.start, columns.stop, left.norms[panel], panel.start, *in_left
        )

    def use_up(rows: slice) -> None:
        heaps = np.arange(panel.start + rows.start, panel.start + rows.stop)
        search_kernels.push_tile(products[rows], right.norms, 0, heaps, *in_right)

    map_blocks(multiply, _query_blocks(products.shape[1]), n_jobs=n_jobs)
    map_blocks(use_up, _query_blocks(len(products)), n_jobs=n_jobs)


def found_rows(indices: NDArray[np.integer[Any]], n_reference: int) -> NDArray[np.int64]:
    """Find the reference rows that are neighbors of any query row."""
    found = np.zeros(n_reference, np.bool_)
    found[indices] = True
    return np.flatnonzero(found)


def _query_blocks(n_rows: int) -> list[slice]:
    return row_blocks(
        n_rows, rows_per_block(1, n_rows=n_rows, cells=QUERY_BLOCK, least=LEAST_QUERY_BLOCK)
    )


def _join_found(found: list[Found]) -> Found:
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def _heaps(n_rows: int, k: int, reference: SearchSide) -> Heaps:
    """Make empty heaps of proposals, one per row."""
    size = min(len(reference.points), k + SPARE)
    values = np.full((n_rows, size), np.inf, reference.centred.dtype)
    return values, np.full((n_rows, size), np.iinfo(np.int32).max, np.int32)


def _rank(
    query: SearchSide,
    reference: SearchSide,
    rows: slice | NDArray[np.int64],
    values: NDArray[Any],
    indices: NDArray[np.int32],
    k: int,
) -> Found:
    """Rank the proposals of some query rows by direct distances."""
    search_kernels.sort_heaps(values, indices)
    points, bounds = query.points[rows], _bounds(query, reference, rows)
    squares = np.full((len(points), k), np.inf)
    nearest = np.zeros((len(points), k), np.int32)
    complete = np.zeros(len(points), np.bool_)
    search_kernels.rescore(
        points, reference.points, values, indices, bounds, complete, squares, nearest
    )
    if not complete.all():
        # More near-ties than places, such as duplicated cells: compute all candidates.
        doubtful = np.flatnonzero(~complete)
        limits = values[doubtful, k - 1] + 2 * bounds[doubtful]
        best = np.full((len(doubtful), k), np.inf)
        best_rows = np.full((len(doubtful), k), np.iinfo(np.int32).max, np.int32)
        centred = query.centred[rows][doubtful]
        for tile in row_blocks(len(reference.points), REFERENCE_TILE):
            search_kernels.push_tile_within(
                centred @ reference.centred[tile].T, reference.norms[tile], limits,
                points[doubtful], reference.points[tile], tile.start, best, best_rows,
            )  # fmt: skip
        search_kernels.sort_heaps(best, best_rows)
        squares[doubtful], nearest[doubtful] = best, best_rows
    return nearest, np.sqrt(squares)


def _bounds(
    query: SearchSide, reference: SearchSide, rows: slice | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Bound the rounding of ``||y||^2 - 2 <x, y>`` for some query rows (Higham 2002, eq. 3.5)."""
    n_dims = query.points.shape[1]
    unit = np.finfo(query.centred.dtype).eps / 2
    largest = float(np.sqrt(reference.norms.max(initial=0)))
    own = np.sqrt(query.norms[rows].astype(np.float64))
    bounds: NDArray[np.float64] = unit * (
        2 * (n_dims + 4) * own * largest + 8 * (own + largest) ** 2
    )
    return bounds
