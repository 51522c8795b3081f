"""Nearest neighbors by a coarse partition of each side.

K-means cuts each side into cells with a limited number of points; cells that are too large are cut
again. Each point searches the cells of the other side whose centers are nearest. Points of
neighboring cells search the same cells, by small matrix products. Each side has its own cells, so
every probed cell contains points, however far apart two batches lie. The number of cells to probe
is chosen on a sample whose true neighbors are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.neighbors import region_kernels
from mnncorrect.core.runtime import kernels
from mnncorrect.core.runtime.threads import copy_rows, map_blocks, row_blocks, single_blas

from . import search_kernels

# A cell has at most twice this number of points. Smaller cells would make products inefficient.
CELL = 128
# Cells made at a time. K-means costs points x cells, so large cells are cut again instead.
MOST_REGIONS = 64
# Points per cell and rounds of k-means. Cells must be compact, not optimal.
FIT_POINTS, FIT_ROUNDS = 32, 4
# Points in the sample for the number of probes. With 20 neighbors each, the standard error of a
# recall of 0.99 is below 0.003.
SAMPLE = 256
LEAST_PROBES = 4
ASSIGN_BLOCK = 8192
# Query points that search together, and additional neighbors to keep of the float32 search.
QUERY_POINTS = 2048
SPARE_RANKED = 4


@dataclass(frozen=True)
class Partition:
    """Points in the order of their cells."""

    rows: NDArray[np.int64]  # Original row of each point.
    starts: NDArray[np.int64]  # Cell ``c`` holds points ``starts[c]:starts[c + 1]``.
    points: NDArray[np.float32]  # Points x dimensions, float32.
    norms: NDArray[np.float32]  # Their squared lengths.
    centers: NDArray[np.float32]  # Mean of each cell.
    center_norms: NDArray[np.float32]  # Their squared lengths.

    def __len__(self) -> int:
        return len(self.centers)


def cut(
    points: NDArray[np.float32], *, random_state: int, n_jobs: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut points about the origin into cells of at most 256.

    Returns the rows in the order of cells, and the first of each cell, and the end of the last.
    """
    everything = np.arange(len(points))
    if len(points) <= 2 * CELL:
        cells = [everything]
    else:
        with single_blas():
            centers = _fit(points, everything, random_state)

        def assign(block: slice) -> NDArray[np.int64]:
            return _nearest_center(points[block], centers)

        blocks = row_blocks(len(points), ASSIGN_BLOCK)
        labels = np.concatenate(map_blocks(assign, blocks, n_jobs=n_jobs))
        parts = _rows_by_label(everything, labels)
        split = map_blocks(
            lambda rows: _split_cells(points, rows, random_state), parts, n_jobs=n_jobs
        )
        cells = [cell for part in split for cell in part]
    rows = np.concatenate(cells)
    return rows, np.concatenate([[0], np.cumsum([len(cell) for cell in cells])])


def build(points: NDArray[np.float32], *, random_state: int, n_jobs: int) -> Partition:
    """Make a partition of points about the origin, in cells of at most 256."""
    rows, starts = cut(points, random_state=random_state, n_jobs=n_jobs)
    return of_cells(copy_rows(points, rows, n_jobs=n_jobs), starts, rows, n_jobs=n_jobs)


def of_cells(
    points: NDArray[np.float32],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64] | None = None,
    *,
    n_jobs: int,
) -> Partition:
    """Make a partition of points that are sorted by given cells; ``rows`` are their numbers."""
    norms = np.empty(len(points), np.float32)
    centers = np.empty((len(starts) - 1, points.shape[1]), np.float32)
    center_norms = np.empty(len(centers), np.float32)

    def measure(cells: slice) -> None:
        own = slice(starts[cells.start], starts[cells.stop])
        kernels.dense_square_norms(points[own], norms[own])
        region_kernels.cell_means(points, starts[cells.start : cells.stop + 1], centers[cells])
        kernels.dense_square_norms(centers[cells], center_norms[cells])

    map_blocks(measure, row_blocks(len(centers), CELL), n_jobs=n_jobs)
    if rows is None:
        rows = np.arange(len(points))
    return Partition(rows, starts, points, norms, centers, center_norms)


def subset(partition: Partition, rows: NDArray[np.int64]) -> Partition:
    """Keep some of the points, and renumber them in the order of ``rows`` (ascending)."""
    number = np.full(len(partition.rows), -1)
    number[rows] = np.arange(len(rows))
    kept = number[partition.rows] >= 0
    cell_of = np.repeat(np.arange(len(partition)), np.diff(partition.starts))[kept]
    cells, sizes = np.unique(cell_of, return_counts=True)
    return Partition(
        number[partition.rows][kept],
        np.concatenate([[0], np.cumsum(sizes)]),
        partition.points[kept],
        partition.norms[kept],
        partition.centers[cells],
        partition.center_norms[cells],
    )


