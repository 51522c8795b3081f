"""Scale the noise of corrected batches.

Two batches with equal means but different noise do not mix. In many dimensions, two clouds whose
radii differ by a few percent share few neighbors; most neighbors come from the calmer batch. So
residuals around local means are contracted to the noise of the calmest batch nearby. If there are
reference batches, which do not change, the noise of the others is scaled to theirs, up or down.

The noise around a cell is that of its neighbors, in its batch and in the others. In the coordinates
of the input, noise decides which cells are neighbors: the calm cells of a noisy batch, which then
seems calm. So neighbors are searched in the coordinates that stand out from noise
(:mod:`mnncorrect.core.calibrated.signal_columns`), unless a batch has representatives.

**Populations without a counterpart** have no batch to be compared with. Their noise follows that of
their batch, as their place follows the displacement of their batch. Otherwise their own batch would
be noisy only there. Calmer cells of other populations would then be nearer to them than they are to
each other. Local means are over cells that are alike in having a counterpart, so that residuals are
not contracted towards another population.

Local ratios are not shrunk to the mean of their batch. In six data sets and random parts of them,
the noise of a type was compared among its own cells: 260 times, in two batches each. The log ratio
differed from the mean of the batch by 0.93 times as much as the local one did. Of types that only
one batch has, the true one (with a counterpart) differed by 0.3 to 0.4 times as much. But their
chance of a counterpart does not tell most of them. Half the way to the mean for all cells, purity
of such types would fall by 0.042 instead of 0.045 on average, and totals of single sets too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from . import displacement_kernels
from .neighborhoods import ROW_BLOCK, SEARCH_BLOCK, SPACING, evenly, mix_values, square_residuals

if TYPE_CHECKING:
    from .neighborhoods import BatchNeighborhoods, Search

# Neighbors for the noise of a cell. All batches use the same share of their cells, so that a denser
# batch with nearer neighbors does not seem calmer. The limit bounds the time of the search.
LEAST_NOISE, MOST_NOISE = 30, 120
# Neighbors in the local mean of residuals.
N_MEAN = 50
# A log ratio of variances is kept if its square exceeds this many squared standard errors:
# Akaike's criterion for one parameter. The calmest of several batches seems calmer by chance, so
# 2 log(batches) are added (Foster & George 1994, The risk inflation criterion for multiple
# regression, Annals of Statistics 22, 1947-1975).
EVIDENCE = 2.0
# Noise is a smooth field, and all comparisons need batches x batches searches. So noise is computed
# at this many cells of a batch times the number of compared batches, or at one cell in
# local.SPACING if these are more. The next two: cells of all other batches together, and the
# smallest number of each.
MOST_LOOKED_FOR_NOISE, MOST_COMPARED, LEAST_COMPARED = 2_500, 2_000, 500
# Beyond this number of batches, each is compared with the calmest only. They mostly include the
# calmest batch nearby.
MOST_OTHERS = 9
# Residuals are at most doubled; this is the log of the ratio of variances.
MOST_STRETCHED = float(np.log(4.0))
TINY = np.finfo(np.float64).tiny


def noise_neighbors(size: int, least: int) -> int:
    """Choose the number of neighbors in a batch: the same share as in the smallest batch."""
    return int(np.clip(round(LEAST_NOISE * size / least), LEAST_NOISE, MOST_NOISE))


def noise_factors(
    data: Mapping[int, NDArray[Any]],
    local: Mapping[int, BatchNeighborhoods],
    chance: Mapping[int, NDArray[np.float64]],
    search: Search,
    *,
    sizes: Mapping[int, int] | None = None,
    least: int | None = None,
    squares: Mapping[int, NDArray[np.float64]] | None = None,
    targets: Collection[int] = (),
    seen: Mapping[int, NDArray[Any]] | None = None,
    n_jobs: int = 1,
) -> dict[int, NDArray[np.float64]]:
    r"""Compute factors of residuals that scale their noise to that of the calmest batch.

    Parameters
    ----------
    data
        Corrected cells of each batch.
    local
        Their neighborhoods.
    chance
        Chance of a counterpart of each cell of a batch that changes, 0..1.
    sizes
        Number of cells of each batch, if ``data`` are representatives.
    least
        Number of cells of the smallest batch that counts; default: of all.
    squares
        Squared residual of a cell at each representative, for batches with representatives.
    targets
        Batches that do not change. Together they set the noise of the others, up or down.
    seen
        Coordinates of the cells for the search of neighbors in other batches; default: ``data``.

    Returns
    -------
    A factor for each cell, at most 1 without targets; none for batches that do not change.

    Notes
    -----
    Around a cell, take the mean squared residual of another batch over that of its own batch. Let
    :math:`l` be the log of this ratio and :math:`s` its standard error. The residual of the cell is
    multiplied by :math:`\exp(\tilde l / 2)`, where
    :math:`\tilde l = l \max(0, 1 - (2 + 2 \log m) s^2 / l^2)`. Of :math:`m` other batches, the one
    with the lowest :math:`\tilde l` below 0 counts. So differences that are not distinguishable
    from noise do not change cells. With targets, :math:`l` comes from the cells of all targets, may
    have either sign, and :math:`m = 1`.

    A cell without a counterpart is compared with another population. It takes the mean of the
    cells of its batch, weighted by their chance, if that is lower. Values in between are mixed.
    """
    seen = data if seen is None else seen
    sizes = {batch: len(cells) for batch, cells in data.items()} if sizes is None else sizes
    least = min(sizes.values()) if least is None else least
    squares = dict(squares or {})
    for batch, cells in data.items():
        if batch not in squares:
            k_noise = noise_neighbors(sizes[batch], least)
            squares[batch] = square_residuals(cells, local[batch].neighbors, k_noise, n_jobs=n_jobs)
    most = max(LEAST_COMPARED, MOST_COMPARED // max(1, len(data) - 1))
    sketch = {batch: evenly(len(data[batch]), most) for batch in data}
    compared = {batch: (squares[batch][at], seen[batch][at]) for batch, at in sketch.items()}
    # The same share of several batches as of one, because the nearest of more cells scatter less.
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
    # Selected cells of all batches, stacked, and their own noise.
    spread = {}
    looked, levels, errors = [], [], []
    for batch in changed:
        cells = seen[batch]
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
    # All are compared with one batch at once: a search of few cells costs as much as of many.
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
            ratio = mix_values(points.near, points.weights, ratio)
        out[batch] = np.exp(_follow(ratio, chance[batch]) / 2)
    return out


def _follow(ratio: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower log ratios of cells without a counterpart to the mean of the others."""
    total = float(chance.sum())
    if total == 0:
        return np.zeros(len(ratio))
    common = float(ratio @ chance) / total
    return chance * ratio + (1 - chance) * np.minimum(ratio, common)


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
    chance: NDArray[np.float64],
    *,
    values: NDArray[Any] | None = None,
    n_jobs: int,
) -> NDArray[Any]:
    """Multiply the residuals of cells around their local means.

    Parameters
    ----------
    points
        Coordinates for distances, cells x dimensions.
    neighbors
        Neighbors of each cell, nearest first.
    factors
        Factor of each residual.
    chance
        Chance of a counterpart of each cell, 0..1. Neighbors count in a local mean by the chance
        that both or neither have one, because the others belong to another population.
    values
        Values to change, cells x any number of columns; default: the points.
    """
    values = points if values is None else values
    out = np.empty_like(values)

    def of_some(rows: slice) -> None:
        near = np.ascontiguousarray(neighbors[rows, :N_MEAN])  # Of one layout, to compile once.
        displacement_kernels.scale_residuals(
            points, rows.start, near, factors[rows], chance, values, out[rows]
        )

    map_blocks(of_some, row_blocks(len(out), ROW_BLOCK), n_jobs=n_jobs)
    return out
