"""Compiled loops that find which cells the two ends of an anchor's vector are means of.

As in ``kernels``: serial, sums in float64; with the interpreter lock, see
``displacement_kernels``. Sparse rows of weights are triples ``(indptr, indices, values)``, as in a
CSR matrix.
"""

from __future__ import annotations

from numba import config, njit

from mnncorrect.core.runtime.caches import SHORT, find_place, own_files

find_place(njit, config)


@njit(**SHORT)
def vote(left, right, shares, total, row_of, places, cells, weights):
    """Weigh the left cells at each anchor by their share of all that it gets.

    Parameters
    ----------
    left, right, shares
        Ends of the pairs, in order of the left ones, and the weight of each.
    total
        Sum of the weights of each right cell.
    row_of
        Row of each right cell; -1 if it is not wanted.
    places
        Where each sparse row starts; afterwards, where it ends.
    cells, weights
        Sparse rows that are filled in.
    """
    for pair in range(left.shape[0]):
        row = row_of[right[pair]]
        if row >= 0:
            cells[places[row]] = left[pair]
            weights[places[row]] = shares[pair] / total[right[pair]]
            places[row] += 1


@njit(**SHORT)
def vote_around(anchors, used, lists, counts, votes, cells, weights):
    """Weigh the right cells at each anchor: each has one vote, which the anchors near it share.

    ``lists`` and ``counts`` are the neighbors of right cells, ``used`` the anchors that are wanted.
    ``votes`` are zeros, one a right cell; ``cells`` and ``weights`` are filled in.
    """
    for i in range(anchors.shape[0]):
        for at in range(counts[anchors[i]]):
            votes[lists[anchors[i], at]] += 1.0
    place = 0
    for row in range(used.shape[0]):
        first, total = place, 0.0
        for at in range(counts[used[row]]):
            cells[place] = lists[used[row], at]
            weights[place] = 1.0 / votes[cells[place]] if votes[cells[place]] > 1.0 else 1.0
            total += weights[place]
            place += 1
        for at in range(first, place):
            weights[at] /= total


@njit(**SHORT)
def compose(indptr, indices, values, lists, counts, scratch, out_indptr, out_indices, out_values):
    """Multiply a sparse matrix by that which replaces each cell by the mean of those listed.

    ``scratch``: zeros, one a column, and zeros again afterwards.
    """
    count = 0
    for i in range(indptr.shape[0] - 1):
        first = count
        for place in range(indptr[i], indptr[i + 1]):
            cell = indices[place]
            weight = values[place] / counts[cell]
            for at in range(counts[cell]):
                column = lists[cell, at]
                if scratch[column] == 0.0:
                    out_indices[count] = column
                    count += 1
                scratch[column] += weight
        for place in range(first, count):
            out_values[place] = scratch[out_indices[place]]
            scratch[out_indices[place]] = 0.0
        out_indptr[i + 1] = count


own_files(globals().values())
