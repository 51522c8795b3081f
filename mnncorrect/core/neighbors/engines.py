"""Nearest neighbors by several engines with one interface.

A query returns, for each query row, its ``k`` nearest reference rows by Euclidean distance, sorted
by (distance, index). ``exact`` finds all of them, and so does ``cuvs``, on a graphics card.
``partition`` and ``pynndescent`` find most.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime import kernels
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions
from mnncorrect.core.runtime.threads import copy_rows, map_blocks, row_blocks, rows_per_block

from . import cuvs, exact, partition, search_kernels

if TYPE_CHECKING:
    from .exact import SearchSide
    from .partition import Partition

GroupStarts: TypeAlias = "tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]"
"""For each of two sides, the first row of each group of nearby rows, and the end of the last."""

ENGINES = ("auto", "exact", "partition", "pynndescent", "cuvs")

# Rows that are summed at a time, and numbers that are centered at a time.
SUMMED_ROWS, CENTRED_CELLS = 32768, 1 << 20
# Number of parts in which lists are completed; each part reads all lists of the other side.
COMPLETED_SHARES = 4
# Largest exact search that `auto` chooses, as cells x cells. In 50 dimensions the partition is as
# fast at 6,000 against 6,000 and twice as fast at 15,000; in between, exact results are worth the
# time. In more dimensions the partition is less selective, so the limit is higher.
EXACT_PAIRS, EXACT_DIMS = 1e8, 50
# The same limit for cells that are grouped already.
MANY_IN_GROUPS = 2e7
# Left cells per right cell up to which an exact search computes both directions from one product.
# Above, few left cells are found from the right, and it is cheaper to search for these alone.
LOPSIDED = 4
# A pair can be found from either end, so each of two searches may miss this many times more true
# neighbors than the recall allows. At least 0.992 of the pairs are found (measured on 30,000 cells
# a side, in 20 and 50 dimensions, with shifts of 0, 1 and 5 standard deviations).
SEEN_TWICE = 4
# How far pynndescent looks beyond the best so far; at 0.1 one pair in twelve is lost.
EPSILON = 0.3


@dataclass(frozen=True)
class Neighbors:
    """The nearest reference rows of each query row."""

    indices: NDArray[np.int32]  # Reference rows, queries x k, nearest first, ties by lowest row.
    distances: NDArray[np.float64]  # Their Euclidean distances.
    engine: str = "exact"  # Engine that found them.
    # Cell of the partition for each query row, if the engine makes a partition.
    cell: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] | None = None  # Query rows of the result; default: all, in their order.


def refuse_engine(engine: str) -> None:
    """Refuse an engine that is unknown, or whose packages are not installed."""
    if engine not in ENGINES:
        raise ValueError(f"`neighbors` is {engine!r}; choose one of {', '.join(ENGINES)}")
    if engine == "cuvs":
        cuvs.refuse_without_cuvs()


def resolve_engine(engine: str, n_left: int, n_right: int, n_dims: int) -> str:
    """Choose an engine: the given one, or for ``auto`` one by the size of the search."""
    refuse_engine(engine)
    if engine != "auto":
        return engine
    most = EXACT_PAIRS * np.sqrt(max(1.0, n_dims / EXACT_DIMS))
    return "exact" if float(n_left) * n_right <= most else "partition"


def by_groups(compute: ComputeOptions, n_query: int, n_reference: int) -> ComputeOptions:
    """Let ``auto`` use the partition for smaller sets too, if at least one side is grouped."""
    if compute.engine == "auto" and n_query * n_reference > MANY_IN_GROUPS:
        return replace(compute, engine="partition")
    return compute


def nearest(
    query: NDArray[Any],
    reference: NDArray[Any],
    k: int,
    *,
    compute: ComputeOptions = DEFAULT_COMPUTE,
    groups: GroupStarts = (None, None),
    ranked: bool = True,
) -> Neighbors:
    """Find the ``k`` nearest reference rows of each query row, all float32 or all float64.

    Engines of ``compute``: ``exact``; ``partition`` (approximate, see
    :mod:`mnncorrect.core.neighbors.partition`); ``pynndescent`` (approximate; depends on the number
    of threads and on the seed); ``cuvs`` (exact up to float32 rounding, on a graphics card);
    ``auto``: exact for small searches, partition for large ones.
    ``partition`` searches until it reaches ``recall`` on a sample; 1 probes every cell with a
    neighbor of the sample. It uses ``groups`` of query and reference instead of making its own, if
    given: the first row of each group of nearby rows, and the end of the last. Unless ``ranked``,
    its neighbors keep the ranks of the float32 search and distances are NaN, which suffices for
    means over neighbors. Among few rows the order is exact either way, and only distances are NaN.
    """
    k = _possible_k(k, len(query), len(reference))
    _check_recall(compute.recall)
    engine = resolve_engine(compute.engine, len(query), len(reference), query.shape[1])
    if engine == "exact":
        if exact.are_few(reference, k):
            found = exact.search_few(
                query, reference, k, ranked=ranked, n_jobs=compute.n_jobs, progress=compute.progress
            )
            if found is not None:
                return Neighbors(*found)
        sides = _sides(query, reference, compute.n_jobs)
        return Neighbors(*exact.search(*sides, k, n_jobs=compute.n_jobs, progress=compute.progress))
    if engine == "partition":
        cells = _partitions(query, reference, compute, groups)
        originals = query, reference
        return _partition(cells, originals, k, compute.recall, compute.n_jobs, ranked=ranked)
    if engine == "cuvs":
        # Near zero, squares in float32 keep more digits.
        queries, references = _centered_sides(query, reference, n_jobs=compute.n_jobs)
        near = cuvs.propose(queries, references, k)
        return _ranked(query, reference, near, k, engine)
    return _pynndescent(query, reference, k, compute)


def nearest_both(
    left: NDArray[Any],
    right: NDArray[Any],
    k_left: int,
    k_right: int,
    *,
    compute: ComputeOptions = DEFAULT_COMPUTE,
    groups: GroupStarts = (None, None),
    measured: bool = True,
    every: bool = False,
) -> tuple[Neighbors, Neighbors]:
    """Search in both directions, for mutual pairs.

    Returns the ``k_left`` nearest left rows of each right row, and the ``k_right`` nearest right
    rows of the left rows that were found: no other left row can be in a pair. ``recall`` is that of
    pairs: what ``partition`` misses in one direction and finds in the other is in both results.
    Unless ``measured``, distances may be NaN in exact results. With ``every``, an exact search is
    for all left rows.
    """
    _check_recall(compute.recall)
    n_jobs = compute.n_jobs
    engine = resolve_engine(compute.engine, len(left), len(right), left.shape[1])
    k_right = _possible_k(k_right, len(left), len(right))
    k_left = _possible_k(k_left, len(right), len(left))
    if engine == "partition":
        sides = _partitions(left, right, compute, groups)
        recall = compute.recall**SEEN_TWICE
        in_left = _partition(sides[::-1], (right, left), k_left, recall, n_jobs)
        rows = exact.found_rows(in_left.indices, len(left))
        some = (partition.subset(sides[0], rows), sides[1])
        found = copy_rows(left, rows, n_jobs=n_jobs)
        in_right = _partition(some, (found, right), k_right, recall, n_jobs)
        _complete(in_left, in_right, rows, len(left), n_jobs=n_jobs)
        return in_left, replace(in_right, rows=rows)
    few = exact.are_few(left, k_left) and exact.are_few(right, k_right)
    if engine == "exact" and few and len(left) * len(right) <= exact.SHARED_DISTANCES:
        both = exact.search_few_both(
            left,
            right,
            k_left,
            k_right,
            ranked=measured,
            every=every,
            n_jobs=n_jobs,
            progress=compute.progress,
        )
        if both is not None:
            return Neighbors(*both[0]), Neighbors(*both[2], rows=None if every else both[1])
    if engine == "exact" and not few and not every and len(left) <= LOPSIDED * len(right):
        back, rows, ahead = exact.search_both(
            *_sides(left, right, n_jobs), k_left, k_right, n_jobs=n_jobs, progress=compute.progress
        )
        return Neighbors(*back), Neighbors(*ahead, rows=rows)
    compute = replace(compute, engine=engine)
    ranked = measured or engine != "exact"
    in_left = nearest(right, left, k_left, compute=compute, ranked=ranked)
    if every:
        return in_left, nearest(left, right, k_right, compute=compute, ranked=ranked)
    rows = exact.found_rows(in_left.indices, len(left))
    popular = left if len(rows) == len(left) else left[rows]
    in_right = nearest(popular, right, k_right, compute=compute, ranked=ranked)
    return in_left, replace(in_right, rows=rows)


def grouped(
    x: NDArray[Any], compute: ComputeOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows into groups of nearby rows; return the order and the group starts."""
    n_jobs = compute.n_jobs
    (points,) = _centered_sides(np.ascontiguousarray(x), n_jobs=n_jobs)
    return partition.cut(_single(points), random_state=compute.random_state, n_jobs=n_jobs)