def _split_cells(points: NDArray[np.float32], rows: NDArray[np.int64], seed: int) -> list[Any]:
    """Cut the points of some rows into cells, repeatedly until all are small enough."""
    if len(rows) <= 2 * CELL:
        return [rows]
    labels = _nearest_center(points[rows], _fit(points, rows, seed))
    parts = _rows_by_label(rows, labels)
    if len(parts) == 1:
        # All points are equal: any cut will do.
        return [rows[block] for block in row_blocks(len(rows), CELL)]
    return [cell for part in parts for cell in _split_cells(points, part, seed)]


def _rows_by_label(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    # numpy sorts numbers of two bytes by radix, in linear time.
    order = np.argsort(labels.astype(np.int16), kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(rows[order], cuts)


def _fit(points: NDArray[np.float32], rows: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Find k-means centers of some rows on a sample of them."""
    n_cells = min(MOST_REGIONS, -(-len(rows) // CELL))
    rng = np.random.default_rng([seed, len(rows)])
    sample = points[rng.permutation(rows)[: n_cells * FIT_POINTS]]
    centers: NDArray[np.float32] = sample[:n_cells].copy()
    for _ in range(FIT_ROUNDS):
        labels = _nearest_center(sample, centers)
        totals, sizes = np.zeros(centers.shape), np.zeros(n_cells, np.int64)
        kernels.add_rows(sample, labels, totals, sizes)
        kept = sizes > 0
        centers[kept] = totals[kept] / sizes[kept, None]
        if not kept.all():
            # An empty cell restarts at the points that are furthest from their centers.
            far = np.square(sample - centers[labels]).sum(1)
            worst = np.argsort(-far, kind="stable")[: n_cells - int(kept.sum())]
            centers[~kept] = sample[worst]
    return centers


def _nearest_center(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    products: NDArray[np.float32] = points @ centers.T
    norms = np.empty(len(centers))
    kernels.dense_square_norms(centers, norms)
    return np.argmin(norms.astype(np.float32) - 2 * products, axis=1)


@dataclass(frozen=True)
class Probes:
    """Number of cells that a search probes."""

    pool: int  # Cells nearest to the center of a query's cell; candidates for its points.
    own: int  # Cells of the pool nearest to the query itself; these are searched.


def search(
    query: Partition,
    reference: Partition,
    originals: tuple[NDArray[Any], NDArray[Any]],
    k: int,
    *,
    recall: float,
    ranked: bool = True,
    n_jobs: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find about the ``k`` nearest reference points of each query point, by original query row.

    ``originals`` are the points of both sides in original units, by which neighbors are ranked in
    float64; unless ``ranked``, they keep the ranks of the float32 search and distances are NaN.
    :func:`choose_probes` explains ``recall``.
    """
    probes = choose_probes(query, reference, k, recall=recall, n_jobs=n_jobs)
    size = min(len(reference.rows), k + SPARE_RANKED)
    indices = np.empty((len(query.rows), k), np.int32)
    distances = np.empty((len(query.rows), k)) if ranked else np.full((len(query.rows), k), np.nan)
    # Sorted by cells, points that are found together are close in memory.
    values_of = originals[1]
    if reference.rows[0] != 0 or (np.diff(reference.rows) != 1).any():
        values_of = copy_rows(values_of, reference.rows, n_jobs=n_jobs)
    largest = int(np.diff(reference.starts).max())

    def look(cells: slice) -> None:
        own = slice(query.starts[cells.start], query.starts[cells.stop])
        points = query.points[own]
        chosen = _choose(query, reference, cells, probes, size)
        values = np.full((len(points), size), np.inf, np.float32)
        places = np.full((len(points), size), np.iinfo(np.int32).max, np.int32)
        # Every point searches its nearest cell first, so few later candidates are kept.
        room = np.empty(search_kernels.GATHERED * largest, np.float32)
        for columns in ((0, 1), (1, chosen.shape[1])):
            search_kernels.search_cells(
                points, chosen, columns, reference.points, reference.norms, reference.starts,
                room, values, places,
            )  # fmt: skip
        search_kernels.sort_heaps(values, places)
        rows = query.rows[own]
        if not ranked:
            indices[rows] = reference.rows[places[:, :k]]
            return
        best, best_places = np.full((len(rows), k), np.inf), np.zeros((len(rows), k), np.int32)
        # All candidates are ranked: the set of neighbors is approximate, their order is exact.
        search_kernels.rescore(
            originals[0][rows], values_of, values, places, np.full(len(rows), np.inf),
            np.empty(len(rows), np.bool_), best, best_places,
        )  # fmt: skip
        best_rows = reference.rows[best_places]
        _rank_ties(best_rows, best)
        indices[rows], distances[rows] = best_rows, best

    # Cells are sorted in space, so neighboring cells search mostly the same cells.
    cuts = np.searchsorted(query.starts, np.arange(0, len(query.rows), QUERY_POINTS))
    bounds = np.unique(np.append(cuts, len(query))).tolist()
    blocks = [slice(start, stop) for start, stop in pairwise(bounds)]
    map_blocks(look, blocks, n_jobs=n_jobs)
    return indices, distances


def _rank_ties(indices: NDArray[np.int64], distances: NDArray[np.float64]) -> None:
    """Sort neighbors at equal distances by row."""
    tied = np.flatnonzero((np.diff(distances, axis=1) == 0).any(1))
    for row in tied:
        order = np.lexsort((indices[row], distances[row]))
        indices[row] = indices[row][order]


def _choose(
    query: Partition, reference: Partition, cells: slice, probes: Probes, least: int
) -> NDArray[np.int32]:
    """Choose the cells that each point of some cells searches; more cells if they are small."""
    starts = query.starts[cells.start : cells.stop + 1]
    points = query.points[starts[0] : starts[-1]]
    sizes = np.diff(reference.starts)
    distances = _to_centers(query.centers[cells], reference)
    pool, own = probes.pool, probes.own
    while True:
        pool = min(max(pool, own), len(reference))
        own = min(own, pool)
        pools = np.argpartition(distances, pool - 1, axis=1)[:, :pool].astype(np.int32)
        chosen = np.empty((len(points), own), np.int32)
        room = np.empty(int(np.diff(starts).max()) * pool, np.float32)
        held = search_kernels.choose_cells(
            points, starts - starts[0], pools, sizes, reference.centers, reference.center_norms,
            room, chosen,
        )  # fmt: skip
        if held >= least:
            return chosen
        pool, own = 2 * pool, 2 * own


def choose_probes(
    query: Partition, reference: Partition, k: int, *, recall: float, n_jobs: int
) -> Probes:
    """Choose how many cells to probe to find a share ``recall`` of the true neighbors.

    The true neighbors of 256 points, evenly spread over the query's cells, are searched exactly.
    The pool of cells may lose half of the allowed share; the choice of each point within the pool
    may lose the rest.
    """
    size = min(SAMPLE, len(query.rows))
    sample = (2 * np.arange(size) + 1) * len(query.rows) // (2 * size)
    cells = np.searchsorted(query.starts, sample, side="right") - 1
    cell_of = np.repeat(np.arange(len(reference)), np.diff(reference.starts))

    def true_cells(block: slice) -> NDArray[np.int64]:
        points = query.points[sample[block]]
        values = np.full((len(points), k), np.inf, np.float32)
        places = np.full((len(points), k), np.iinfo(np.int32).max, np.int32)
        for tile in row_blocks(len(reference.rows), ASSIGN_BLOCK):
            products = points @ reference.points[tile].T
            rows = np.arange(len(points))
            search_kernels.push_tile(
                products, reference.norms[tile], tile.start, rows, values, places
            )
        return cell_of[places]

    blocks = row_blocks(len(cells), 32)
    true = np.concatenate(map_blocks(true_cells, blocks, n_jobs=n_jobs))
    with single_blas():
        to_cells = _to_centers(query.centers[cells], reference)
        to_points = _to_centers(query.points[sample], reference)
    by_cell = _ranks(to_cells, to_cells, true, np.inf)
    pool = min(max(_quantile(by_cell, (1 + recall) / 2), LEAST_PROBES), len(reference))
    furthest = np.partition(to_cells, pool - 1, axis=1)[:, pool - 1]
    by_point = _ranks(to_points, to_cells, true, furthest[:, None])
    return Probes(pool, max(_quantile(by_point, recall), LEAST_PROBES))


def _ranks(
    distances: NDArray[np.float32],
    limited: NDArray[np.float32],
    true: NDArray[np.int64],
    limit: NDArray[np.float32] | float,
) -> NDArray[np.int64]:
    """Rank some cells by distance among the cells within a limit; cells beyond get the last rank.

    ``true`` holds, for each row of ``distances``, the cells to rank.
    """
    among = np.where(limited <= limit, distances, np.float32(np.inf))
    out = np.empty(true.shape, np.int64)
    for at, cells in enumerate(true.T):
        own = np.take_along_axis(among, cells[:, None], 1)
        out[:, at] = np.where(own[:, 0] < np.inf, (among < own).sum(1), among.shape[1]) + 1
    return out


def _to_centers(points: NDArray[np.float32], reference: Partition) -> NDArray[np.float32]:
    """Compute squared distances of points to all centers, minus the squares of the points."""
    products: NDArray[np.float32] = points @ reference.centers.T
    return reference.center_norms - 2 * products


def _quantile(needed: NDArray[np.int64], share: float) -> int:
    """Find the number of probes that finds a given share of neighbors."""
    return int(np.sort(needed, axis=None)[int(np.ceil(share * needed.size)) - 1])
