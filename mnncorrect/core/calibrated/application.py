"""Correct all cells by what is known at what their batches stand for themselves by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.loop import Correction
from mnncorrect.core.runtime.compute import batches_at_once
from mnncorrect.core.runtime.mapped import copy_of, let_go
from mnncorrect.core.runtime.threads import RowsOf, each_block

from .expression import Contraction, Transfer, Weights
from .noise_scale import contract
from .representatives import Field, Taken, apply
from .stands import search_by_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.runtime.compute import ComputeOptions

    from .fit import Fit
    from .neighborhoods import Search
    from .stands import Stand


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
    given = [number for number, stand in enumerate(stands) if stand.found is not None]
    fields = [_field_of(number, stands[number], fit, x.dtype) for number in given]
    at_once, within = batches_at_once(len(stands), compute)
    coming = each_block(
        _Apply(search_by_groups(within), fit.moves is not None, within.n_jobs),
        [
            (field, RowsOf(x, stands[number].rows), stands[number].starts)
            for number, field in zip(given, fields, strict=True)
        ],
        n_jobs=at_once,
        pure=True,
    )
    for number, stand in enumerate(stands):
        data, sure = fit.moved[number], fit.confidence[number]
        factor = fit.factors.get(number)
        if stand.found is not None:
            data, sure, taken = next(coming)
            if taken is not None:
                transfers.append(Transfer(stand.rows, stand.found, taken))
        elif factor is not None:
            points, listed = data, stand.neighborhoods.neighbors
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
