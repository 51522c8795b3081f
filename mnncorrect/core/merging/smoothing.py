"""Smoothing of pair vectors over the cells of the target.

Each anchor (a target cell with a pair) has one mean vector. Every cell of the target receives a
weighted mean of these vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging import smoothing_kernels
from mnncorrect.core.neighbors.engines import by_groups, nearest
from mnncorrect.core.runtime import kernels
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE
from mnncorrect.core.runtime.threads import (
    even_blocks,
    map_blocks,
    row_blocks,
    rows_per_block,
    sum_blocks,
)

if TYPE_CHECKING:
    from mnncorrect.core.neighbors.engines import GroupStarts
    from mnncorrect.core.runtime.compute import ComputeOptions
    from mnncorrect.core.runtime.threads import Progress

    Rows = slice | NDArray[np.int64]
    Tiles = Callable[[Rows], NDArray[Any]]

# Largest error of an exponent, and so relative error of a weight, before distances are computed in
# a slower, safer way.
EXPONENT_ERROR = 1e-3
# Numbers that are centered at a time.
CENTERED_CELLS = 1 << 19
# Number of distances up to which they are stored instead of computed twice.
KEPT_DISTANCES = 1 << 24
TRICUBE_BLOCK = 2048
# Power of the recall of pairs that is enough for anchors: 0.95 where that is 0.995.
SPARED = 10
# Floor of the tricube's bandwidth, as in the reference.
MIN_BANDWIDTH = 1e-8


def _square_distances(
    data: NDArray[Any], anchors: NDArray[np.int64], sigma: float, n_jobs: int
) -> Tiles:
    """Prepare tiles of squared distances from rows of ``data`` to the anchors among them.

    Matrix products are used if their rounding is negligible at this ``sigma``; in float64 if
    float32 is too coarse. Otherwise distances come from differences. The distance of an anchor to
    itself is exactly 0.
    """
    chosen = row_blocks(len(anchors), rows_per_block(data.shape[1], cells=CENTERED_CELLS))

    def add(block: slice) -> NDArray[np.float64]:
        return data[anchors[block]].sum(0, dtype=np.float64)

    mean = sum_blocks(add, chosen, n_jobs=n_jobs) / len(anchors)
    norms = np.empty(len(data))
    map_blocks(
        lambda block: kernels.dense_square_norms(data[block] - mean, norms[block]),
        row_blocks(len(data), rows_per_block(data.shape[1], cells=CENTERED_CELLS)),
        n_jobs=n_jobs,
    )
    # |x|^2 + |y|^2 - 2xy of n terms errs by about sqrt(n) units (Higham & Mary 2019).
    units = 4 * norms.max() * (np.sqrt(data.shape[1]) + 4) / (EXPONENT_ERROR * sigma)
    if units * 2.0**-53 > 1:
        points = data[anchors].astype(np.float64)

        def direct(rows: Rows) -> NDArray[Any]:
            x = data[rows].astype(np.float64)
            out = np.empty((len(x), len(points)))
            smoothing_kernels.direct_square_distances(x, points, out)
            return out

        return direct
    dtype = data.dtype if units * np.finfo(data.dtype).eps / 2 <= 1 else np.dtype(np.float64)
    own_column = np.full(len(data), -1)
    own_column[anchors] = np.arange(len(anchors))

    def center(rows: Rows, out: NDArray[Any]) -> NDArray[Any]:
        kernels.center_columns(data[rows], mean, 1.0, out)
        return out

    centred = np.empty((len(anchors), data.shape[1]), dtype)
    map_blocks(lambda block: center(anchors[block], centred[block]), chosen, n_jobs=n_jobs)
    anchor_norms = norms[anchors]

    def by_products(rows: Rows) -> NDArray[Any]:
        own = norms[rows]
        x = center(rows, np.empty((len(own), data.shape[1]), dtype))
        tile: NDArray[Any] = x @ centred.T
        smoothing_kernels.products_to_square_distances(tile, own, anchor_norms, own_column[rows])
        return tile

    return by_products


def log_densities(
    data: NDArray[Any], anchors: NDArray[np.int64], sigma: float, *, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Log of the Gaussian density of the anchors around each of them, itself included."""
    return _log_densities(_square_distances(data, anchors, sigma, n_jobs), anchors, sigma, n_jobs)


def _log_densities(
    distances: Tiles, anchors: NDArray[np.int64], sigma: float, n_jobs: int
) -> NDArray[np.float64]:
    def density(block: slice) -> NDArray[np.float64]:
        out = np.empty(block.stop - block.start)
        smoothing_kernels.gaussian_densities(distances(anchors[block]), sigma, out)
        return out

    blocks = row_blocks(len(anchors), rows_per_block(len(anchors), n_rows=len(anchors)))
    densities = map_blocks(density, blocks, n_jobs=n_jobs)
    return np.log(np.concatenate(densities))


