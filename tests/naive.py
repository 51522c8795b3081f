"""Slow, obvious oracles, written from the formulas alone.

Plain numpy and Python loops: no compiled code, no blocks, nothing of the package. Rows are cells.
Batches come as a list of arrays, results are rows of all batches one after the other, and every row
number in a result counts over all batches.
"""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

MIN_NORM = 1e-8
# Distances that differ by less are a tie.
TIE = 1e-9


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


def assert_same_pairs_up_to_ties(found, expected, places):
    """The same pairs in the same order, except where two cells are at the same distance.

    After a merge by one neighbour, each moved cell coincides with its counterpart. Rounding then
    decides which of the two the next merge takes, and BLAS rounds differently on each processor. A
    pair that only one side has needs a
    counterpart on the other side: a pair of the same length that shares one of its cells.
    """
    found, expected = ([tuple(pair) for pair in np.asarray(p).tolist()] for p in (found, expected))
    assert len(found) == len(expected)
    assert [p for p in found if p in expected] == [p for p in expected if p in found]

    def length(pair):
        return math.sqrt(squared_distance(places[pair[0]], places[pair[1]]))

    for some, others in ((found, expected), (expected, found)):
        for pair in set(some) - set(others):
            assert any(
                (pair[0] == other[0] or pair[1] == other[1])
                and abs(length(pair) - length(other)) < TIE
                for other in set(others) - set(some)
            ), f"{pair} has no counterpart of the same length"


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
    size = np.linalg.norm(data[cells] if mask is None else data[cells][:, mask])
    keep = d > 1e-12 * size
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


# -- Multi-batch PCA ----------------------------------------------------------------------------


def tree_weights(tree, n_batches):
    """The weight 1, divided equally among the children of every node down to the batches."""
    weights = np.zeros(n_batches)

    def divide(node, share):
        if isinstance(node, int | np.integer):
            weights[node] = share
            return
        for child in node:
            divide(child, share / len(node))

    divide(tree, 1.0)
    return weights


def batch_weights(weights, sizes):
    """Resolve weights: None or True, False, one number a batch, or a tree of batch numbers."""
    if weights is None or weights is True:
        return np.ones(len(sizes))
    if weights is False:
        return np.array(sizes, dtype=float)
    if any(isinstance(entry, list | tuple) for entry in weights):
        return tree_weights(weights, len(sizes))
    return np.array(weights, dtype=float)


def multibatch_pca(batches, n_comps, *, weights=None, mask=None, all_genes=False):
    """PCA in which batches count by weight and not by number of cells.

    `n_comps=None` leaves out the rotation. Components are given back as the decomposition made
    them: their signs mean nothing.
    """
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    n_genes = batches[0].shape[1]
    mask = np.ones(n_genes, dtype=bool) if mask is None else np.asarray(mask)
    w = batch_weights(weights, [len(batch) for batch in batches])
    centre = sum(w_b * batch.mean(axis=0) for w_b, batch in zip(w, batches, strict=True)) / w.sum()
    scaled = np.vstack(
        [
            (batch - centre) / math.sqrt(len(batch) / w_b)
            for w_b, batch in zip(w, batches, strict=True)
        ]
    )
    centred = [batch[:, mask] - centre[mask] for batch in batches]
    if n_comps is None:
        rotation = np.eye(n_genes)[:, mask]
        return SimpleNamespace(
            scores=np.vstack(centred),
            rotation=rotation if all_genes else rotation[mask],
            center=np.zeros(n_genes if all_genes else mask.sum()),
            subtracted=centre if all_genes else centre[mask],
            variance=scaled[:, mask].var(axis=0, ddof=1),
            total_variance=scaled[:, mask].var(axis=0, ddof=1).sum(),
        )
    v, d, ut = np.linalg.svd(scaled[:, mask], full_matrices=False)
    n_comps = min(n_comps, len(d))
    v, d_kept, u = v[:, :n_comps], d[:n_comps], ut[:n_comps].T
    rotation = np.zeros((n_genes, n_comps))
    rotation[mask] = u
    rotation[~mask] = scaled[:, ~mask].T @ v / d_kept
    return SimpleNamespace(
        scores=np.vstack([batch @ u for batch in centred]),
        rotation=rotation if all_genes else u,
        center=centre if all_genes else centre[mask],
        subtracted=centre if all_genes else centre[mask],
        variance=d_kept**2 / len(batches),
        total_variance=(scaled[:, mask] ** 2).sum() / len(batches),
    )


# -- Reduced and fast ---------------------------------------------------------------------------


def centre_along(data, vector, rows=None):
    """Give all rows the mean coordinate along a vector, the mean of the restricted rows."""
    length = math.sqrt(np.dot(vector, vector))
    if length == 0:
        return data
    unit = vector / length
    along = data @ unit
    mean = along.mean() if rows is None else along[rows].mean()
    return data + np.outer(mean - along, unit)


