"""Slow, obvious oracles, written from the formulas alone.

Plain numpy and Python loops: no compiled code, no blocks, nothing of the package. Rows are cells.
Batches come as a list of arrays, results are rows of all batches one after the other, and every row
number in a result counts over all batches.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

MIN_NORM = 1e-8


# -- Shared pieces ------------------------------------------------------------------------------


def row_norms(x):
    """Euclidean norm of every row, without a floor."""
    x = np.asarray(x, dtype=float)
    return np.array([math.sqrt(math.fsum(value * value for value in row)) for row in x])


def cosine_normalize(x, norms=None):
    """Rows over their norm, the norm being at least 1e-8."""
    x = np.asarray(x, dtype=float)
    norms = row_norms(x) if norms is None else norms
    return np.array([row / max(norm, MIN_NORM) for row, norm in zip(x, norms, strict=True)])


def squared_distance(a, b):
    """Sum of squared differences."""
    difference = a - b
    return float(np.dot(difference, difference))


def nearest(query, reference, k):
    """The k nearest rows of `reference`, by (distance, index): indices and distances."""
    query, reference = np.asarray(query, dtype=float), np.asarray(reference, dtype=float)
    k = min(k, len(reference))
    indices = np.zeros((len(query), k), dtype=int)
    distances = np.zeros((len(query), k))
    for i, row in enumerate(query):
        ranked = sorted((squared_distance(row, other), j) for j, other in enumerate(reference))[:k]
        indices[i] = [j for _, j in ranked]
        distances[i] = [math.sqrt(d2) for d2, _ in ranked]
    return indices, distances


def choose_k(n_neighbors, prop_neighbors, n):
    """Number of neighbours, given or as a share of n; Python rounds half to even, as is wanted."""
    if prop_neighbors is None:
        return n_neighbors
    return min(n, max(n_neighbors, round(prop_neighbors * n)))


def mutual_pairs(in_right, in_left):
    """Pairs (l, r) with r in in_right[l] and l in in_left[r], in the order of in_right."""
    return [
        (left, int(right))
        for left in range(len(in_right))
        for right in in_right[left]
        if left in list(in_left[right])
    ]


def find_pairs(left, right, n_neighbors=20, prop_neighbors=None, rows_left=None, rows_right=None):
    """Mutual nearest neighbours of two sets of cells, as a list of row numbers (left, right)."""
    rows_left = list(range(len(left))) if rows_left is None else list(rows_left)
    rows_right = list(range(len(right))) if rows_right is None else list(rows_right)
    k_left = choose_k(n_neighbors, prop_neighbors, len(rows_left))
    k_right = choose_k(n_neighbors, prop_neighbors, len(rows_right))
    in_right, _ = nearest(left[rows_left], right[rows_right], k_right)
    in_left, _ = nearest(right[rows_right], left[rows_left], k_left)
    return [(rows_left[l], rows_right[r]) for l, r in mutual_pairs(in_right, in_left)]


def average_vectors(left, right, pairs):
    """Mean of left - right over the pairs of each right cell: anchors ascending, and vectors."""
    anchors = sorted({r for _, r in pairs})
    vectors = [
        np.mean([left[l] - right[r] for l, r in pairs if r == anchor], axis=0) for anchor in anchors
    ]
    return np.array(anchors, dtype=int), np.array(vectors).reshape(len(anchors), left.shape[1])


def lse(a, b):
    """log(exp(a) + exp(b))."""
    if a == -math.inf:
        return b
    if b == -math.inf:
        return a
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


def log_sum_exp(values):
    """Log of a sum of exponentials, added one after the other; -inf of nothing."""
    total = -math.inf
    for value in values:
        total = lse(total, value)
    return total


# -- Merge orders -------------------------------------------------------------------------------


def binary_tree(order):
    """Nested lists of batch numbers as nested pairs; more than two children are joined in turn."""
    if isinstance(order, int | np.integer):
        return int(order)
    children = [binary_tree(child) for child in order]
    tree = children[0]
    for child in children[1:]:
        tree = (tree, child)
    return tree


def run_tree(tree, leaves, merge):
    """Carry out a tree of merges: the right subtree first, from the root again after each merge."""

    def plant(tree):
        return leaves[tree] if isinstance(tree, int) else (plant(tree[0]), plant(tree[1]))

    def one_merge(tree):
        left, right = tree
        if not isinstance(left, tuple) and not isinstance(right, tuple):
            return merge(left, right)
        if isinstance(right, tuple):
            return (left, one_merge(right))
        return (one_merge(left), right)

    tree = plant(tree)
    while isinstance(tree, tuple):
        tree = one_merge(tree)
    return tree


def run_automatic(nodes, count_pairs, merge):
    """Merge the two nodes with most pairs first; `count_pairs(left, [right, ...])` -> counts.

    The node later in the list is the left one; ties go to the earliest right, then left, node.
    """
    nodes = list(nodes)
    counts = {}
    for i, left in enumerate(nodes):
        for right, count in zip(nodes[:i], count_pairs(left, nodes[:i]), strict=True):
            counts[tuple(left.index), tuple(right.index)] = count
    while len(nodes) > 1:
        best = -1
        for j, earlier in enumerate(nodes):
            for later in nodes[j + 1 :]:
                count = counts[tuple(later.index), tuple(earlier.index)]
                if count > best:
                    best, left, right = count, later, earlier
        merged = merge(left, right)
        nodes = [node for node in nodes if node is not left and node is not right]
        for node, count in zip(nodes, count_pairs(merged, nodes), strict=True):
            counts[tuple(merged.index), tuple(node.index)] = count
        nodes.append(merged)
    return nodes[0]


def restricted_rows(node):
    """Row numbers that pairs may be taken from."""
    return list(range(len(node.rows))) if node.restrict is None else list(node.restrict)


def merged_restriction(left, right):
    """Nothing if neither is restricted, otherwise the rows of both."""
    if left.restrict is None and right.restrict is None:
        return None
    return restricted_rows(left) + [r + len(left.rows) for r in restricted_rows(right)]


def as_rows(restrict, n_batches):
    """One list of row numbers, or None, for every batch."""
    if restrict is None:
        return [None] * n_batches
    rows = []
    for entry in restrict:
        entry = None if entry is None else np.asarray(entry)
        if entry is not None and entry.dtype == bool:
            entry = np.flatnonzero(entry)
        rows.append(None if entry is None else [int(row) for row in entry])
    return rows


def row_offsets(batches):
    """First global row of every batch."""
    return np.concatenate([[0], np.cumsum([len(batch) for batch in batches])])


def global_pairs(left, right, pairs):
    """Pairs with global row numbers, as an array of two columns."""
    return np.array([(left.rows[l], right.rows[r]) for l, r in pairs], dtype=int).reshape(-1, 2)


# -- Classic ------------------------------------------------------------------------------------


def log_density(points, sigma):
    """Log of the kernel density of every point among all points."""
    return [log_sum_exp([-squared_distance(a, b) / sigma for b in points]) for a in points]


def gaussian_weights(data, anchors, sigma):
    """Weight of every anchor for every cell, each row adding up to one."""
    points = data[anchors]
    density = log_density(points, sigma)
    weights = np.zeros((len(data), len(anchors)))
    for c, cell in enumerate(data):
        log_weights = np.array(
            [-squared_distance(cell, p) / sigma - d for p, d in zip(points, density, strict=True)]
        )
        weights[c] = np.exp(log_weights - log_weights.max())
        weights[c] /= weights[c].sum()
    return weights


def gaussian(data, anchors, vectors, sigma):
    """Gaussian smoothing with density correction; sigma divides the squared distance."""
    return gaussian_weights(data, anchors, sigma) @ vectors


def global_mean(data, anchors, vectors, sigma):
    """One mean for every cell: anchors weighted by the inverse of their density."""
    weights = np.exp(-np.array(log_density(data[anchors], sigma)))
    return np.tile(weights @ vectors / weights.sum(), (len(data), 1))


def bio_span(data, cells, n, mask=None):
    """Orthonormal directions (genes x n) in which the cells differ most among themselves.

    With a mask the directions are found on its genes, and the others follow by projection.
    Directions without variance are left out.
    """
    centred = data[cells] - data[cells].mean(axis=0)
    inside = centred if mask is None else centred[:, mask]
    v, d, ut = np.linalg.svd(inside, full_matrices=False)
    n = min(n, inside.shape[1], len(cells))
    v, d, u = v[:, :n], d[:n], ut[:n].T
    largest = d[0] if len(d) else 0.0
    keep = d > largest * max(inside.shape) * np.finfo(float).eps
    v, d, u = v[:, keep], d[keep], u[:, keep]
    if mask is None:
        return u
    span = np.zeros((data.shape[1], u.shape[1]))
    span[mask] = u
    span[~mask] = centred[:, ~mask].T @ v / d
    return span


def remove_span(correction, span, mask=None):
    """Take a span out of corrections; its magnitude is measured on the genes of the mask."""
    if mask is None:
        return correction - (correction @ span) @ span.T
    return correction - (correction[:, mask] @ span[mask]) @ span.T


def variance_scaling(left, right, correction, sigma, rows_left=None, rows_right=None):
    """How much longer each right cell's correction should be, at least 1."""
    rows_left = range(len(left)) if rows_left is None else rows_left
    rows_right = range(len(right)) if rows_right is None else rows_right
    scaling = np.ones(len(right))
    for c, cell in enumerate(right):
        length = math.sqrt(np.dot(correction[c], correction[c]))
        if length == 0:
            continue
        u = correction[c] / length
        p = float(np.dot(u, cell))

        def log_weight(other, cell=cell, u=u):
            difference = cell - other
            off_line = difference - np.dot(difference, u) * u
            return -float(np.dot(off_line, off_line)) / sigma

        log_below = log_all = -math.inf
        none_below = True
        for y in rows_right:
            weight = 0.0 if y == c else log_weight(right[y])
            log_all = lse(log_all, weight)
            if y == c or float(np.dot(u, right[y])) <= p:
                log_below = lse(log_below, weight)
                none_below = False
        log_share = (0.0 if none_below else log_below) - log_all

        points = [(float(np.dot(u, left[y])), log_weight(left[y])) for y in rows_left]
        target = log_share + log_sum_exp([weight for _, weight in points])
        points.sort()
        quantile = points[-1][0]
        accumulated = -math.inf
        for coordinate, weight in points:
            accumulated = lse(accumulated, weight)
            if accumulated >= target:
                quantile = coordinate
                break
        scaling[c] = max((quantile - p) / length, 1.0)
    return scaling


