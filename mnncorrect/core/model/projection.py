r"""A fitted correction, and the place of new cells in it.

A model is where the cells of a correction lay and where they were put. It does not move: what is
projected changes neither it nor anything else that is projected.

**More cells of a batch that the model has.** The displacement of a training cell is a smooth one,
by its paired neighbors, and a contraction of its residual to the noise of the calmest batch
(:mod:`mnncorrect.core.calibrated.noise_scale`). The first is nearly the same for neighbors; the
second is proportional to where a cell lies among them, and cancels in a mean over them. So
displacements are regressed, about each new cell, on the place of its 20 nearest training cells
:math:`i` of the same batch, by one slope for all dimensions:

.. math:: \Delta(x) = \bar\Delta + s\,(x - \bar x), \quad
   s = \frac{\sum_i w_i\,(x_i - \bar x)\cdot(\Delta_i - \bar\Delta)}
            {\sum_i w_i\,\lVert x_i - \bar x\rVert^2}, \quad
   w_i \propto \frac{e^{-d_i^2 / h^2}}{d_i^2 / h^2}

with the weighted means :math:`\bar x`, :math:`\bar\Delta`, the distances :math:`d_i` and their mean
square :math:`h^2`. The pole makes the regression interpolate: a cell that the model was trained on
comes out where the correction has put it. Training cells that were left out, every fifth, came out
within 5 to 12 % of the size of displacements in six data sets; without the slope it was 6 to 29 %.

**Cells of a new batch** are merged onto the corrected training cells as
:func:`mnncorrect.core.calibrated.method.mnn_calibrated` would merge them if theirs were the last
batch: the same pairs, evidence, shrinkage, agreement and folding. As the training cells are the
reference, which stays, residuals are brought to their noise, be it less or more: contraction alone
leaves a batch apart that is calmer than they are. In pbmc_symphony without 5p, CiLISI of its cells
among those of the others is 0.980 and not 0.792 then; without 3pv1 and 3pv2 it is 0.895 and 0.935
(``pytest -m slow -s tests/test_projection_accuracy.py -k left_out``).

**Confidence** of a known batch is that of the nearest training cells, times how familiar the cell
is: 1 where its neighbors are no further than :data:`FAMILIAR` times what theirs are (in mean
squared distance), or than those of nine in ten training cells, 0 from twice that on. A cell that is
not familiar is not moved, as a population without a counterpart is not. Of a new batch it is that
of the calibrated method.

**Names** may mislead: what one study calls batch 1 is not another's. So cells of a known batch are
compared with its training cells as two batches are before they are merged
(:mod:`mnncorrect.core.calibrated.evidence`). In six data sets the evidence was 1.4 at most for
held-out cells of the batch, and 3.9 at least for those of another batch, where batches differ at
all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.calibrated import displacement_kernels
from mnncorrect.core.calibrated.confidence import SURE_TO_CONTRACT, readiness
from mnncorrect.core.calibrated.evidence import N_NEIGHBORS, N_NOISE, weigh_evidence
from mnncorrect.core.calibrated.merge import Calibrated
from mnncorrect.core.calibrated.neighborhoods import (
    ROW_BLOCK,
    canonical_order,
    evenly,
    look_around,
)
from mnncorrect.core.calibrated.noise_scale import (
    MOST_NOISE,
    N_MEAN,
    contract,
    noise_factors,
    noise_neighbors,
)
from mnncorrect.core.merging.loop import Node, pair_finder
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE
from mnncorrect.core.runtime.threads import map_blocks, row_blocks

from .fit import N_TRAINING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.calibrated.neighborhoods import BatchNeighborhoods, Search
    from mnncorrect.core.merging.loop import FindPairs
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .fit import Model

# Squared distance to training cells, over that among these, up to which a cell is one of them, or
# the share of training cells that lie below what is, if that is more: in batches of cells as uneven
# as those of mixology_rnamix 12 % of held-out cells were taken for strangers without, 2 % with it;
# where 1.5 is enough, as in five other data sets, it changes next to nothing. Cells of a type that
# was left out mostly lie from 1.5 to 4.
FAMILIAR, USUAL = 1.5, 0.9
# Training cells that this is read off.
MOST_TRAINING_COMPARED = 1_000
# Squared distances over their mean below which a cell is the training cell.
SAME_PLACE = 1e-12
# Cells below which a new batch has no noise to tell an effect from.
LEAST_NEW = N_NOISE + 1
# Mean familiarity of a batch's cells below which it is doubted that the model has this batch.
DOUBTFUL = 0.5
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Placement:
    """Where new cells belong."""

    corrected: NDArray[np.float32]  # Cells x dimensions, float32.
    confidence: NDArray[np.float64]  # 0..1.
    how: dict[str, BatchPlacement]  # By batch of the new cells, what was done.


@dataclass(frozen=True)
class BatchPlacement:
    """What was done with a batch of new cells."""

    known: bool  # Whether the model has the batch.
    pairs: int = 0  # With training cells; 0 where none were sought.
    skipped: bool = False  # Whether its cells were left where they were projected.
    # How far a new batch differs from the reference, or a known one from its training cells, in
    # units of what random parts differ by; NaN of too few cells.
    evidence: float = np.nan
    familiar: float = np.nan  # Mean familiarity of the cells of a known batch; NaN of a new one.


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

    Parameters
    ----------
    model
        The model.
    x
        New cells x dimensions, as they are projected.
    batch
        Batch number of each; -1: the cell is left where it is projected, with confidence 0.
    names
        Of these batches. Those that the model has are more cells of its batches.
    cells
        Names of the cells, which decide between what is equal.
    as_new
        Take all batches for new ones, whatever their names.
    compute
        How neighbors are searched.

    Returns
    -------
    The same for any order of the cells and any number of threads. What becomes of a batch does not
    depend on the others.
    """
    n_jobs, progress = compute.n_jobs, compute.progress
    batch = np.asarray(batch)
    compute = replace(compute, progress=None)
    search = partial(nearest, compute=compute)
    known = {} if as_new else {name: number for number, name in enumerate(model.batches)}
    corrected, confidence = np.array(x, np.float32), np.zeros(len(x))
    how: dict[str, BatchPlacement] = {}
    reference: Reference | None = None
    order = canonical_order(x, batch, names, cells)
    for number, name in enumerate(names):
        rows = order[batch[order] == number]
        if not len(rows):
            how[name] = BatchPlacement(known=name in known, skipped=True)
            continue
        some = np.ascontiguousarray(x[rows], np.float32)
        if name in known:
            at = model.rows(known[name])
            corrected[rows], confidence[rows], familiar = _place_known(
                model, at, some, search, n_jobs
            )
            how[name] = BatchPlacement(
                known=True,
                evidence=_unlike(model.uncorrected[at], some, search, compute),
                familiar=familiar,
            )
        elif len(rows) < LEAST_NEW:
            how[name] = BatchPlacement(known=False, skipped=True)
        else:
            if reference is None:
                reference = _reference(model, search, n_jobs)
            find_pairs = pair_finder(compute, n_neighbors=N_NEIGHBORS)
            corrected[rows], confidence[rows], how[name] = _place_new(
                reference, some, search, find_pairs, compute
            )
        if progress is not None:
            progress("batches", (number + 1) / len(names))
    return Placement(corrected, confidence, how)


