"""Compiled loops of the weighted local regression, and nothing else.

As in ``kernels``: serial, without the interpreter lock, sums in float64.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from mnncorrect.core.runtime.caches import LOOP, find_place, own_files

find_place(njit, config)


@njit(**LOOP)
def lowess_windows(x, weights, seeds, enough, starts, ends, reach):
    """Points about each seed, nearest first, until their weight is enough; ``[start, end)``.

    ``x`` ascends. Points equal to those at the ends belong to the window too; ``reach`` is the
    largest distance before that.
    """
    n = x.shape[0]
    for i in range(seeds.shape[0]):
        seed = seeds[i]
        start, end = seed, seed
        total = weights[seed]
        while total < enough and (start > 0 or end < n - 1):
            go_right = start == 0 or (
                end < n - 1 and x[end + 1] - x[seed] <= x[seed] - x[start - 1]
            )
            if go_right:
                end += 1
                total += weights[end]
            else:
                start -= 1
                total += weights[start]
        reach[i] = max(x[seed] - x[start], x[end] - x[seed])
        while start > 0 and x[start - 1] == x[start]:
            start -= 1
        while end < n - 1 and x[end + 1] == x[end]:
            end += 1
        starts[i], ends[i] = start, end + 1


@njit(**LOOP)
def lowess_lines(x, y, weights, robustness, seeds, starts, ends, reach, negligible, out):
    """``out[i]``: value at seed i of the line through its window, weighted by tricube distance.

    The weighted mean where the window, or the weighted spread within it, has no width.
    """
    for i in range(seeds.shape[0]):
        start, end, at = starts[i], ends[i], x[seeds[i]]
        window = np.ones(end - start)
        if reach[i] >= negligible:
            for j in range(start, end):
                window[j - start] = (1.0 - (abs(x[j] - at) / reach[i]) ** 3) ** 3
        for j in range(start, end):
            window[j - start] *= weights[j]
        total = 0.0
        for j in range(start, end):
            total += window[j - start] * robustness[j]
        if total > 0.0:
            for j in range(start, end):
                window[j - start] *= robustness[j]
        total = x_mean = y_mean = 0.0
        for j in range(start, end):
            total += window[j - start]
            x_mean += window[j - start] * x[j]
            y_mean += window[j - start] * y[j]
        x_mean, y_mean = x_mean / total, y_mean / total
        square = product = 0.0
        for j in range(start, end):
            away = x[j] - x_mean
            square += window[j - start] * away * away
            product += window[j - start] * away * (y[j] - y_mean)
        out[i] = y_mean
        if reach[i] >= negligible and square >= negligible:
            out[i] += product / square * (at - x_mean)


own_files(globals().values())