def tricube(data, anchors, vectors, k, ndist):
    """Mean of the vectors of the k nearest anchors, weighted by the tricube of the distance."""
    if len(anchors) == 0:
        return np.zeros_like(data)
    k = min(k, len(anchors))
    indices, distances = nearest(data, data[anchors], k)
    correction = np.zeros((len(data), vectors.shape[1]))
    for c in range(len(data)):
        middle = distances[c][math.ceil(k / 2) - 1]
        width = max(1e-8, ndist * middle)
        weights = np.array([(1 - min(1.0, d / width) ** 3) ** 3 for d in distances[c]])
        # Without any weight there is no mean: not a number.
        correction[c] = weights @ vectors[indices[c]] / weights.sum() if weights.any() else np.nan
    return correction


def batch_variance(node):
    """Sum over dimensions of the variance of every batch inside a node."""
    return {
        b: node.data[node.origin == b].var(axis=0, ddof=1).sum()
        if np.sum(node.origin == b) > 1
        else math.nan
        for b in node.index
    }


def mnn_reduced(
    batches,
    *,
    n_neighbors=20,
    prop_neighbors=None,
    ndist=3.0,
    min_batch_size=0.0,
    merge_order=None,
    auto_merge=False,
    restrict=None,
):
    """Orthogonalise, pair, smooth with a tricube; `min_batch_size=None` never skips.

    Each merge keeps the `places` of all its cells when pairs were sought: one row a cell.
    """
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    offsets = row_offsets(batches)
    nodes = [
        SimpleNamespace(
            index=[b],
            rows=np.arange(offsets[b], offsets[b + 1]),
            restrict=rows,
            data=batches[b],
            origin=np.full(len(batches[b]), b),
            vectors=[],
        )
        for b, rows in enumerate(as_rows(restrict, len(batches)))
    ]
    merges = []

    def pairs_of(left, right, left_data, right_data):
        return find_pairs(
            left_data, right_data, n_neighbors, prop_neighbors, left.restrict, right.restrict
        )

    def count(left, rights):
        counts = []
        # The left data goes on from one candidate to the next, as in the reference.
        left_data = left.data
        for right in rights:
            right_data = right.data
            for vector in left.vectors:
                right_data = centre_along(right_data, vector, right.restrict)
            for vector in right.vectors:
                left_data = centre_along(left_data, vector, left.restrict)
            counts.append(len(pairs_of(left, right, left_data, right_data)))
        return counts

    def merge(left, right):
        left, right = SimpleNamespace(**vars(left)), SimpleNamespace(**vars(right))
        before = batch_variance(left) | batch_variance(right)
        for vector in left.vectors:
            right.data = centre_along(right.data, vector, right.restrict)
        for vector in right.vectors:
            left.data = centre_along(left.data, vector, left.restrict)
        pairs = pairs_of(left, right, left.data, right.data)
        places = np.full((offsets[-1], left.data.shape[1]), math.nan)
        places[left.rows], places[right.rows] = left.data, right.data
        _, vectors = average_vectors(left.data, right.data, pairs)
        overall = vectors.mean(axis=0)
        size, skipped = math.nan, False
        if min_batch_size is not None:
            mean_square = np.mean([np.dot(vector, vector) for vector in vectors])
            length = math.sqrt(np.dot(overall, overall))
            size = length / math.sqrt(mean_square) if mean_square > 0 else 0.0
            skipped = size < min_batch_size
        stored = left.vectors + right.vectors
        if not skipped:
            # A vector of no length has no direction: nothing to make equal, nothing to remember.
            left.data = centre_along(left.data, overall, left.restrict)
            right.data = centre_along(right.data, overall, right.restrict)
            if np.any(overall != 0):
                stored = [*stored, overall]
        after = batch_variance(left) | batch_variance(right)
        if not skipped:
            anchors, vectors = average_vectors(left.data, right.data, pairs)
            k = choose_k(n_neighbors, prop_neighbors, len(right.data))
            right.data = right.data + tricube(right.data, anchors, vectors, k, ndist)
        lost = np.zeros(len(batches))
        for b in left.index + right.index:
            lost[b] = 1 - after[b] / before[b] if before[b] != 0 else math.nan
        merges.append(
            SimpleNamespace(
                left=tuple(left.index),
                right=tuple(right.index),
                pairs=global_pairs(left, right, pairs),
                places=places,
                batch_size=size,
                skipped=skipped,
                lost_variance=lost,
            )
        )
        return SimpleNamespace(
            index=left.index + right.index,
            rows=np.concatenate([left.rows, right.rows]),
            restrict=merged_restriction(left, right),
            data=np.vstack([left.data, right.data]),
            origin=np.concatenate([left.origin, right.origin]),
            vectors=stored,
        )

    if auto_merge:
        root = run_automatic(nodes, count, merge)
    else:
        order = range(len(batches)) if merge_order is None else merge_order
        root = run_tree(binary_tree(order), nodes, merge)
    corrected = np.zeros_like(root.data)
    corrected[root.rows] = root.data
    return SimpleNamespace(corrected=corrected, merges=merges)


