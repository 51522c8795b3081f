"""Dimensions in which noise levels are compared: those that stand out from noise.

Many of the components of a batch are mostly noise. Together they decide which cells are near, so
neighbors are the cells whose noise is alike by chance, and the noise around them seems too small.
The smaller a batch, the less so. Noise levels of batches are therefore compared between neighbors
in the dimensions whose variance exceeds the noise
(:mod:`mnncorrect.core.calibrated.noise_scale`). The scree plot decides, as it does for the
components of the input (:func:`mnncorrect.core.matrix.elbow.components_above_noise`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.matrix.elbow import LEAST_DIMENSIONS, components_above_noise

from .neighborhoods import ENOUGH, BatchNeighborhoods, evenly

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .neighborhoods import Search

# Largest number of cells of each batch from which variances are computed.
MOST_MEASURED = 2_000


def signal_columns(batches: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Find the dimensions of cells whose variance exceeds the noise.

    Parameters
    ----------
    batches
        Cells x dimensions of each batch.

    Returns
    -------
    Columns in ascending order. All, if none stands out, as in a latent space whose dimensions count
    alike.
    """
    cells = np.concatenate([each[evenly(len(each), MOST_MEASURED)] for each in batches])
    variance = cells.var(0, dtype=np.float64)
    ranked = np.argsort(-variance, kind="stable")
    n = components_above_noise(variance[ranked], least=0)
    return np.sort(ranked[: max(n, LEAST_DIMENSIONS) if n else None])


def by_signal(
    data: Mapping[int, NDArray[Any]],
    local: Mapping[int, BatchNeighborhoods],
    search: Search,
) -> tuple[Mapping[int, NDArray[Any]], dict[int, BatchNeighborhoods]]:
    """Return the columns with signal of each batch, and the neighborhoods of cells in them.

    The noise of the neighborhoods is as before. If all columns have signal, or if a batch has
    fewer than :data:`~mnncorrect.core.calibrated.neighborhoods.ENOUGH` cells, nothing changes.
    """
    if min(map(len, data.values())) < ENOUGH:
        return data, dict(local)
    columns = signal_columns(list(data.values()))
    seen, around = {}, {}
    for batch, cells in data.items():
        if len(columns) == cells.shape[1]:
            seen[batch], around[batch] = cells, local[batch]
            continue
        seen[batch] = np.ascontiguousarray(cells[:, columns])
        near = search(seen[batch], seen[batch], local[batch].neighbors.shape[1]).indices
        around[batch] = BatchNeighborhoods(near, local[batch].variance)
    return seen, around
