"""Search on a graphics card, by the brute force of cuVS.

The card proposes neighbors by float32 distances. A few more than needed are taken, because rounding
may change their order; which of them are nearest is decided by distances in float64.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.threads import row_blocks

# What has to be installed, and how.
CARD_PACKAGES = ("cuvs", "cupy")
INSTALL = "pip install cuvs-cu12 cupy-cuda12x --extra-index-url https://pypi.nvidia.com"
# Additional proposals to keep.
SPARE_ON_CARD = 12
# Query rows that are on the card at a time.
QUERY_ROWS = 1 << 16


def refuse_without_cuvs() -> None:
    """Refuse the search where a package that it needs is missing."""
    missing = [name for name in CARD_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise ValueError(
            f"`neighbors='cuvs'` searches on an NVIDIA graphics card, and {' and '.join(missing)} "
            f"{are} not installed: {INSTALL}; or give `neighbors='partition'`, which needs no card"
        )


def propose(query: NDArray[Any], reference: NDArray[Any], k: int) -> NDArray[np.int32]:
    """Propose ``k`` reference rows, or a few more, for each query row, in no order."""
    size = min(len(reference), k + SPARE_ON_CARD)
    found = np.empty((len(query), size), np.int32)
    try:
        import cupy
        from cuvs.neighbors import brute_force

        index = brute_force.build(cupy.asarray(reference.astype(np.float32, copy=False)))
        for rows in row_blocks(len(query), QUERY_ROWS):
            some = cupy.asarray(query[rows].astype(np.float32, copy=False))
            _, near = brute_force.search(index, some, size)
            found[rows] = cupy.asnumpy(cupy.asarray(near))
    # The driver, the card and its memory fail in their own ways.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"`neighbors='cuvs'`: the search on the graphics card failed ({reason}); give "
            "`neighbors='partition'`, which needs no card"
        ) from error
    return found