def mnn_fast(
    batches,
    *,
    n_comps=50,
    batch_weights=None,
    cosine_norm=True,
    mask=None,
    correct_all=False,
    **reduced,
):
    """Cosine normalisation over the masked genes, multi-batch PCA, `mnn_reduced` on the scores."""
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    inside = slice(None) if mask is None else mask
    if cosine_norm:
        batches = [cosine_normalize(batch, row_norms(batch[:, inside])) for batch in batches]
    pca = multibatch_pca(
        batches, n_comps, weights=batch_weights, mask=mask, all_genes=correct_all or mask is None
    )
    sizes = np.cumsum([len(batch) for batch in batches])[:-1]
    result = mnn_reduced(np.split(pca.scores, sizes), **reduced)
    result.pca = pca
    result.rotation, result.center = pca.rotation, pca.center
    result.reconstructed = result.corrected @ pca.rotation.T
    return result


# -- Cluster ------------------------------------------------------------------------------------


def mnn_cluster(
    batches,
    clusters,
    *,
    cosine_norm=True,
    mask=None,
    correct_all=False,
    merge_order=None,
    auto_merge=False,
    restrict=None,
    min_batch_size=0.0,
):
    """Correct the centroids of clusters, and move cells along with the centroids near them."""
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    inside = slice(None) if mask is None else mask
    if cosine_norm:
        batches = [cosine_normalize(batch, row_norms(batch[:, inside])) for batch in batches]
    centroids, names, used = [], [], []
    for batch, labels, rows in zip(batches, clusters, as_rows(restrict, len(batches)), strict=True):
        rows = list(range(len(batch))) if rows is None else sorted(rows)
        used.append(rows)
        present = sorted({labels[row] for row in rows})
        names.append(present)
        centroids.append(
            np.array(
                [
                    np.mean([batch[row] for row in rows if labels[row] == name], axis=0)
                    for name in present
                ]
            )
        )
    n_clusters = sum(len(present) for present in names)
    pca = multibatch_pca(
        centroids, n_clusters - 1, mask=mask, all_genes=correct_all or mask is None
    )
    ends = np.cumsum([len(present) for present in names])
    scores = np.split(pca.scores, ends[:-1])
    merged = mnn_reduced(
        scores,
        n_neighbors=1,
        merge_order=merge_order,
        auto_merge=auto_merge,
        min_batch_size=min_batch_size,
    )
    shifts = np.split(merged.corrected - pca.scores, ends[:-1])
    rotation = pca.rotation[inside] if correct_all and mask is not None else pca.rotation
    centre = pca.subtracted[inside] if correct_all and mask is not None else pca.subtracted

    corrected = []
    for b, batch in enumerate(batches):
        cells = (batch[:, inside] - centre) @ rotation
        _, distances = nearest(cells[used[b]], scores[b], 1)
        width = float(np.median(distances))
        for cell in cells:
            squares = np.array([squared_distance(cell, point) for point in scores[b]])
            if width > 0:
                log_weights = -squares / width**2
                weights = np.exp(log_weights - log_weights.max())
            else:
                # The limit of a width that goes to zero: the nearest centroid, the first if tied.
                weights = np.zeros(len(squares))
                weights[squares.argmin()] = 1
            corrected.append(cell + weights @ shifts[b] / weights.sum())

    owner = np.repeat(np.arange(len(batches)), [len(present) for present in names])
    edges = [(int(l), int(r)) for merge in merged.merges for l, r in merge.pairs]
    return SimpleNamespace(
        corrected=np.array(corrected),
        merges=merged.merges,
        rotation=pca.rotation,
        cluster=[name for present in names for name in present],
        batch=owner,
        meta=components(n_clusters, edges),
    )


def components(n, edges):
    """Connected component of each of n vertices, numbered in order of their first vertex."""
    label = list(range(n))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            lowest = min(label[a], label[b])
            if label[a] != lowest or label[b] != lowest:
                label[a] = label[b] = lowest
                changed = True
    order = sorted(set(label))
    return np.array([order.index(entry) for entry in label])


# -- What surrounds the methods -----------------------------------------------------------------