def mnn_classic(
    batches,
    *,
    n_neighbors=20,
    prop_neighbors=None,
    sigma=0.1,
    cosine_norm_in=True,
    cosine_norm_out=True,
    n_svd=0,
    adjust_variance=True,
    mask=None,
    correct_all=False,
    merge_order=None,
    auto_merge=False,
    restrict=None,
    smoothing="local",
):
    """The method of Haghverdi et al. (2018): corrected rows, and one record a merge."""
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    mask = None if mask is None or np.all(mask) else np.asarray(mask)
    if mask is not None and not correct_all:
        batches = [batch[:, mask] for batch in batches]
        mask = None
    inside = [batch if mask is None else batch[:, mask] for batch in batches]
    same = mask is None and cosine_norm_in == cosine_norm_out

    offsets = row_offsets(batches)
    nodes = []
    for b, rows in enumerate(as_rows(restrict, len(batches))):
        norms = row_norms(inside[b])
        nodes.append(
            SimpleNamespace(
                index=[b],
                rows=np.arange(offsets[b], offsets[b + 1]),
                restrict=rows,
                inner=cosine_normalize(inside[b], norms) if cosine_norm_in else inside[b],
                outer=cosine_normalize(batches[b], norms) if cosine_norm_out else batches[b],
            )
        )

    def pairs_of(left, right):
        return find_pairs(
            left.inner,
            right.inner,
            n_neighbors,
            prop_neighbors,
            left.restrict,
            right.restrict,
        )

    def correction_of(left, right, pairs, which):
        left_data, right_data = getattr(left, which), getattr(right, which)
        genes = mask if which == "outer" else None
        anchors, vectors = average_vectors(left_data, right_data, pairs)
        smooth = {"local": gaussian, "global": global_mean}[smoothing]
        correction = smooth(right.inner, anchors, vectors, sigma)
        if n_svd > 0:
            matched = sorted({l for l, _ in pairs})
            for data, cells in ((left_data, matched), (right_data, anchors)):
                correction = remove_span(correction, bio_span(data, cells, n_svd, genes), genes)
        if adjust_variance:
            view = slice(None) if genes is None else genes
            scaling = variance_scaling(
                left_data[:, view],
                right_data[:, view],
                correction[:, view],
                sigma,
                left.restrict,
                right.restrict,
            )
            correction = correction * scaling[:, None]
        return correction

    merges = []

    def merge(left, right):
        pairs = pairs_of(left, right)
        inner = correction_of(left, right, pairs, "inner")
        outer = inner if same else correction_of(left, right, pairs, "outer")
        merges.append(
            SimpleNamespace(
                left=tuple(left.index),
                right=tuple(right.index),
                pairs=global_pairs(left, right, pairs),
            )
        )
        return SimpleNamespace(
            index=left.index + right.index,
            rows=np.concatenate([left.rows, right.rows]),
            restrict=merged_restriction(left, right),
            inner=np.vstack([left.inner, right.inner + inner]),
            outer=np.vstack([left.outer, right.outer + outer]),
        )

    if auto_merge:
        root = run_automatic(
            nodes, lambda left, rights: [len(pairs_of(left, right)) for right in rights], merge
        )
    else:
        order = range(len(batches)) if merge_order is None else merge_order
        root = run_tree(binary_tree(order), nodes, merge)
    corrected = np.zeros_like(root.outer)
    corrected[root.rows] = root.outer
    return SimpleNamespace(corrected=corrected, merges=merges)
