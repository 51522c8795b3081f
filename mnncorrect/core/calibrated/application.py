"""Correct all cells by what is known at what their batches stand for themselves by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.loop import Correction
from mnncorrect.core.runtime.compute import batches_at_once
from mnncorrect.core.runtime.mapped import copy_of, let_go
from mnncorrect.core.runtime.threads import RowsOf, each_block

from .expression import Contraction, Transfer, Weights
from .noise_scale import contract
from .representatives import Field, Taken, apply, joined_taken
from .stands import search_by_groups

if TYPE_CHECKING:
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .fit import Fit
    from .neighborhoods import Search
    from .stands import Stand

# Cells of a batch that are corrected at a time, about.
PIECE = 1 << 16


@dataclass(frozen=True)
class Calibration:
    """A calibrated correction."""

    correction: Correction  # The corrected embedding and the merges.
    confidence: NDArray[np.float64]  # Of each cell, 0..1.
    # What was done to the cells, for other values of them; ``None`` if it was not to be kept.
    weights: Weights | None


def correct_cells(
    x: NDArray[Any], stands: Sequence[Stand], fit: Fit, compute: ComputeOptions
) -> Calibration:
    """Correct all cells by what is known at what their batches stand for themselves by."""
    # Cells that take no part stay where they are.
    corrected, confidence = copy_of(x), np.zeros(len(x))
    contractions, transfers = [], []
    pieces = {number: _pieces(stand) for number, stand in enumerate(stands)}
    fields = {
        number: _field_of(number, stands[number], fit, x.dtype)
        for number in pieces
        if pieces[number]
    }
    at_once, within = batches_at_once(len(stands), compute)
    coming = each_block(
        _Apply(search_by_groups(within), fit.moves is not None, within.n_jobs),
        [
            (field, RowsOf(x, stands[number].rows[cells]), starts)
            for number, field in fields.items()
            for cells, starts in pieces[number]
        ],
        n_jobs=at_once,
        pure=True,
    )
    for number, stand in enumerate(stands):
        if stand.found is not None:
            took = []
            for cells, _ in pieces[number]:
                rows = stand.rows[cells]
                corrected[rows], confidence[rows], taken = next(coming)
                let_go(corrected)
                if taken is not None:
                    took.append(taken)
            if took:
                transfers.append(Transfer(stand.rows, stand.found, joined_taken(took)))
            continue
        data, sure = fit.moved[number], fit.confidence[number]
        factor = fit.factors.get(number)
        if factor is not None:
            points, listed = data, fit.around[number]
            data = contract(points, listed, factor, sure, n_jobs=compute.n_jobs)
            if fit.moves is not None:
                contractions.append(Contraction(stand.rows, points, listed, factor, sure))
        corrected[stand.rows] = data
        let_go(corrected)
        confidence[stand.rows] = sure
    weights = None
    if fit.moves is not None:
        weights = Weights(tuple(fit.moves), tuple(contractions), tuple(transfers))
    return Calibration(Correction(corrected, fit.merges), confidence, weights)


def _pieces(stand: Stand) -> list[tuple[slice, NDArray[np.int64]]]:
    """Cut the cells of a batch with representatives between groups of nearby cells.

    Returns the cells of each piece, and the starts of its groups; nothing of other batches. Work
    on a piece takes about 1 kB for each of its cells.
    """
    if stand.found is None or stand.starts is None:
        return []
    starts = stand.starts
    n = -(-len(stand.rows) // PIECE)
    cuts = np.searchsorted(starts, np.arange(n) * len(stand.rows) // n)
    bounds = np.unique([*cuts, len(starts) - 1]).tolist()
    return [
        (slice(int(starts[one]), int(starts[end])), starts[one : end + 1] - starts[one])
        for one, end in pairwise(bounds)
    ]


def _field_of(number: int, stand: Stand, fit: Fit, dtype: Any) -> Field:
    """Return the correction of a batch at its representatives."""
    assert stand.found is not None
    data, factor = fit.moved[number], fit.factors.get(number)
    return Field(
        stand.found.ends.astype(dtype),
        data.astype(np.float64) - stand.node.data,
        fit.confidence[number],
        np.zeros(len(data)) if factor is None else np.log(factor),
        stand.found.starts,
    )


@dataclass(frozen=True)
class _Apply:
    """Corrects the cells of one batch from its representatives; other processes can do so."""

    search: Search
    keep: bool  # Whether what the cells took is returned.
    n_jobs: int

    def __call__(
        self, item: tuple[Field, RowsOf, NDArray[np.int64] | None]
    ) -> tuple[NDArray[Any], NDArray[np.float64], Taken | None]:
        field, rows, starts = item
        cells = rows.take(n_jobs=self.n_jobs)
        data, sure, taken = apply(field, cells, self.search, starts=starts, n_jobs=self.n_jobs)
        return data, sure, taken if self.keep else None