def multibatch_normalize(batches, *, min_mean=1.0, mask=None, size_factors=None):
    """Log2 counts after bringing all batches down to the depth of the shallowest."""
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    inside = slice(None) if mask is None else mask
    if size_factors is None:
        size_factors = [batch[:, inside].sum(axis=1) for batch in batches]
    size_factors = [np.asarray(sf, dtype=float) / np.mean(sf) for sf in size_factors]
    means = [
        np.mean([cell / factor for cell, factor in zip(batch[:, inside], sf, strict=True)], axis=0)
        for batch, sf in zip(batches, size_factors, strict=True)
    ]
    n = len(batches)
    ratio = np.ones((n, n))
    for a in range(n):
        for b in range(a + 1, n):
            total_a, total_b = means[a].sum(), means[b].sum()
            grand = (means[a] / total_a + means[b] / total_b) / 2 * (total_a + total_b) / 2
            keep = grand >= min_mean
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio[a, b] = np.median(means[b][keep] / means[a][keep])
                ratio[b, a] = np.median(means[a][keep] / means[b][keep])
    reference = int(np.argmin(ratio.min(axis=0)))
    size_factors = [sf / ratio[b, reference] for b, sf in enumerate(size_factors)]
    logs = [
        np.log2(batch / sf[:, None] + 1) for batch, sf in zip(batches, size_factors, strict=True)
    ]
    return SimpleNamespace(normalized=np.vstack(logs), size_factors=np.concatenate(size_factors))


