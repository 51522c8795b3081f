"""Compiled loops that find the neighbors of cells that are dealt to two sides.

As in ``kernels``: serial; with the interpreter lock, see ``displacement_kernels``.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import SHORT, find_place, own_files

find_place(njit, config)


@njit(**SHORT)
def pick(rows, chosen, wanted, place, pooled, out, counts):
    """Pick the nearest cells of one side, for some cells, from the nearest cells of both sides.

    ``pooled`` lists these for each cell of both sides; ``rows`` are those of the queries.
    ``out[i]`` is filled with the ``place``, within their side, of those that are ``chosen`` as
    ``wanted``. ``counts[i]`` is how many of them the list of query ``i`` has, up to the wanted.
    """
    k = out.shape[1]
    for i in range(rows.shape[0]):
        count = 0
        for at in range(pooled.shape[1]):
            other = pooled[rows[i], at]
            # Written in any case: the processor would guess wrong which ones are wanted.
            out[i, count] = place[other]
            count += np.int64(chosen[other] == wanted)
            if count == k:
                break
        counts[i] = count


own_files(globals().values())