def gaussian(
    data: NDArray[Any],
    anchors: NDArray[np.int64],
    vectors: list[NDArray[Any]],
    sigma: float,
    *,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> list[NDArray[Any]]:
    r"""Smooth pair vectors by a Gaussian kernel, corrected for the density of anchors.

    .. math:: v_c = \sum_j w_{cj} a_j / \sum_j w_{cj}, \quad
              w_{cj} = \exp(-\lVert x_c - x_j \rVert^2 / \sigma) / D_j, \quad
              D_j = \sum_{j'} \exp(-\lVert x_{j'} - x_j \rVert^2 / \sigma)

    Without :math:`D_j`, many anchors in one population would dominate their surroundings (Haghverdi
    et al. 2018, doi:10.1038/nbt.4091, "Batch correction vectors"). ``anchors`` are the rows of
    ``data``, ascending, that carry a vector. Several sets of ``vectors``, such as genes on another
    scale, share the weights. Near ``sigma`` 0 each cell takes the vector of its nearest anchor; at
    very large values all take the same mean. Returns the correction of every cell for each set.
    """
    distances = _square_distances(data, anchors, sigma, n_jobs)
    blocks = row_blocks(len(data), rows_per_block(len(anchors), n_rows=len(data)))
    if len(data) * len(anchors) <= KEPT_DISTANCES:
        # The anchors are among the cells, so one matrix of distances serves both steps.
        distances = _measured(distances, blocks, (len(data), len(anchors)), n_jobs)
    densities = _log_densities(distances, anchors, sigma, n_jobs)
    corrections = [np.empty((len(data), v.shape[1]), v.dtype) for v in vectors]

    def smooth(block: slice) -> None:
        weights = distances(block)
        smoothing_kernels.gaussian_weights(weights, sigma, densities)
        for vector, correction in zip(vectors, corrections, strict=True):
            np.matmul(weights.astype(vector.dtype, copy=False), vector, out=correction[block])

    map_blocks(smooth, blocks, n_jobs=n_jobs, progress=progress, stage="smoothing")
    return corrections


def _measured(distances: Tiles, blocks: list[slice], shape: tuple[int, int], n_jobs: int) -> Tiles:
    """Compute all distances block by block, and return a function that looks them up."""
    whole = np.empty(shape, distances(slice(0, 0)).dtype)

    def keep(block: slice) -> None:
        whole[block] = distances(block)

    map_blocks(keep, blocks, n_jobs=n_jobs)
    return whole.__getitem__


def global_mean(
    data: NDArray[Any],
    anchors: NDArray[np.int64],
    vectors: list[NDArray[Any]],
    sigma: float,
    *,
    n_jobs: int = 1,
) -> list[NDArray[Any]]:
    """Average all pair vectors into one for the whole batch, weighted by inverse density.

    This is the limit of :func:`gaussian` for a very large ``sigma``. It takes the same parameters
    and returns one vector (1 x dimensions) for each set.
    """
    weights = np.exp(-log_densities(data, anchors, sigma, n_jobs=n_jobs))
    weights /= weights.sum()
    return [np.einsum("j,jg->g", weights, v)[None].astype(v.dtype) for v in vectors]


def tricube(
    data: NDArray[Any],
    anchors: NDArray[np.int64],
    vectors: NDArray[Any],
    *,
    k: int,
    ndist: float = 3.0,
    compute: ComputeOptions = DEFAULT_COMPUTE,
    groups: GroupStarts = (None, None),
) -> NDArray[Any]:
    """Smooth pair vectors over each cell's ``k`` nearest anchors with tricube weights.

    ``anchors`` are the rows of ``data``, ascending, that carry a vector. ``ndist`` is the bandwidth
    in units of the distance to the median of the ``k`` anchors; at 1 or below, a cell may have no
    weight and NaN as its correction. ``recall`` of ``compute`` is that of pairs: this search may
    miss ten times as many anchors, because the next one serves nearly as well.
    """
    points = data[anchors]
    chosen = compute if groups[0] is None else by_groups(compute, len(data), len(points))
    found = nearest(
        data,
        points,
        min(k, len(anchors)),
        compute=replace(chosen, recall=compute.recall**SPARED),
        groups=groups,
    )
    out = np.empty(data.shape, data.dtype)

    def smooth(block: slice) -> None:
        smoothing_kernels.tricube_average(
            found.distances[block], found.indices[block], vectors, ndist, MIN_BANDWIDTH, out[block]
        )

    map_blocks(smooth, even_blocks(len(data), TRICUBE_BLOCK), n_jobs=compute.n_jobs)
    return out
