"""Compiled loops over the regions of a partition."""

from __future__ import annotations

from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for

find_place(njit, config)


@njit(**LOOP)
def cell_means(x, starts, out):
    """``out[c]`` = mean of rows ``starts[c]:starts[c + 1]``."""
    total = room_for(x.shape[1])
    for c in range(out.shape[0]):
        total[:] = 0.0
        for i in range(starts[c], starts[c + 1]):
            for g in range(total.shape[0]):
                total[g] += x[i, g]
        for g in range(total.shape[0]):
            out[c, g] = total[g] / (starts[c + 1] - starts[c])


own_files(globals().values())
