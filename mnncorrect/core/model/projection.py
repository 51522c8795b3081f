r"""A fitted correction, and the place of new cells in it.

A model holds the coordinates of the training cells before and after the correction. Projected cells
change neither the model nor each other.

**New cells of a batch in the model.** The displacement of a training cell has two parts: a smooth
one from its paired neighbors, and a contraction of its residual to the noise of the calmest batch
(:mod:`mnncorrect.core.calibrated.noise_scale`). The first is nearly the same for neighboring cells.
The second is proportional to the position of a cell among its neighbors, and cancels in their mean.
So displacements are regressed locally on the positions of the 20 nearest training cells :math:`i`
of the same batch, with one slope for all dimensions:

.. math:: \Delta(x) = \bar\Delta + s\,(x - \bar x), \quad
   s = \frac{\sum_i w_i\,(x_i - \bar x)\cdot(\Delta_i - \bar\Delta)}
            {\sum_i w_i\,\lVert x_i - \bar x\rVert^2}, \quad
   w_i \propto \frac{e^{-d_i^2 / h^2}}{d_i^2 / h^2}

with the weighted means :math:`\bar x`, :math:`\bar\Delta`, the distances :math:`d_i` and their mean
square :math:`h^2`. The weights are infinite at distance zero, so the regression interpolates: a
training cell gets its own corrected position. In six data sets, every fifth training cell was left
out of the model. Their error was 5 to 12 % of the size of displacements; without the slope it was
6 to 29 %.

**Cells of a new batch** are merged onto the corrected training cells by
:func:`mnncorrect.core.calibrated.method.calibrate`, as the last batch: with the same pairs,
evidence, shrinkage, agreement and folding. The training cells are the reference and do not move, so
residuals are scaled to their noise, up or down. A new batch of few cells is treated like others,
not as small batches of the model are (:mod:`mnncorrect.core.calibrated.small_sides`). With
contraction only, a batch of less noise would stay apart. In pbmc_symphony without 5p, CiLISI of its
cells among the others is then 0.980 instead of 0.792; without 3pv1 and 3pv2 it is 0.895 and 0.935
(``pytest -m slow -s tests/test_projection_accuracy.py -k left_out``).

**Confidence** in a known batch is the confidence of the nearest training cells times the
familiarity of the cell. Familiarity compares the mean squared distance to its neighbors with that
of the training cells. It is 1 up to :data:`FAMILIAR` times the usual value, or up to the value of
nine in ten training cells, and 0 from twice that on. An unfamiliar cell does not move, like a
population without a counterpart. Confidence in a new batch is that of the calibrated method.

**Names** may mislead: batch 1 of one study is not batch 1 of another. So cells of a known batch are
compared with its training cells like two batches before a merge
(:mod:`mnncorrect.core.calibrated.evidence`). In six data sets with batch effects, the evidence was
at most 1.4 for held-out cells of the batch, and at least 3.9 for cells of another batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.calibrated import displacement_kernels
from mnncorrect.core.calibrated.confidence import readiness
from mnncorrect.core.calibrated.evidence import N_NEIGHBORS, N_NOISE, weigh_evidence
from mnncorrect.core.calibrated.merge import Calibrated
from mnncorrect.core.calibrated.neighborhoods import ROW_BLOCK, canonical_order, evenly, look_around
from mnncorrect.core.calibrated.noise_scale import (
    MOST_NOISE,
    N_MEAN,
    contract,
    noise_factors,
    noise_neighbors,
)
from mnncorrect.core.merging.loop import FindPairs, Node, pair_finder
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions
from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from .fit import N_TRAINING, Model

if TYPE_CHECKING:
    from mnncorrect.core.calibrated.neighborhoods import BatchNeighborhoods, Search


# A cell is familiar up to this ratio: squared distance to training cells over that among them. If
# the given quantile of training cells is larger, it is the limit. Without the quantile, 12 % of
# held-out cells were unfamiliar in the uneven batches of mixology_rnamix, with it 2 %. In five
# other data sets it changes almost nothing. Cells of a type that was left out mostly have 1.5 to 4.
FAMILIAR, USUAL = 1.5, 0.9
# Training cells for the estimate of this quantile.
MOST_TRAINING_COMPARED = 1_000
# Squared distance over the mean below which a cell equals a training cell.
SAME_PLACE = 1e-12
# Smallest size of a new batch for an estimate of its noise.
LEAST_NEW = N_NOISE + 1
# Mean familiarity below which the cells of a known batch cause a warning.
DOUBTFUL = 0.5
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Placement:
    """Corrected coordinates of new cells."""

    corrected: NDArray[np.float32]  # Cells x dimensions, float32.
    confidence: NDArray[np.float64]  # 0..1.
    by_batch: dict[str, BatchPlacement]  # Summary of each batch of new cells.


@dataclass(frozen=True)
class BatchPlacement:
    """Summary of the placement of a batch of new cells."""

    known: bool  # Whether the model has the batch.
    pairs: int = 0  # Pairs with training cells; 0 if none were searched.
    skipped: bool = False  # Whether its cells were projected only.
    # Difference of a new batch from the reference, or of a known batch from its training cells,
    # relative to random splits; NaN for too few cells.
    evidence: float = np.nan
    familiar: float = np.nan  # Mean familiarity of a known batch; NaN for a new one.


def place(
    model: Model,
    x: NDArray[np.float32],
    batch: NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    cells: NDArray[Any] | None = None,
    as_new: bool = False,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> Placement:
    """Correct new cells to the cells of a model, which do not move.

    ``names`` are those of the new batches: a name that the model has denotes the same batch, unless
    ``as_new`` is set. Cells of batch -1 are projected only, with confidence 0. ``cells`` are names,
    which break ties. The result of a batch depends on neither the order of cells nor other batches.
    """
    n_jobs, progress = compute.n_jobs, compute.progress
    batch = np.asarray(batch)
    compute = replace(compute, progress=None)
    search = partial(nearest, compute=compute)
    known = {} if as_new else {name: number for number, name in enumerate(model.batches)}
    corrected, confidence = np.array(x, np.float32), np.zeros(len(x))
    by_batch: dict[str, BatchPlacement] = {}
    reference: Reference | None = None
    order = canonical_order(x, batch, names, cells)
    for number, name in enumerate(names):
        rows = order[batch[order] == number]
        if not len(rows):
            by_batch[name] = BatchPlacement(known=name in known, skipped=True)
            continue
        some = np.ascontiguousarray(x[rows], np.float32)
        if name in known:
            at = model.rows(known[name])
            corrected[rows], confidence[rows], familiar = _place_known(
                model, at, some, search, n_jobs
            )
            by_batch[name] = BatchPlacement(
                known=True,
                evidence=_unlike(model.uncorrected[at], some, compute),
                familiar=familiar,
            )
        elif len(rows) < LEAST_NEW:
            by_batch[name] = BatchPlacement(known=False, skipped=True)
        else:
            if reference is None:
                reference = _reference(model, search, n_jobs)
            find_pairs = pair_finder(compute, n_neighbors=N_NEIGHBORS)
            corrected[rows], confidence[rows], by_batch[name] = _place_new(
                reference, some, search, find_pairs, compute
            )
        if progress is not None:
            progress("batches", (number + 1) / len(names))
    return Placement(corrected, confidence, by_batch)


def _place_known(
    model: Model, at: slice, cells: NDArray[np.float32], search: Search, n_jobs: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Move cells of a known batch like the training cells around them."""
    before = model.uncorrected[at]
    mean = before.mean(0, dtype=np.float64)
    x = before - mean
    moved = model.corrected[at].astype(np.float64) - before
    # One pass of weighted sums gives all terms of the regression.
    columns = np.column_stack(
        [x, moved, (x * moved).sum(1), (x**2).sum(1), model.spacing[at], model.confidence[at]]
    )
    n = cells.shape[1]
    found = search(cells, before, N_TRAINING)
    weights, squares = interpolating_weights(found.distances)
    sums = np.empty((len(cells), columns.shape[1]))
    map_blocks(
        lambda rows: displacement_kernels.weighted_rows(
            found.indices[rows], weights[rows], columns, sums[rows]
        ),
        row_blocks(len(cells), ROW_BLOCK),
        n_jobs=n_jobs,
    )
    near, shift = sums[:, :n], sums[:, n : 2 * n]
    spread = sums[:, 2 * n + 1] - (near**2).sum(1)
    slope = (sums[:, 2 * n] - (near * shift).sum(1)) / np.maximum(spread, TINY)
    # A larger slope would move a cell to the other side of its neighbors.
    slope = np.clip(slope, -1, 1)[:, None]
    away = _over(squares, sums[:, 2 * n + 2])
    familiar = np.clip(2 - away / _familiar_up_to(before, model.spacing[at], search), 0, 1)
    shift = shift + slope * (cells - mean - near)
    placed = (cells + readiness(familiar)[:, None] * shift).astype(np.float32)
    sure = np.clip(familiar * sums[:, 2 * n + 3], 0, 1)
    return placed, sure, float(familiar.mean())