def _place_known(
    model: Model, at: slice, cells: NDArray[np.float32], search: Search, n_jobs: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Move cells of a known batch as the training cells about them were moved."""
    before = model.uncorrected[at]
    mean = before.mean(0, dtype=np.float64)
    x = before - mean
    moved = model.corrected[at].astype(np.float64) - before
    # One pass of weighted sums gives all that the regression needs.
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
    # Beyond this a cell would be thrown to the other side of its neighbors.
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
    """Tell up to which distance, over that among its neighbors, a cell is one of a batch."""
    if len(before) < 3:
        return FAMILIAR
    rows = evenly(len(before), MOST_TRAINING_COMPARED)
    found = search(before[rows], before, N_TRAINING + 1)
    # The nearest is the cell itself, or one in the same place.
    weights, squares = interpolating_weights(found.distances[:, 1:])
    away = _over(squares, (weights * spacing[found.indices[:, 1:]]).sum(1))
    return max(FAMILIAR, float(np.quantile(away, USUAL, method="inverted_cdf")))


def _over(squares: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide squared distances by what is usual: of cells that all lie in one place, nothing is."""
    away = np.where(squares > 0, np.inf, 0.0)
    np.divide(squares, usual, out=away, where=usual > 0)
    return away


def _unlike(
    training: NDArray[np.float32],
    cells: NDArray[np.float32],
    search: Search,
    compute: ComputeOptions,
) -> float:
    """Tell how far cells differ from the training cells of the batch whose name they have."""
    if min(len(cells), len(training)) < LEAST_NEW:
        return np.nan
    return weigh_evidence(
        training, cells, search, random_state=compute.random_state, n_jobs=compute.n_jobs
    ).ratio


def interpolating_weights(
    distances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weigh neighbors by a Gaussian with a pole at the cell; also return mean squared distances.

    The pole makes a weighted mean of values equal the value where there is one; the estimate is
    consistent all the same (Devroye, Györfi & Krzyżak 1998, *The Hilbert kernel regression
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
    """The training cells, as new batches are merged onto them."""

    node: Node  # All of them, corrected, batch after batch.
    local: dict[int, BatchNeighborhoods]  # Their neighborhoods in their batches, before correction.
    data: dict[int, NDArray[np.float32]]  # The same by batch.


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
    """Merge cells of a new batch onto the training cells, which stay."""
    random_state, n_jobs = compute.random_state, compute.n_jobs
    number = len(reference.local)
    least = min(len(cells), *map(len, reference.local.values()))
    k = max(N_MEAN, noise_neighbors(len(cells), least) + 1)
    local = {
        **reference.local,
        number: look_around(cells, k, N_NOISE, search, n_jobs=n_jobs),
    }
    method = Calibrated(
        local, search, random_state, n_jobs, {n: np.zeros(len(local[n])) for n in local}
    )
    right = Node((number,), np.arange(len(cells)), cells)
    outcome = method.merge(reference.node, right, find_pairs)
    how = BatchPlacement(
        known=False,
        pairs=len(outcome.pairs),
        skipped=outcome.skipped,
        evidence=outcome.evidence,
    )
    if outcome.skipped:
        return cells, np.zeros(len(cells)), how
    confidence, moved = method.confidence[number], outcome.right.data
    ready = readiness(confidence, SURE_TO_CONTRACT)
    factors = noise_factors(
        {**reference.data, number: moved},
        local,
        {number: ready},
        search,
        targets=tuple(reference.data),
        n_jobs=n_jobs,
    )[number]
    placed = contract(moved, local[number].neighbors, factors, ready > 0, n_jobs=n_jobs)
    return placed.astype(np.float32), confidence, how
