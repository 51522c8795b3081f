"""New cells on the map of a fitted correction, such as a UMAP, whose cells do not move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions

# Cells of the map around a new cell, as many as a UMAP has by default.
N_AROUND = 15


def place_on_map(
    known: NDArray[Any],
    drawn: NDArray[Any],
    new: NDArray[Any],
    *,
    n_neighbors: int = N_AROUND,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> NDArray[np.float32]:
    r"""Place new cells on a map at the weighted mean of their nearest known cells.

    ``known`` and ``new`` are coordinates of the same space; ``drawn`` are the places of the known
    cells on the map. With the distances :math:`d_1 \le \dots \le d_k`, the weight of neighbor
    :math:`i` is :math:`e^{-(d_i - d_1) / s} / d_i`, :math:`s` the mean of :math:`d_i - d_1`. The
    first factor is as in UMAP; by the second, a cell that equals a known cell is placed on it.
    """
    k = min(n_neighbors, len(known))
    both = np.result_type(known.dtype, new.dtype)
    found = nearest(
        np.ascontiguousarray(new, both),
        np.ascontiguousarray(known, both),
        k,
        compute=replace(compute, progress=None),
    )
    beyond = found.distances.astype(np.float64) - found.distances[:, :1]
    scale = beyond.mean(1, keepdims=True)
    weights = np.exp(-beyond / np.where(scale > 0, scale, 1.0))
    weights /= np.where(found.distances > 0, found.distances, 1.0)
    same: NDArray[np.bool_] = np.equal(found.distances, 0)
    on_one = same.any(1)
    weights[on_one] = same[on_one]
    places = drawn[found.indices].astype(np.float64)
    mean = (weights[:, :, None] * places).sum(1) / weights.sum(1)[:, None]
    return mean.astype(np.float32)