def _familiar_up_to(
    before: NDArray[np.float32], spacing: NDArray[np.float32], search: Search
) -> float:
    """Return the largest ratio of distances at which a cell is familiar to a batch."""
    if len(before) < 3:
        return FAMILIAR
    rows = evenly(len(before), MOST_TRAINING_COMPARED)
    found = search(before[rows], before, N_TRAINING + 1)
    # The nearest is the cell itself, or one at the same coordinates.
    weights, squares = interpolating_weights(found.distances[:, 1:])
    away = _over(squares, (weights * spacing[found.indices[:, 1:]]).sum(1))
    return max(FAMILIAR, float(np.quantile(away, USUAL, method="inverted_cdf")))


def _over(squares: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide squared distances by usual ones; infinite if the usual distance is zero."""
    away = np.where(squares > 0, np.inf, 0.0)
    np.divide(squares, usual, out=away, where=usual > 0)
    return away


def _unlike(
    training: NDArray[np.float32], cells: NDArray[np.float32], compute: ComputeOptions
) -> float:
    """Return the evidence that cells differ from the training cells of their batch."""
    if min(len(cells), len(training)) < LEAST_NEW:
        return np.nan
    return weigh_evidence(
        training, cells, random_state=compute.random_state, n_jobs=compute.n_jobs
    ).ratio


def interpolating_weights(
    distances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight neighbors by a Gaussian with a pole at the cell; also return mean squared distances.

    At the coordinates of a training cell, the pole makes the weighted mean equal its value. The
    estimate is still consistent (Devroye, Györfi & Krzyżak 1998, *The Hilbert kernel regression
    estimate*, Journal of Multivariate Analysis 65, 209-227).
    """
    squares = distances**2
    mean = squares.mean(1)
    scaled = squares / np.maximum(mean, TINY)[:, None]
    weights: NDArray[np.float64] = np.exp(-scaled) / np.maximum(scaled, SAME_PLACE)
    weights /= weights.sum(1, keepdims=True)
    return weights, mean


@dataclass(frozen=True)
class Reference:
    """The training cells as the reference of new batches."""

    node: Node  # All training cells, corrected, sorted by batch.
    neighborhoods: dict[
        int, BatchNeighborhoods
    ]  # Their neighborhoods within batches, before the correction.
    data: dict[int, NDArray[np.float32]]  # Corrected training cells by batch.


def _reference(model: Model, search: Search, n_jobs: int) -> Reference:
    numbers = range(len(model.batches))
    k = max(N_MEAN, MOST_NOISE + 1)
    local = {
        number: look_around(
            model.uncorrected[model.rows(number)], k, N_NOISE, search, n_jobs=n_jobs
        )
        for number in numbers
    }
    node = Node(tuple(numbers), np.arange(len(model.codes)), model.corrected)
    return Reference(node, local, {number: node.data[model.rows(number)] for number in numbers})


def _place_new(
    reference: Reference,
    cells: NDArray[np.float32],
    search: Search,
    find_pairs: FindPairs,
    compute: ComputeOptions,
) -> tuple[NDArray[np.float32], NDArray[np.float64], BatchPlacement]:
    """Merge cells of a new batch onto the training cells, which do not move."""
    random_state, n_jobs = compute.random_state, compute.n_jobs
    number = len(reference.neighborhoods)
    least = min(len(cells), *map(len, reference.neighborhoods.values()))
    k = max(N_MEAN, noise_neighbors(len(cells), least) + 1)
    local = {
        **reference.neighborhoods,
        number: look_around(cells, k, N_NOISE, search, n_jobs=n_jobs),
    }
    method = Calibrated(
        local, search, random_state, n_jobs, {n: np.zeros(len(local[n])) for n in local}
    )
    right = Node((number,), np.arange(len(cells)), cells)
    outcome = method.merge(reference.node, right, find_pairs)
    how = BatchPlacement(
        known=False, pairs=len(outcome.pairs), skipped=outcome.skipped, evidence=outcome.evidence
    )
    confidence, moved = method.confidence[number], outcome.right.data
    if outcome.skipped:
        return cells, confidence, how
    factors = noise_factors(
        {**reference.data, number: moved},
        local,
        {number: confidence},
        search,
        targets=tuple(reference.data),
        n_jobs=n_jobs,
    )[number]
    placed = contract(moved, local[number].neighbors, factors, confidence, n_jobs=n_jobs)
    return placed.astype(np.float32), confidence, how
