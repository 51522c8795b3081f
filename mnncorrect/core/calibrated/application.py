"""Correct all cells by what is known at what their batches stand for themselves by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.loop import Correction
from mnncorrect.core.runtime.threads import copy_rows

from .expression import Contraction, Transfer, Weights
from .noise_scale import contract
from .representatives import Field, apply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
    x: NDArray[Any], stands: Sequence[Stand], fit: Fit, search: Search, *, n_jobs: int
) -> Calibration:
    """Correct all cells by what is known at what their batches stand for themselves by."""
    # Cells that take no part stay where they are.
    corrected, confidence = x.copy(), np.zeros(len(x))
    contractions, transfers = [], []
    for number, stand in enumerate(stands):
        data, sure = fit.moved[number], fit.confidence[number]
        factor = fit.factors.get(number)
        if stand.found is not None:
            field = Field(
                stand.found.ends.astype(x.dtype),
                data.astype(np.float64) - stand.node.data,
                sure,
                np.zeros(len(data)) if factor is None else np.log(factor),
                stand.found.starts,
            )
            cells = copy_rows(x, stand.rows, n_jobs=n_jobs)
            data, sure, taken = apply(field, cells, search, starts=stand.starts, n_jobs=n_jobs)
            if fit.moves is not None:
                transfers.append(Transfer(stand.rows, stand.found, taken))
        elif factor is not None:
            points, listed = data, stand.neighborhoods.neighbors
            data = contract(points, listed, factor, sure, n_jobs=n_jobs)
            if fit.moves is not None:
                contractions.append(Contraction(stand.rows, points, listed, factor, sure))
        corrected[stand.rows] = data
        confidence[stand.rows] = sure
    weights = None
    if fit.moves is not None:
        weights = Weights(tuple(fit.moves), tuple(contractions), tuple(transfers))
    return Calibration(Correction(corrected, fit.merges), confidence, weights)
