"""Bring the noise of corrected batches to one scale.

Where two batches lie around the same means but one scatters more, neighbors still come from the
calmer one: in d dimensions two clouds whose radii differ by a few per cent hardly share any
neighbors, whatever is done to their means. So residuals about local means are contracted to the
scale of the calmest batch nearby. Where one batch is the reference, or several are, and cannot be,
the others are brought to its scale, stretched as well as contracted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels
from .neighborhoods import ROW_BLOCK, SEARCH_BLOCK, SPACING, evenly, mix, square_residuals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from .neighborhoods import BatchNeighborhoods, Search

# Neighbors that a cell's noise is read off. Among several batches the same share of each, so
# that a denser batch, whose neighbors are nearer, is not taken for a calmer one; up to a limit,
# as these are searched.
LEAST_NOISE, MOST_NOISE = 30, 120
# Neighbors whose mean residuals are measured from.
N_MEAN = 50
# A log ratio of variances is kept where its square exceeds this many squared standard errors:
# Akaike's criterion for one parameter. Of several batches the calmest is taken, which by chance
# looks calmer than it is, so that 2 log(batches) are added (Foster & George 1994, The risk
# inflation criterion for multiple regression, Annals of Statistics 22, 1947-1975).
EVIDENCE = 2.0
# Noise is a smooth field, and comparing batches takes batches x batches searches. So it is looked
# at in so many cells of a batch, times batches that it is compared with, or one cell in
# local.SPACING if these are more; and compared with so many cells of the others, all together and
# at least of each.
MOST_LOOKED_FOR_NOISE, MOST_COMPARED, LEAST_COMPARED = 2_500, 2_000, 500
# Of more batches, each is compared with the calmest only, among which the calmest nearby mostly is.
MOST_OTHERS = 9
# Residuals are at most doubled: the log of that as a ratio of variances.
MOST_STRETCHED = float(np.log(4.0))
TINY = np.finfo(np.float64).tiny


def noise_neighbors(size: int, least: int) -> int:
    """Choose how many neighbors of a batch of ``size`` are as large a share as of the smallest."""
    return int(np.clip(round(LEAST_NOISE * size / least), LEAST_NOISE, MOST_NOISE))


def noise_factors(
    data: Mapping[int, NDArray[Any]],
    local: Mapping[int, BatchNeighborhoods],
    weights: Mapping[int, NDArray[np.float64]],
    search: Search,
    *,
    sizes: Mapping[int, int] | None = None,
    squares: Mapping[int, NDArray[np.float64]] | None = None,
    targets: Collection[int] = (),
    n_jobs: int = 1,
) -> dict[int, NDArray[np.float64]]:
    r"""Choose what residuals are multiplied by, so that their noise is that of the calmest batch.

    Parameters
    ----------
    data
        Corrected cells of each batch.
    local
        Their neighborhoods.
    weights
        How much each cell of a batch that is changed takes part, 0..1.
    search
        Finds neighbors.
    sizes
        Cells of each batch, where ``data`` are representatives of them.
    squares
        Of batches whose ``data`` are representatives, the squared residual of a cell of each.
    targets
        Batches that are not changed, and whose noise, as if they were one, the others are brought
        to instead, be it more.
    n_jobs
        Threads.

    Returns
    -------
    A factor of each cell, 1 at most without targets; none for batches that are not changed.

    Notes
    -----
    With :math:`l` the log of the mean squared residual of another batch around a cell over that of
    its own, and :math:`s` its standard error, the cell's residual is multiplied by
    :math:`\exp(\tilde l / 2)`, :math:`\tilde l = l \max(0, 1 - (2 + 2 \log m) s^2 / l^2)` for
    the one of :math:`m` other batches where this is lowest, if it is below 0: differences that are
    not told apart from none are left. With targets it is that of the cells of them all, of either
    sign, and :math:`m = 1`.
    """
    sizes = {batch: len(cells) for batch, cells in data.items()} if sizes is None else sizes
    least = min(sizes.values())
    squares = dict(squares or {})
    for batch, cells in data.items():
        if batch not in squares:
            k_noise = noise_neighbors(sizes[batch], least)
            squares[batch] = square_residuals(cells, local[batch].neighbors, k_noise, n_jobs=n_jobs)
    most = max(LEAST_COMPARED, MOST_COMPARED // max(1, len(data) - 1))
    sketch = {batch: evenly(len(data[batch]), most) for batch in data}
    compared = {batch: (squares[batch][at], data[batch][at]) for batch, at in sketch.items()}
    # As large a share of several batches as of one: the nearest of more cells scatter less.
    k = min(LEAST_NOISE * max(1, len(targets)), MOST_NOISE)
    pooled = []
    if targets:
        both = zip(*(compared[batch] for batch in targets), strict=True)
        pooled = [(-1, tuple(np.concatenate(one) for one in both))]
    calmest = sorted(data, key=lambda batch: float(np.log(compared[batch][0] + TINY).mean()))
    calmest = [batch for batch in data if batch in set(calmest[: MOST_OTHERS + 1])]
    changed = [batch for batch in data if batch not in targets]
    if not changed:
        return {}
    others = 1 if targets else len(data) - 1
    needed = EVIDENCE + 2 * np.log(max(1, others))
    # The cells that are looked at, those of all batches below one another, and their own noise.
    spread = {}
    looked, levels, errors = [], [], []
    for batch in changed:
        cells = data[batch]
        some = max(MOST_LOOKED_FOR_NOISE // max(1, others), len(cells) // SPACING)
        points = spread[batch] = local[batch].points(some) if some < len(cells) else None
        near = local[batch].neighbors[:, :LEAST_NOISE]
        if points is not None:
            cells, near = cells[points.rows], near[points.rows]
        looked.append(cells)
        level, error = _level(squares[batch], near)
        levels.append(level)
        errors.append(error)
    owner = np.repeat(changed, [len(cells) for cells in looked])
    everything, level, error = (np.concatenate(one) for one in (looked, levels, errors))
    log_ratio = np.full(len(everything), MOST_STRETCHED if targets else 0.0)
    # All are compared with one batch at once, as a search of few cells costs as much as of many.
    for itself, (there_squares, there) in pooled or [(other, compared[other]) for other in calmest]:
        for rows in row_blocks(len(everything), SEARCH_BLOCK):
            found = search(everything[rows], there, k).indices
            there_level, there_error = _level(there_squares, found)
            ratio = there_level - level[rows]
            doubt = needed * (there_error + error[rows]) / np.maximum(ratio**2, TINY)
            ratio *= np.maximum(0, 1 - doubt)
            ratio[owner[rows] == itself] = np.inf
            log_ratio[rows] = np.minimum(log_ratio[rows], ratio)
    out = {}
    for batch in changed:
        ratio, points = log_ratio[owner == batch], spread[batch]
        if points is not None:
            ratio = mix(points.near, points.weights, ratio[:, None], n_jobs=n_jobs)[:, 0]
        out[batch] = np.exp(weights[batch] * ratio / 2)
    return out


def _level(
    squares: NDArray[np.float64], neighbors: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log of the mean squared residual of some cells, and the square of its standard error."""
    level, error = np.empty(len(neighbors)), np.empty(len(neighbors))
    for rows in row_blocks(len(neighbors), ROW_BLOCK):
        values = squares[neighbors[rows]]
        mean = np.maximum(values.mean(1), TINY)
        level[rows] = np.log(mean)
        # By the delta method.
        error[rows] = (values / mean[:, None]).var(1) / values.shape[1]
    return level, error


def contract(
    points: NDArray[Any],
    neighbors: NDArray[np.int32],
    factors: NDArray[np.float64],
    counts: NDArray[np.bool_],
    *,
    values: NDArray[Any] | None = None,
    n_jobs: int,
) -> NDArray[Any]:
    """Multiply the residuals of cells about their local means.

    Parameters
    ----------
    points
        Cells x dimensions, between which distances are measured.
    neighbors
        Of each cell, nearest first.
    factors
        What each residual is multiplied by.
    counts
        Which cells take part, so that local means are over them: one of a population without a
        counterpart is not what its neighbors of another one scatter about.
    values
        What is changed, cells x any number of columns; the points themselves if not given.
    n_jobs
        Threads.
    """
    values = points if values is None else values
    listed = neighbors[:, :N_MEAN]
    out = np.empty_like(values)
    map_blocks(
        lambda rows: displacement_kernels.scale_residuals(
            points, rows.start, listed[rows], factors[rows], counts, values, out[rows]
        ),
        row_blocks(len(out), ROW_BLOCK),
        n_jobs=n_jobs,
    )
    return out
