"""Corrected expression that follows from corrected components, made block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import each_block, resolve_n_jobs, row_blocks, rows_per_block

# Values of a block: 8 MB in float64. Blocks are whole multiples of so many cells, as they are
# stored.
BLOCK_VALUES = 1 << 20
BLOCK_ROWS = 64


def low_rank(
    scores: NDArray[Any],
    rotation: NDArray[np.float64],
    center: NDArray[np.float64] | None = None,
    norms: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """Turn components back into expression: ``(scores @ rotation.T + center) * norms``.

    Without ``center`` values stay centered; without ``norms`` they are those of cells of length 1.
    """
    values: NDArray[np.float64] = scores.astype(np.float64) @ rotation.T
    if center is not None:
        values += center
    if norms is not None:
        values *= norms[:, None]
    return values.astype(scores.dtype, copy=False)


def low_rank_blocks(
    scores: NDArray[Any],
    rotation: NDArray[np.float64],
    center: NDArray[np.float64] | None = None,
    norms: NDArray[np.float64] | None = None,
    *,
    n_jobs: int | None = None,
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield what :func:`low_rank` gives of some cells, and of the next, to the last.

    No more than two blocks a thread are held at a time. Parameters as there; ``n_jobs``: threads.
    """

    def values(rows: slice) -> tuple[slice, NDArray[Any]]:
        some = None if norms is None else norms[rows]
        return rows, low_rank(scores[rows], rotation, center, some)

    size = rows_per_block(len(rotation), cells=BLOCK_VALUES, least=BLOCK_ROWS)
    blocks = row_blocks(len(scores), size // BLOCK_ROWS * BLOCK_ROWS)
    yield from each_block(values, blocks, n_jobs=resolve_n_jobs(n_jobs))
