"""Compiled loops that find the neighbors of cells that are dealt to two sides.

As in ``kernels``: serial; with the interpreter lock, see ``displacement_kernels``.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import PART, SHORT, find_place, own_files
from mnncorrect.core.runtime.kernels import room_for, square_distance

find_place(njit, config)


@njit(**PART)
def _search(cell, reference, squares, out):
    """Find the nearest rows of ``reference``, by (squared distance, row), one by one.

    Rows whose squares overflow are found too, as they come: others are indices beyond the arrays.
    """
    k = out.shape[0]
    for at in range(k):
        squares[at], out[at] = np.inf, at
    for row in range(reference.shape[0]):
        square = square_distance(cell, reference[row])
        if square >= squares[k - 1]:
            continue
        at = k - 1
        while at > 0 and squares[at - 1] > square:
            squares[at], out[at] = squares[at - 1], out[at - 1]
            at -= 1
        squares[at], out[at] = square, row


@njit(**SHORT)
def pick(rows, query, reference, chosen, wanted, place, pooled, out):
    """Pick the nearest cells of one side, for some cells, from the nearest cells of both sides.

    ``pooled`` lists these for each cell of both sides; ``rows`` are those of the queries.
    ``out[i]`` is filled with the ``place``, within their side, of those that are ``chosen`` as
    ``wanted``. A query with too few of them in its list is searched among all of the side.
    """
    k = out.shape[1]
    squares = room_for(k)
    for i in range(rows.shape[0]):
        count = 0
        for at in range(pooled.shape[1]):
            other = pooled[rows[i], at]
            # Written in any case: the processor would guess wrong which ones are wanted.
            out[i, count] = place[other]
            count += np.int64(chosen[other] == wanted)
            if count == k:
                break
        if count < k:
            _search(query[i], reference, squares, out[i])


own_files(globals().values())
