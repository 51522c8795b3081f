"""Nearest neighbours by a coarse partition of each side.

Each side is cut into cells of a bounded number of points by k-means, applied again to cells that
are still too large. The points of one cell look for neighbours together: in the cells of the
other side whose centres are nearest to theirs, as one small matrix product. As each side has its
own cells, every cell that is probed holds points to be found, however far apart two batches lie.
How many cells are probed is read off a sample whose true neighbours are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels
from .threads import map_blocks, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A cell has at most twice as many points; as few as keep a product of two cells efficient.
CELL = 128
# Cells made at a time: k-means costs points x cells, and is applied again to large cells.
MOST_CELLS = 64
# Points per cell and rounds to fit k-means on: cells need to be compact, not optimal.
FIT_POINTS, FIT_ROUNDS = 32, 4
# Points whose true neighbours decide how many cells are probed: with 20 neighbours each, the
# standard error of a recall of 0.99 is below 0.003.
SAMPLE = 256
LEAST_PROBES = 4
ASSIGN_BLOCK = 8192
# Candidates a product: what it gives stays in the cache until it is ranked.
TILE = 1024


@dataclass(frozen=True)
class Partition:
    """Points in the order of their cells.

    Attributes
    ----------
    rows
        Original row of each point.
    starts
        Cell ``c`` holds points ``starts[c]:starts[c + 1]``.
    points
        Points x dimensions, float32.
    norms
        Their squared lengths.
    centers
        Mean of each cell.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    points: NDArray[np.float32]
    norms: NDArray[np.float32]
    centers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.centers)


def build(points: NDArray[np.float32], *, random_state: int, n_jobs: int) -> Partition:
    """Cut points into cells of at most 256.

    Parameters
    ----------
    points
        Points x dimensions, about the origin.
    random_state
        Seed of the first centres.
    n_jobs
        Threads.
    """
    everything = np.arange(len(points))
    if len(points) <= 2 * CELL:
        cells = [everything]
    else:
        centers = _fit(points, everything, random_state)

        def assign(block: slice) -> NDArray[np.int64]:
            return _nearest_center(points[block], centers)

        blocks = row_blocks(len(points), ASSIGN_BLOCK)
        labels = np.concatenate(map_blocks(assign, blocks, n_jobs=n_jobs))
        parts = _groups(everything, labels)
        split = map_blocks(lambda rows: _split(points, rows, random_state), parts, n_jobs=n_jobs)
        cells = [cell for part in split for cell in part]
    rows = np.concatenate(cells)
    starts = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])])
    ordered = points[rows]
    norms = np.empty(len(points))
    kernels.dense_square_norms(ordered, norms)
    centers = np.add.reduceat(ordered, starts[:-1], axis=0, dtype=np.float64)
    centers /= np.diff(starts)[:, None]
    return Partition(rows, starts, ordered, norms.astype(np.float32), centers.astype(np.float32))


def _split(points: NDArray[np.float32], rows: NDArray[np.int64], seed: int) -> list[Any]:
    """Cut the points of some rows into cells, again and again until all are small enough."""
    if len(rows) <= 2 * CELL:
        return [rows]
    labels = _nearest_center(points[rows], _fit(points, rows, seed))
    parts = _groups(rows, labels)
    if len(parts) == 1:
        # All alike: any cut is as good.
        return [rows[block] for block in row_blocks(len(rows), CELL)]
    return [cell for part in parts for cell in _split(points, part, seed)]


