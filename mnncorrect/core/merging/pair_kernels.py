"""Compiled loops over mutual pairs, their vectors, and what merges leave of the variance."""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for, square_distance

find_place(njit, config)


@njit(**LOOP)
def deal_out(values, labels, places, out):
    """Put each value at its label's place, and the label's next one after it."""
    for i in range(values.shape[0]):
        out[places[labels[i]]] = values[i]
        places[labels[i]] += 1


@njit(**LOOP)
def mark_mutual(in_right, rows, in_left, mutual):
    """``mutual[i, a]`` where left cell ``rows[i]`` is a neighbor of its a-th neighbor."""
    for i in range(in_right.shape[0]):
        row = np.int32(rows[i])
        for at in range(in_right.shape[1]):
            back, found = in_left[in_right[i, at]], np.int32(0)
            # All are compared, eight at once: to stop at one would take twice as long.
            for place in range(back.shape[0]):
                found += np.int32(back[place] == row)
            mutual[i, at] = found > 0


@njit(**LOOP)
def average_pair_vectors(left, right, pair_left, starts, anchors, out):
    """``out[a]`` = mean over the pairs of anchor ``a`` of ``left row - right row``.

    Pairs are grouped by anchor: those of anchor ``a`` are ``starts[a]:starts[a + 1]``.
    """
    total = room_for(left.shape[1])
    for a in range(anchors.shape[0]):
        total[:] = 0.0
        for at in range(starts[a], starts[a + 1]):
            row = left[pair_left[at]]
            for g in range(total.shape[0]):
                total[g] += row[g]
        count = starts[a + 1] - starts[a]
        row = right[anchors[a]]
        for g in range(total.shape[0]):
            out[a, g] = total[g] / count - row[g]


@njit(**LOOP)
def add_square_residuals(x, labels, means, totals):
    """Add ``||x_i - means[label]||^2`` to the total of every row's label."""
    for i in range(x.shape[0]):
        totals[labels[i]] += square_distance(x[i], means[labels[i]])


own_files(globals().values())