def groups_left(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Find the groups of a subset of rows (``rows``, ascending).

    ``None`` if groups become so small that a search is faster with new ones.
    """
    left = np.unique(np.searchsorted(rows, starts))
    return left if len(rows) >= partition.CELL / 2 * (len(left) - 1) else None


def _complete(
    in_left: Neighbors, in_right: Neighbors, rows: NDArray[np.int64], n_left: int, *, n_jobs: int
) -> None:
    """Add to each search the neighbors that only the other one found.

    So only neighbors that both miss are lost. ``rows`` are the left rows of ``in_right``.
    """
    everything, places = np.arange(len(in_left.indices)), np.empty(n_left, np.int64)
    places[rows] = np.arange(len(rows))
    _take_over(in_right, places, in_left, everything, n_jobs=n_jobs)
    _take_over(in_left, everything, in_right, rows, n_jobs=n_jobs)


def _take_over(
    mine: Neighbors,
    places: NDArray[np.int64],
    theirs: Neighbors,
    rows: NDArray[np.int64],
    *,
    n_jobs: int,
) -> None:
    """Add the neighbors of one search to the lists of the other; arguments as in the kernel."""
    n = len(mine.indices)

    def take(block: slice) -> None:
        # Each thread reads all lists of the other side but writes only to its own.
        search_kernels.complete(
            mine.indices, mine.distances, places, rows, theirs.indices, theirs.distances,
            block.start, block.stop,
        )  # fmt: skip

    map_blocks(take, row_blocks(n, -(-n // COMPLETED_SHARES)), n_jobs=n_jobs)


def _check_recall(recall: float) -> None:
    if not 0 < recall <= 1:
        raise ValueError(f"recall is {recall}; it must be above 0 and at most 1")


def _possible_k(k: int, n_query: int, n_reference: int) -> int:
    if k < 1:
        raise ValueError(f"the number of neighbors is {k}; it must be at least 1")
    if not n_query or not n_reference:
        raise ValueError("a search for neighbors needs at least one cell on each side")
    return min(k, n_reference)


def _sides(left: NDArray[Any], right: NDArray[Any], n_jobs: int) -> tuple[SearchSide, SearchSide]:
    """Prepare the two sides of an exact search."""
    if left is right:
        (centred,) = _centered_sides(np.ascontiguousarray(left), n_jobs=n_jobs)
        one = exact.search_side(left, centred, n_jobs=n_jobs)
        return one, one
    both = np.ascontiguousarray(left), np.ascontiguousarray(right)
    one, other = (
        exact.search_side(points, centred, n_jobs=n_jobs)
        for points, centred in zip(both, _centered_sides(*both, n_jobs=n_jobs), strict=True)
    )
    return one, other


def _centered_sides(*sides: NDArray[Any], n_jobs: int) -> list[NDArray[Any]]:
    """Subtract the pooled mean and scale to the order of 1, for proposals.

    |x|^2 + |y|^2 - 2xy loses digits, and more of them the further the cells are from zero. Squares
    of float32 values may also overflow. The scale is a power of two, so it rounds nothing.
    """

    def add(rows: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
        totals = np.zeros(rows.shape[1])
        return totals, kernels.add_columns(rows, totals)

    blocks = [side[rows] for side in sides for rows in row_blocks(len(side), SUMMED_ROWS)]
    parts = map_blocks(add, blocks, n_jobs=n_jobs)
    mean = np.sum([totals for totals, _ in parts], axis=0) / sum(map(len, sides))
    largest = max(size for _, size in parts)
    if not np.isfinite(mean).all():
        # Otherwise compiled loops would use a meaningless neighbor as an index beyond the arrays.
        raise FloatingPointError("coordinates are not finite, so they have no nearest neighbors")
    scale = 2.0 ** -np.ceil(np.log2(largest)) if largest > 0 else 1.0

    def center(side: NDArray[Any]) -> NDArray[Any]:
        out = np.empty_like(side)
        map_blocks(
            lambda rows: kernels.center_columns(side[rows], mean, scale, out[rows]),
            row_blocks(len(side), rows_per_block(side.shape[1], cells=CENTRED_CELLS)),
            n_jobs=n_jobs,
        )
        return out

    return [center(side) for side in sides]


def _partitions(
    left: NDArray[Any], right: NDArray[Any], compute: ComputeOptions, groups: GroupStarts
) -> tuple[Partition, Partition]:
    """Cut both sides into cells; known groups become the cells."""
    random_state, n_jobs = compute.random_state, compute.n_jobs
    if left is right:
        (points,) = _centered_sides(np.ascontiguousarray(left), n_jobs=n_jobs)
        cells = (
            partition.build(_single(points), random_state=random_state, n_jobs=n_jobs)
            if groups[0] is None
            else partition.of_cells(_single(points), groups[0], n_jobs=n_jobs)
        )
        return cells, cells
    one, other = (
        partition.build(_single(points), random_state=random_state, n_jobs=n_jobs)
        if starts is None
        else partition.of_cells(_single(points), starts, n_jobs=n_jobs)
        for points, starts in zip(
            _centered_sides(np.ascontiguousarray(left), np.ascontiguousarray(right), n_jobs=n_jobs),
            groups,
            strict=True,
        )
    )
    return one, other


def _single(x: NDArray[Any]) -> NDArray[np.float32]:
    return x.astype(np.float32, copy=False)


def _partition(
    sides: tuple[Partition, Partition],
    originals: tuple[NDArray[Any], NDArray[Any]],
    k: int,
    recall: float,
    n_jobs: int,
    *,
    ranked: bool = True,
) -> Neighbors:
    """Search the cells of one side in the cells of the other."""
    query, reference = (np.ascontiguousarray(side) for side in originals)
    indices, squares = partition.search(
        *sides, (query, reference), k, recall=recall, ranked=ranked, n_jobs=n_jobs
    )
    cell = np.empty(len(query), np.int64)
    cell[sides[0].rows] = np.repeat(np.arange(len(sides[0])), np.diff(sides[0].starts))
    return Neighbors(indices, np.sqrt(squares, out=squares), "partition", cell)


def _pynndescent(
    query: NDArray[Any], reference: NDArray[Any], k: int, compute: ComputeOptions
) -> Neighbors:
    """Search with pynndescent, then sort its results by (distance, index)."""
    import pynndescent

    with warnings.catch_warnings():
        # It warns of its own recursion, and of missing neighbors, which are -1 (checked below).
        warnings.simplefilter("ignore")
        index = pynndescent.NNDescent(
            reference.astype(np.float32),
            n_neighbors=min(max(30, k), len(reference)),
            random_state=compute.random_state,
            n_jobs=compute.n_jobs,
        )
        found, _ = index.query(query.astype(np.float32), k=k, epsilon=EPSILON)
    if (found < 0).any():
        raise ValueError(
            f"pynndescent found fewer than {k} neighbors for {(found < 0).any(1).sum()} cells; "
            'use neighbors="exact"'
        )
    return _ranked(query, reference, found, k, "pynndescent")


def _ranked(
    query: NDArray[Any], reference: NDArray[Any], found: NDArray[Any], k: int, engine: str
) -> Neighbors:
    """Rank proposed neighbors by (distance, index), and keep ``k`` of them."""
    order = np.sort(found, axis=1).astype(np.int32)
    distances = np.empty((len(order), k), np.float64)
    indices = np.empty(distances.shape, np.int32)
    complete = np.empty(len(query), np.bool_)
    search_kernels.rescore(
        np.ascontiguousarray(query), np.ascontiguousarray(reference),
        np.zeros(order.shape, query.dtype), order, np.zeros(len(query)), complete,
        distances, indices,
    )  # fmt: skip
    return Neighbors(indices, np.sqrt(distances), engine)