def _groups(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(rows[order], cuts)


def _fit(points: NDArray[np.float32], rows: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Find k-means centres of some rows on a sample of them."""
    n_cells = min(MOST_CELLS, -(-len(rows) // CELL))
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
            # An empty cell starts again at the points that are worst served.
            far = np.square(sample - centers[labels]).sum(1)
            worst = np.argsort(-far, kind="stable")[: n_cells - int(kept.sum())]
            centers[~kept] = sample[worst]
    return centers


def _nearest_center(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    products: NDArray[np.float32] = points @ centers.T
    norms = np.empty(len(centers))
    kernels.dense_square_norms(centers, norms)
    labels: NDArray[np.int64] = np.argmin(norms.astype(np.float32) - 2 * products, axis=1)
    return labels


def search(
    query: Partition,
    reference: Partition,
    originals: tuple[NDArray[Any], NDArray[Any]],
    k: int,
    *,
    recall: float,
    n_jobs: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find about the ``k`` nearest reference points of each query point.

    Parameters
    ----------
    query, reference
        The two sides.
    originals
        Their points as they were given, which found neighbours are ranked by.
    k
        Neighbours wanted, at most as many as there are reference points.
    recall
        Share of the true neighbours that is to be found; see :func:`choose_probes`.
    n_jobs
        Threads.

    Returns
    -------
    Rows and squared distances of the neighbours by original query row, nearest first.
    """
    probes = choose_probes(query, reference, k, recall=recall, n_jobs=n_jobs)
    size = min(len(reference.rows), k + 8)
    indices = np.empty((len(query.rows), k), np.int32)
    distances = np.empty((len(query.rows), k))

    def look(cell: int) -> None:
        own = slice(query.starts[cell], query.starts[cell + 1])
        candidates = _candidates(query.centers[cell], reference, probes, size)
        points = query.points[own]
        values = np.full((len(points), size), np.inf, np.float32)
        places = np.full((len(points), size), np.iinfo(np.int32).max, np.int32)
        for tile in row_blocks(len(candidates), TILE):
            some = candidates[tile]
            products = points @ reference.points[some].T
            kernels.push_tile(products, reference.norms[some], tile.start, values, places)
        kernels.sort_heaps(values, places)
        found = reference.rows[candidates[places]].astype(np.int32)
        rows = query.rows[own]
        best, best_rows = np.full((len(rows), k), np.inf), np.zeros((len(rows), k), np.int32)
        # All that was kept is ranked: the engine is approximate, its order is not.
        kernels.rescore(
            originals[0][rows], originals[1], values, found, np.full(len(rows), np.inf),
            np.empty(len(rows), np.bool_), best, best_rows,
        )  # fmt: skip
        indices[rows], distances[rows] = best_rows, best

    map_blocks(look, range(len(query)), n_jobs=n_jobs)
    return indices, distances


def _cells_by_distance(center: NDArray[np.float32], reference: Partition) -> NDArray[np.float32]:
    difference = reference.centers - center
    distances: NDArray[np.float32] = np.einsum("cd,cd->c", difference, difference)
    return distances


def _candidates(
    center: NDArray[np.float32], reference: Partition, probes: int, least: int
) -> NDArray[np.int64]:
    """Points of the ``probes`` nearest cells, and of more if these hold fewer than ``least``."""
    order = np.argsort(_cells_by_distance(center, reference), kind="stable")
    counts = np.diff(reference.starts)[order]
    enough = max(probes, int(np.searchsorted(np.cumsum(counts), least)) + 1)
    # Nearest first: most of what is kept is found at once, and the rest is passed over quickly.
    chosen, counts = order[:enough], counts[:enough]
    offsets = np.repeat(reference.starts[chosen] - np.cumsum(counts) + counts, counts)
    candidates: NDArray[np.int64] = offsets + np.arange(counts.sum())
    return candidates


def choose_probes(
    query: Partition, reference: Partition, k: int, *, recall: float, n_jobs: int
) -> int:
    """Choose how many cells must be probed to find a share ``recall`` of true neighbours.

    The true neighbours of one point of each of some 256 cells, evenly spread over the query's
    cells, are searched exactly; the answer is the smallest number of cells that holds that share
    of them.
    """
    cells = np.unique(np.linspace(0, len(query) - 1, min(SAMPLE, len(query))).astype(int))
    middle = (query.starts[cells] + query.starts[cells + 1]) // 2
    cell_of = np.repeat(np.arange(len(reference)), np.diff(reference.starts))

    def ranks(block: slice) -> NDArray[np.int64]:
        points = query.points[middle[block]]
        values = np.full((len(points), k), np.inf, np.float32)
        places = np.full((len(points), k), np.iinfo(np.int32).max, np.int32)
        for tile in row_blocks(len(reference.rows), ASSIGN_BLOCK):
            products = points @ reference.points[tile].T
            kernels.push_tile(products, reference.norms[tile], tile.start, values, places)
        needed = np.empty((len(points), k), np.int64)
        for at, cell in enumerate(cells[block]):
            order = np.argsort(_cells_by_distance(query.centers[cell], reference), kind="stable")
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(1, len(order) + 1)
            needed[at] = rank[cell_of[places[at]]]
        return needed

    needed = np.concatenate(map_blocks(ranks, row_blocks(len(cells), 32), n_jobs=n_jobs)).ravel()
    enough = int(np.sort(needed)[min(len(needed) - 1, int(np.ceil(recall * len(needed))) - 1)])
    return min(max(enough, LEAST_PROBES), len(reference))