def rescale_batches(batches, *, log_base=2.0, pseudo_count=1.0, restrict=None):
    """Scale every gene of every batch down to the lowest of the batches' means, on counts."""
    counts = [log_base ** np.asarray(batch, dtype=float) - pseudo_count for batch in batches]
    rows = as_rows(restrict, len(batches))
    means = [(y if r is None else y[r]).mean(axis=0) for y, r in zip(counts, rows, strict=True)]
    lowest = np.min(means, axis=0)
    corrected = []
    for y, mean in zip(counts, means, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = lowest / mean
        factor[~np.isfinite(factor)] = 0
        corrected.append(np.log(y * factor + pseudo_count) / math.log(log_base))
    return np.vstack(corrected)


def regress_batches(batches, *, design=None, keep=None, restrict=None):
    """What is left of every gene after a linear model of the batches, or of a given design."""
    x = np.vstack([np.asarray(batch, dtype=float) for batch in batches])
    offsets = row_offsets(batches)
    if design is None:
        design = np.zeros((len(x), len(batches)))
        for b in range(len(batches)):
            design[offsets[b] : offsets[b + 1], b] = 1
    used = []
    for b, rows in enumerate(as_rows(restrict, len(batches))):
        rows = range(len(batches[b])) if rows is None else rows
        used += [int(offsets[b]) + row for row in rows]
    coefficients = np.linalg.lstsq(design[used], x[used], rcond=None)[0]
    if keep is not None:
        coefficients[keep] = 0
    return x - design @ coefficients


def abundance_test(clusters, batch):
    """Chi-squared statistic and p-value of each cluster's counts against overall proportions."""
    from scipy.special import gammaincc

    table, names = contingency(clusters, batch)
    shares = table.sum(axis=0) / table.sum()
    p_values = []
    for row in table:
        expected = row.sum() * shares
        statistic = sum((o - e) ** 2 / e for o, e in zip(row, expected, strict=True))
        p_values.append(float(gammaincc((table.shape[1] - 1) / 2, statistic / 2)))
    return names, np.array(p_values)


def abundance_variance(clusters, batch):
    """Variance over batches of each cluster's log abundance."""
    table, names = contingency(clusters, batch)
    totals = table.sum(axis=0)
    scaled = np.log2(table / (totals / totals.mean()) + 10)
    return names, scaled.var(axis=1, ddof=1)


def contingency(clusters, batch):
    """Counts of clusters (rows, sorted) by batches (columns, sorted)."""
    names, groups = sorted(set(clusters)), sorted(set(batch))
    table = np.zeros((len(names), len(groups)))
    for cluster, group in zip(clusters, batch, strict=True):
        table[names.index(cluster), groups.index(group)] += 1
    return table, names


# -- Delta variance and the trend of variance on mean -------------------------------------------


def delta_variance(batches, pairs, *, cosine_norm=False, mask=None, compute_all=False):
    """Variance of the differences between paired cells, gene by gene, beyond its trend.

    `pairs`: one array of two columns a merge. Returns the columns averaged over merges with at
    least two pairs, weighted by their number of pairs, and the columns of each merge.
    """
    batches = [np.asarray(batch, dtype=float) for batch in batches]
    if mask is not None and not compute_all:
        batches, mask = [batch[:, mask] for batch in batches], None
    inside = np.ones(batches[0].shape[1], dtype=bool) if mask is None else np.asarray(mask)
    if cosine_norm:
        norms = [row_norms(batch[:, inside]) for batch in batches]
        typical = np.mean([norm.mean() for norm in norms])
        batches = [
            batch / np.maximum(MIN_NORM, norm / typical)[:, None]
            for batch, norm in zip(batches, norms, strict=True)
        ]
    x = np.vstack(batches)
    steps, sizes = [], []
    for table in pairs:
        left, right = x[table[:, 0]], x[table[:, 1]]
        total = (
            (left - right).var(axis=0, ddof=1) if len(table) > 1 else np.full(x.shape[1], np.nan)
        )
        mean = (left.mean(axis=0) + right.mean(axis=0)) / 2
        if len(table) > 1:
            trend, scale = fit_trend(mean[inside], total[inside])
            fitted = trend(mean)
        else:
            fitted, scale = np.full(x.shape[1], np.nan), math.nan
        step = {"mean": mean, "total": total, "trend": fitted, "adjusted": total - fitted}
        steps.append(SimpleNamespace(**step, scale=scale))
        sizes.append(len(table))
    used = [i for i, size in enumerate(sizes) if size > 1]
    columns = {
        name: np.average(
            [getattr(steps[i], name) for i in used], axis=0, weights=[sizes[i] for i in used]
        )
        for name in ("mean", "total", "trend", "adjusted")
    }
    return SimpleNamespace(**columns, per_step=steps)


def fit_trend(means, variances):
    """Trend of variance on mean: a parametric curve, then a weighted lowess of what is left.

    Returns the trend as a function, and the scale of the residuals.
    """
    keep = (variances > 1e-8) & (means >= 0.1)
    m, v = means[keep], variances[keep]
    if len(m) < 4:
        msg = "at least four genes are needed"
        raise ValueError(msg)
    weights = inverse_density_weights(m)
    curve = fit_curve(m, v, weights)
    rest = weighted_lowess(m, np.log(v) - np.log(curve(m)), weights)
    order = np.argsort(m, kind="stable")

    def unscaled(at):
        return np.exp(np.interp(at, m[order], rest[order])) * curve(at)

    ratio = v / unscaled(m)
    middle = weighted_median(ratio, weights)
    scale = 1.4826 * weighted_median(np.abs(ratio / middle - 1), weights)
    return lambda at: middle * unscaled(at), scale


def weighted_median(values, weights):
    """First value whose share of the weight exceeds one half, or the mean of the middle two."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / np.sum(weights)
    for i, s in enumerate(share):
        if s == 0.5:
            return (values[order[i]] + values[order[i + 1]]) / 2
        if s > 0.5:
            return values[order[i]]
    return values[order[-1]]


def inverse_density_weights(x):
    """One over a kernel density estimate, made as R's `density` makes it; mean 1."""
    n, size = len(x), 512
    low, high = np.quantile(x, [0.25, 0.75])
    bandwidth = 0.9 * min(x.std(ddof=1), (high - low) / 1.34) * n**-0.2
    start, end = x.min() - 4 * bandwidth, x.max() + 4 * bandwidth
    step = (end - start) / (size - 1)
    mass = np.zeros(2 * size)
    for value in x:
        place = (value - start) / step
        at = math.floor(place)
        mass[at] += (1 - (place - at)) / n
        mass[at + 1] += (place - at) / n
    # The kernel's grid is slightly wider than that of the masses, as in R before 4.4.
    distance = np.zeros(2 * size)
    for i in range(2 * size):
        distance[i] = (i if i <= size else 2 * size - i) * 2 * (end - start) / (2 * size - 1)
    kernel = np.exp(-0.5 * (distance / bandwidth) ** 2) / (bandwidth * math.sqrt(2 * math.pi))
    density = np.fft.ifft(np.fft.fft(mass) * np.conj(np.fft.fft(kernel))).real
    density = np.maximum(density[:size], 0)
    grid = np.linspace(x.min(), x.max(), size)
    density = np.interp(grid, np.linspace(start, end, size), density)
    weights = 1 / np.interp(x, grid, density)
    return weights / weights.mean()


def fit_curve(m, v, weights):
    """Fit v = exp(A) m / (m^(1 + exp(N)) + exp(B)) by weighted Gauss-Newton."""

    def curve(parameters, at):
        a, b, n = parameters
        return math.exp(a) * at / (at ** (1 + math.exp(n)) + math.exp(b))

    lowest = np.argsort(m, kind="stable")[: max(1, int(min(100, 0.1 * len(m))))]
    gradient = np.sum(m[lowest] * v[lowest]) / np.sum(m[lowest] ** 2)
    best = None
    for n in 2.0 ** np.linspace(0, 10, 10):
        for b in 2.0 ** np.linspace(-5, 5, 10):
            with np.errstate(over="ignore"):
                squares = np.sum((v - gradient * b * m / (m**n + b)) ** 2)
            if best is None or squares < best[0]:
                best = (squares, b, n)
    _, b, n = best
    start = np.array([math.log(b * gradient), math.log(b), math.log(max(1e-8, n - 1))])
    root = np.sqrt(weights)

    def residual(parameters):
        with np.errstate(over="ignore"):
            return root * (v - curve(parameters, m))

    parameters, factor = start, 1.0
    for _ in range(500):
        current = residual(parameters)
        a, b, n = parameters
        power = m ** (1 + math.exp(n))
        below = power + math.exp(b)
        value = math.exp(a) * m / below
        gradients = root[:, None] * np.column_stack(
            [
                value,
                -value * math.exp(b) / below,
                -value * power * np.log(m) * math.exp(n) / below,
            ]
        )
        q, r = np.linalg.qr(gradients)
        along = q.T @ current
        off = current - q @ along
        if math.sqrt(np.sum(along**2) / np.sum(off**2)) < 1e-5:
            break
        if abs(np.diag(r)).min() <= 1e-12 * abs(np.diag(r)).max():
            # A singular gradient: the fit fails, and the start is what there is.
            parameters = start
            break
        move = np.linalg.solve(r, along)
        while factor >= 1 / 1024:
            try:
                squares = np.sum(residual(parameters + factor * move) ** 2)
            except OverflowError:
                squares = math.inf
            if squares <= np.sum(current**2):
                parameters = parameters + factor * move
                factor = min(1.0, 2 * factor)
                break
            factor /= 2
        else:
            parameters = start
            break
    return lambda at: curve(parameters, at)


def weighted_lowess(x, y, weights, *, span=0.3, n_seeds=200, rounds=4):
    """Robust local linear regression with prior weights; fitted values in the order of x."""
    order = np.argsort(x, kind="stable")
    x, y, prior = x[order], y[order], weights[order]
    n = len(x)
    delta = 0.0
    if n > n_seeds:
        gaps = np.sort(np.diff(x))
        delta = min(gaps[: n - 1 - c].sum() / (n_seeds - c) for c in range(n_seeds))
    seeds = [0]
    for i in range(1, n - 1):
        if x[i] - x[seeds[-1]] > delta:
            seeds.append(i)
    seeds.append(n - 1)

    windows = []
    for seed in seeds:
        left = right = seed
        weight, dist = prior[seed], 0.0
        while weight < span * prior.sum() and (left > 0 or right < n - 1):
            if right == n - 1 or (left > 0 and x[seed] - x[left - 1] < x[right + 1] - x[seed]):
                left -= 1
                weight, dist = weight + prior[left], max(dist, x[seed] - x[left])
            else:
                right += 1
                weight, dist = weight + prior[right], max(dist, x[right] - x[seed])
        while left > 0 and x[left - 1] == x[left]:
            left -= 1
        while right < n - 1 and x[right + 1] == x[right]:
            right += 1
        windows.append((left, right + 1, dist))

    robust = np.ones(n)
    fitted = np.zeros(n)
    for _ in range(rounds):
        for seed, (left, right, dist) in zip(seeds, windows, strict=True):
            w = prior[left:right] * robust[left:right]
            xs, ys = x[left:right], y[left:right]
            if dist < 1e-7:
                fitted[seed] = np.sum(w * ys) / w.sum()
                continue
            w = w * (1 - (np.abs(xs - x[seed]) / dist) ** 3) ** 3
            x_mean, y_mean = np.sum(w * xs) / w.sum(), np.sum(w * ys) / w.sum()
            spread = np.sum(w * (xs - x_mean) ** 2)
            slope = np.sum(w * (xs - x_mean) * (ys - y_mean)) / spread if spread >= 1e-7 else 0.0
            fitted[seed] = y_mean + slope * (x[seed] - x_mean)
        for first, second in pairwise(seeds):
            width = x[second] - x[first]
            for i in range(first + 1, second):
                if width > 1e-7 * (x[-1] - x[0]) / n:
                    share = (x[i] - x[first]) / width
                    fitted[i] = fitted[first] + share * (fitted[second] - fitted[first])
                else:
                    fitted[i] = (fitted[first] + fitted[second]) / 2
        absolute = np.abs(y - fitted)
        ranked = np.argsort(absolute, kind="stable")
        running, half, cmad = 0.0, prior.sum() / 2, 0.0
        for place, i in enumerate(ranked):
            running += prior[i]
            if running == half:
                cmad = 3 * (absolute[i] + absolute[ranked[place + 1]])
                break
            if running > half:
                cmad = 6 * absolute[i]
                break
        if cmad <= 1e-7 * absolute.mean():
            break
        robust = np.where(absolute < cmad, (1 - (absolute / cmad) ** 2) ** 2, 0.0)
    out = np.zeros(n)
    out[order] = fitted
    return out


# -- Calibrated: displacements, their noise, and what is made of them ----------------------------


def square_residuals(x, k):
    """Squared distance to the mean of the k nearest others, times k / (k + 1)."""
    x = np.asarray(x, dtype=float)
    if len(x) < 3:
        return np.zeros(len(x))
    k = min(k, len(x) - 1)
    indices, _ = nearest(x, x, k + 1)
    out = []
    for i, row in enumerate(x):
        others = [j for j in indices[i] if j != i][:k]
        out.append(squared_distance(row, x[others].mean(axis=0)) * k / (k + 1))
    return np.array(out)


def own_average(x, k):
    """Matrix of the mean over the k nearest cells, itself one."""
    indices, _ = nearest(x, x, k)
    matrix = np.zeros((len(x), len(x)))
    for i, row in enumerate(indices):
        matrix[i, row] = 1 / len(row)
    return matrix


def linear_displacement(left, right, pairs, end_left, end_right, k, end_of_own=None):
    """Dense matrices P, Q with displacement P left - Q right; pairs as rows (left, right).

    ``end_of_own``: averaging of the neighbours that ``end_right`` names, if it is another one.
    """
    left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    votes = np.zeros((len(right), len(left)))
    for i, j in pairs:
        votes[j, i] = 1 / sum(1 for other, _ in pairs if other == i)
    anchors = [j for j in range(len(right)) if votes[j].sum() > 0]
    votes = np.array([votes[j] / votes[j].sum() for j in anchors])
    indices, distances = nearest(right, right[anchors], k)
    smoothing = np.zeros((len(right), len(anchors)))
    for c in range(len(right)):
        squares = distances[c] ** 2
        weights = np.exp(-squares / squares.mean())
        smoothing[c, indices[c]] = weights / weights.sum()
    own = np.zeros((len(anchors), len(right)))
    for row, j in zip(own, anchors, strict=True):
        for other in np.flatnonzero(end_right[j]):
            row[other] = 1 / sum(1 for anchor in anchors if end_right[anchor, other] > 0)
        row /= row.sum()
    end_of_own = end_right if end_of_own is None else end_of_own
    return smoothing @ votes @ end_left, smoothing @ own @ end_of_own


def noise_of(matrices, variances):
    """Variance of each row of sums of independent cells, from its weights."""
    rows = len(matrices[0])
    return np.array(
        [
            math.fsum(
                weight**2 * variance
                for matrix, values in zip(matrices, variances, strict=True)
                for weight, variance in zip(matrix[c], values, strict=True)
            )
            for c in range(rows)
        ]
    )


def sum_of_distances(point, vectors):
    """What the geometric median makes smallest."""
    return math.fsum(math.sqrt(squared_distance(point, vector)) for vector in vectors)


def agreement(vectors, median, outlying):
    """Weight 1 up to `outlying` scales from the median, falling to 0 at twice that."""
    away = [squared_distance(vector, median) for vector in vectors]
    scale = outlying * (float(np.dot(median, median)) + float(np.median(away)))
    return np.array([min(1.0, max(0.0, 2 - one / scale)) for one in away])


def unfolded(x, vectors, weights, median, k, folded):
    """Weight 1 where the k nearest of each row stay as near as those were, 0 where they do not."""
    moved = x + weights[:, None] * vectors
    away = [squared_distance(vector, median) for vector in vectors]
    out = []
    for c in range(len(x)):

        def nearest_by(points, c=c):
            others = sorted((squared_distance(points[c], row), j) for j, row in enumerate(points))
            return [j for _, j in others if j != c][:k]

        before = sorted(squared_distance(x[c], x[j]) for j in nearest_by(x))
        after = sorted((squared_distance(x[c], x[j]), j) for j in nearest_by(moved))
        share = math.fsum(
            2 * away[c] / (away[c] + away[j]) * (new - old)
            for (new, j), old in zip(after, before, strict=True)
        )
        out.append(min(1.0, max(0.0, 2 - share / math.fsum(before) / folded)))
    return np.array(out)


def contracted(x, neighbors, factors):
    """Residuals about a Gaussian mean of the listed cells, times a factor."""
    out = []
    for row, listed, factor in zip(x, neighbors, factors, strict=True):
        squares = np.array([squared_distance(row, x[j]) for j in listed])
        weights = np.exp(-squares / squares.mean())
        mean = weights @ x[listed] / weights.sum()
        out.append(mean + factor * (row - mean))
    return np.array(out)


# -- Scores of an embedding: from the formulas of their papers, cell by cell ----------------------


def others(x, cell, k):
    """The k nearest other rows of one row, ties by row."""
    distance = np.sqrt(((x - x[cell]) ** 2).sum(1))
    distance[cell] = np.inf
    order = np.lexsort((np.arange(len(x)), distance))[:k]
    return order, distance[order]


def simpson(values, weights):
    return 1 / sum(weights[values == value].sum() ** 2 for value in np.unique(values))


def ilisi(x, batch):
    """Korsunsky et al. 2019, perplexity a third of the neighbourhood; the median, scaled."""
    size = min(90, len(x))
    found = []
    for cell in range(len(x)):
        near, distance = others(x, cell, size - 1)
        low, high = -20.0, 20.0
        for _ in range(80):
            middle = (low + high) / 2
            weights = np.exp(-np.exp(middle) * (distance - distance.min()))
            weights /= weights.sum()
            entropy = -sum(w * np.log(w) for w in weights if w > 0)
            low, high = (middle, high) if entropy > np.log(size // 3) else (low, middle)
        found.append(simpson(batch[near], weights))
    return (np.median(found) - 1) / (len(np.unique(batch)) - 1)


def cilisi(x, batch, label, k=30):
    """Andreatta et al. 2024, with equal weights, over what random mixing would give."""
    found = []
    for one in np.unique(label):
        cells = np.flatnonzero(label == one)
        shares = np.unique(batch[cells], return_counts=True)[1] / len(cells)
        if len(shares) == 1 or len(cells) < 20:
            continue
        k_here = min(k, len(cells) // 2)
        for cell in range(len(cells)):
            near = batch[cells][others(x[cells], cell, k_here)[0]]
            value = (simpson(near, np.full(k_here, 1 / k_here)) - 1) / (1 / (shares**2).sum() - 1)
            found.append(min(1, max(0, value)))
    return np.mean(found)


def bras(x, batch, label):
    """Rautenstrauch & Ohler 2025: cosine distances, all other batches together."""
    unit = x / np.sqrt((x**2).sum(1, keepdims=True))
    by_label = []
    for one in np.unique(label):
        cells = np.flatnonzero(label == one)
        if len(np.unique(batch[cells])) == 1:
            continue
        scores = []
        for cell in cells:
            distance = {other: 1 - unit[cell] @ unit[other] for other in cells if other != cell}
            inner = [d for other, d in distance.items() if batch[other] == batch[cell]]
            outer = [d for other, d in distance.items() if batch[other] != batch[cell]]
            if not inner:
                scores.append(1.0)
                continue
            a, b = np.mean(inner), np.mean(outer)
            scores.append(1 - abs(b - a) / max(a, b))
        by_label.append(np.mean(scores))
    return np.mean(by_label)


def purity(x, label, k=30):
    k = min(k, len(x) - 1)
    same = np.array(
        [(label[others(x, cell, k)[0]] == label[cell]).mean() for cell in range(len(x))]
    )
    return np.mean([same[label == one].mean() for one in np.unique(label)])


def preserved(before, after, batch, k=30):
    found = []
    for one in np.unique(batch):
        cells = np.flatnonzero(batch == one)
        if len(cells) < 10:
            continue
        k_here = min(k, len(cells) // 3)
        for cell in range(len(cells)):
            near = [set(others(x[cells], cell, k_here)[0]) for x in (before, after)]
            found.append(len(near[0] & near[1]) / k_here)
    return np.mean(found)


def moved(before, after):
    move = np.mean(((after - before) ** 2).sum(1))
    return np.sqrt(move / np.mean(((before - before.mean(0)) ** 2).sum(1)))


def taken(x, points, values, k):
    """Mean of values of the ``k`` nearest points of each row, by a Gaussian of their distances."""
    out = []
    for row in np.asarray(x, dtype=float):
        squares = ((points - row) ** 2).sum(1)
        near = np.argsort(squares, kind="stable")[:k]
        weights = np.exp(-squares[near] / squares[near].mean())
        out.append((weights[:, None] * values[near]).sum(0) / weights.sum())
    return np.array(out)


def merge_overlapping(proba: np.ndarray, max_overlap: float) -> tuple[np.ndarray, list[float]]:
    """Merge clusters that misclassify each other, Hennig 2010, cell by cell."""
    groups = [[j] for j in range(proba.shape[1])]
    kept, overlaps, apart = [list(g) for g in groups], [], False
    while len(groups) > 1:
        sums = [[sum(row[j] for j in group) for group in groups] for row in proba]
        best = (-1.0, 0, 0)
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                shares = []
                for a, b in ((i, j), (j, i)):
                    wrong = sum(row[a] for row in sums if max(row) == row[b])
                    shares.append(wrong / sum(row[a] for row in sums))
                if max(shares) > best[0]:
                    best = (max(shares), i, j)
        overlap, i, j = best
        overlaps.append(overlap)
        apart = apart or overlap <= max_overlap
        groups[i] += groups.pop(j)
        if not apart:
            kept = [list(g) for g in groups]
    cluster = np.empty(proba.shape[1], dtype=int)
    for number, group in enumerate(kept):
        cluster[group] = number
    return cluster, overlaps


def calibrated(x, batch, **options):
    """The corrected embedding with its merges, and the confidence of each cell."""
    from mnncorrect.core.calibrated.method import calibrate

    found = calibrate(x, batch, **options)
    return found.correction, found.confidence


def fast_of_genes(
    x, batch, *, mask=None, correct_all=False, cosine_norm=True, n_comps=50, batch_weights=None,
    compute=None, **options,
):  # fmt: skip
    """The fast method from genes, as the package does it: components, then their correction."""
    from mnncorrect.core.matrix.pca import multibatch_pca
    from mnncorrect.core.matrix.rows import MIN_NORM, row_norms
    from mnncorrect.core.methods.fast import mnn_reduced
    from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE

    compute = compute or DEFAULT_COMPUTE
    components = multibatch_pca(
        x,
        batch,
        n_comps,
        weights=batch_weights,
        mask=mask,
        all_genes=correct_all,
        scale=np.maximum(row_norms(x, mask), MIN_NORM) if cosine_norm else None,
        random_state=compute.random_state,
        n_jobs=compute.n_jobs,
    )
    return mnn_reduced(components.scores, batch, compute=compute, **options), components
