"""Every compiled loop against its oracle, compiled and as plain Python, in both float types."""

from __future__ import annotations

import itertools

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.calibrated import displacement_kernels
from mnncorrect.core.matrix import lowess_kernels
from mnncorrect.core.merging import pair_kernels, smoothing_kernels, variance_kernels
from mnncorrect.core.methods import level_kernels
from mnncorrect.core.neighbors import region_kernels, search_kernels, small_kernels
from mnncorrect.core.runtime import kernels

EPS = np.finfo(np.float64).eps
ROOMS = (
    kernels,
    pair_kernels,
    smoothing_kernels,
    level_kernels,
    region_kernels,
    search_kernels,
    displacement_kernels,
    variance_kernels,
    lowess_kernels,
)


@pytest.fixture(params=["compiled", "python"])
def kernel(request, monkeypatch):
    """Function from a kernel's name to the kernel, compiled or not."""
    if request.param == "python":
        # What a kernel calls, too. Without the compiler (NUMBA_DISABLE_JIT=1) all is plain anyway.
        for room in ROOMS:
            for name, function in list(vars(room).items()):
                monkeypatch.setattr(room, name, getattr(function, "py_func", function))
    return lambda name: next(getattr(room, name) for room in ROOMS if hasattr(room, name))


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def table(rng, n_rows, n_columns, dtype):
    """Random rows, with one row of zeros and one row that occurs twice where there is room."""
    x = rng.normal(size=(n_rows, n_columns)).astype(dtype)
    if n_rows > 3:
        x[1] = 0
        x[3] = x[2]
    return x


@pytest.mark.parametrize(
    "kind", ["different", "equal in groups", "half zero", "zero", "tiny", "far out"]
)
@pytest.mark.parametrize("most", [5, 8])
def test_a_limit_is_found_from_any_guess(dtype, rng, monkeypatch, kind, most):
    # Parts of a compiled loop cannot be called from here.
    monkeypatch.setattr(small_kernels, "_count_within", lambda values, at: (values <= at).sum())
    select = getattr(small_kernels.select, "py_func", small_kernels.select)
    k, n = 5, 90
    values = np.full(96, np.inf, dtype)
    values[:n] = rng.exponential(size=n)
    if kind == "equal in groups":
        values[:n] = np.ceil(4 * values[:n])
    elif kind == "half zero":
        values[: n // 2] = 0
    elif kind == "zero":
        values[:n] = 0
    elif kind == "tiny":
        values[:n] = np.finfo(dtype).smallest_subnormal * np.ceil(9 * values[:n])
    elif kind == "far out":
        values[3] = 1e9
    ordered = np.sort(values)
    for guess in (0, ordered[k - 1], ordered[most - 1], ordered[n // 2], 1e-9, 1e12):
        total = dtype(values[:n].sum())
        limit = select(values, n, k, most, dtype(guess), total)
        within = (values[:n] <= limit).sum()
        assert k <= within <= most or limit == ordered[k - 1]


# -- Norms and distances --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 9), (1, 1), (5, 16)])
def test_dense_square_norms_are_sums_of_squares(kernel, dtype, rng, shape):
    x = table(rng, *shape, dtype)
    out = np.empty(len(x))
    kernel("dense_square_norms")(x, out)
    np.testing.assert_allclose(out, naive.row_norms(x) ** 2, rtol=20 * EPS)


def test_sparse_square_norms_equal_the_dense_ones_bit_for_bit(kernel, dtype, rng):
    x = table(rng, 6, 9, dtype) * (rng.random((6, 9)) < 0.5)
    rows = sparse.csr_array(x)
    out, dense = np.empty(6), np.empty(6)
    kernel("sparse_square_norms")(rows.data, rows.indptr, out)
    kernel("dense_square_norms")(x, dense)
    np.testing.assert_array_equal(out, dense)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 31])
def test_square_distance_is_that_of_the_formula(kernel, dtype, rng, n):
    x, y = rng.normal(size=(2, n)).astype(dtype)
    expected = naive.squared_distance(x.astype(float), y.astype(float))
    assert kernel("square_distance")(x, y) == pytest.approx(expected, rel=20 * EPS)


def test_square_distance_of_a_cell_to_itself_is_exactly_zero(kernel, dtype, rng):
    x = (1e4 + rng.normal(size=13)).astype(dtype)
    assert kernel("square_distance")(x, x.copy()) == 0.0


def test_square_distance_does_not_cancel_far_from_the_origin(kernel):
    x = np.array([1e8, 1e8 + 1])
    assert kernel("square_distance")(x, x + np.array([1.0, -1.0])) == 2.0


@pytest.mark.parametrize("shape", [(6, 9), (1, 1)])
def test_direct_square_distances_are_those_of_all_couples(kernel, dtype, rng, shape):
    x, y = table(rng, *shape, dtype), table(rng, 4, shape[1], dtype)
    out = np.empty((len(x), len(y)), dtype)
    kernel("direct_square_distances")(x, y, out)
    expected = [[naive.squared_distance(a, b) for b in y.astype(float)] for a in x.astype(float)]
    np.testing.assert_allclose(out, expected, rtol=4 * np.finfo(dtype).eps)


def test_products_become_square_distances_that_are_never_negative(kernel, dtype, rng):
    x = table(rng, 5, 7, dtype)
    norms = (x.astype(float) ** 2).sum(1)
    out = x @ x.T
    none_is_itself = np.full(5, -1, np.int64)
    kernel("products_to_square_distances")(out, norms, norms, none_is_itself)
    expected = [[naive.squared_distance(a, b) for b in x.astype(float)] for a in x.astype(float)]
    np.testing.assert_allclose(out, expected, atol=64 * np.finfo(dtype).eps)
    assert (out >= 0).all()


def test_products_of_a_cell_with_itself_become_exactly_zero(kernel, dtype, rng):
    x = table(rng, 5, 7, dtype) + dtype(100)
    norms = (x.astype(float) ** 2).sum(1)
    rows = np.array([4, 0, 2])
    out = x[rows] @ x.T
    kernel("products_to_square_distances")(out, norms[rows], norms, rows)
    np.testing.assert_array_equal(out[np.arange(3), rows], 0)


# -- Nearest neighbours ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 11])
def test_pushed_tiles_keep_the_smallest_proposals_sorted(kernel, dtype, rng, size):
    x, y = rng.normal(size=(3, 5)).astype(dtype), rng.normal(size=(11, 5)).astype(dtype)
    norms = (y**2).sum(1)
    values = np.full((3, size), np.inf, dtype)
    indices = np.full((3, size), np.iinfo(np.int32).max, np.int32)
    for tile in (slice(0, 4), slice(4, 5), slice(5, 11)):
        rows = np.arange(len(x))
        kernel("push_tile")(x @ y[tile].T, norms[tile], tile.start, rows, values, indices)
    kernel("sort_heaps")(values, indices)
    proposals = norms.astype(float) - 2 * x.astype(float) @ y.T.astype(float)
    order = np.argsort(proposals, axis=1)[:, :size]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(
        values, np.take_along_axis(proposals, order, 1), atol=64 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("kind", ["many", "equal", "in order", "misleading"])
def test_long_tiles_keep_the_smallest_proposals_as_well(kernel, dtype, rng, kind):
    y = rng.normal(size=(203, 1)).astype(dtype)
    if kind == "equal":
        y[:] = y[0]
    elif kind == "in order":
        y = np.sort(y, axis=0)
    elif kind == "misleading":
        # The columns that are looked at first are nearest, and too few.
        y[:: search_kernels.SAMPLED_COLUMNS] = 0
        y[1 :: search_kernels.SAMPLED_COLUMNS] *= 9
    x = np.zeros((1, 1), dtype)
    norms = (y**2).sum(1)
    for size in (1, 7, 25):
        values = np.full((1, size), np.inf, dtype)
        indices = np.full((1, size), np.iinfo(np.int32).max, np.int32)
        kernel("push_tile")(x @ y.T, norms, 0, np.arange(1), values, indices)
        kernel("sort_heaps")(values, indices)
        np.testing.assert_array_equal(values[0], np.sort(norms)[:size])
        np.testing.assert_array_equal(norms[indices[0]], values[0])
        assert len(set(indices[0].tolist())) == size


@pytest.mark.parametrize("size", [1, 7, search_kernels.SHORT_HEAP + 1])
def test_columns_of_a_product_keep_their_smallest_proposals(kernel, dtype, rng, size):
    # Whole numbers, so that proposals are exact and many are equal.
    x, y = (rng.integers(-3, 4, (n, 3)).astype(dtype) for n in (150, 9))
    norms, products = (x**2).sum(1), x @ y.T
    values = np.full((9, size), np.inf, dtype)
    indices = np.full((9, size), np.iinfo(np.int32).max, np.int32)
    for rows in (slice(0, 2), slice(2, 150)):
        for first, last in ((0, 4), (4, 9)):
            kernel("push_columns")(
                products[rows], first, last, norms[rows], rows.start, values, indices
            )
    np.testing.assert_array_equal(products, x @ y.T)
    kernel("sort_heaps")(values, indices)
    proposals = norms - 2 * y @ x.T
    np.testing.assert_array_equal(values, np.sort(proposals, axis=1)[:, :size])
    np.testing.assert_array_equal(np.take_along_axis(proposals, indices, 1), values)
    assert all(len(set(row.tolist())) == size for row in indices)


def cells_of(rng, dtype, sizes):
    """Points in cells of some sizes: points, starts, centres, squared norms of both."""
    points = rng.normal(size=(sum(sizes), 5)).astype(dtype)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    centers = np.stack([points[a:b].mean(0) for a, b in itertools.pairwise(starts)])
    return points, starts, centers, (points**2).sum(1), (centers**2).sum(1)


def test_points_choose_the_nearest_cells_of_their_pool(kernel, dtype, rng):
    points, starts, *_ = cells_of(rng, dtype, [4, 1, 3])
    _, _, centers, _, norms = cells_of(rng, dtype, [2, 3, 1, 4, 2, 6])
    sizes = np.array([2, 3, 1, 4, 2, 6])
    pools = np.array([[0, 2, 3, 5], [5, 4, 1, 0], [1, 2, 3, 4]], np.int32)
    chosen, room = np.empty((8, 2), np.int32), np.empty(4 * 4, dtype)
    held = kernel("choose_cells")(points, starts, pools, sizes, centers, norms, room, chosen)
    distances = ((points[:, None] - centers).astype(float) ** 2).sum(2)
    for i, pool in enumerate(np.repeat(pools, np.diff(starts), axis=0)):
        nearest = pool[np.argsort(distances[i, pool])][:2]
        assert chosen[i, 0] == nearest[0]
        assert chosen[i, 1] == nearest[1]
    assert held == sizes[chosen].sum(1).min()


def test_searching_cells_finds_the_nearest_points_in_them(kernel, dtype, rng):
    points = rng.normal(size=(9, 5)).astype(dtype)
    others, starts, _, norms, _ = cells_of(rng, dtype, [2, 3, 1, 4])
    chosen = np.stack([rng.permutation(4)[:3] for _ in points]).astype(np.int32)
    values = np.full((9, 3), np.inf, dtype)
    indices = np.full((9, 3), np.iinfo(np.int32).max, np.int32)
    room = np.empty(search_kernels.GATHERED * 4, dtype)
    for columns in ((0, 1), (1, 3)):
        kernel("search_cells")(
            points, chosen, columns, others, norms, starts, room, values, indices
        )
    kernel("sort_heaps")(values, indices)
    cell_of = np.repeat(np.arange(4), np.diff(starts))
    distances = ((points[:, None] - others).astype(float) ** 2).sum(2)
    for i, cells in enumerate(chosen):
        there = np.flatnonzero(np.isin(cell_of, cells))
        expected = there[np.argsort(distances[i, there])][:3]
        np.testing.assert_array_equal(indices[i][: len(expected)], expected)


def test_pushing_within_limits_ranks_duplicates_by_their_row(kernel, dtype, rng):
    y = np.repeat(rng.normal(size=(3, 5)), 4, axis=0).astype(dtype)
    x = y[[5, 0]]
    norms = (y**2).sum(1)
    values = np.full((2, 6), np.inf)
    indices = np.full((2, 6), np.iinfo(np.int32).max, np.int32)
    for tile in (slice(0, 7), slice(7, 12)):
        kernel("push_tile_within")(
            x @ y[tile].T, norms[tile], np.full(2, np.inf), x, y[tile], tile.start, values, indices
        )
    kernel("sort_heaps")(values, indices)
    expected, distances = naive.nearest(x, y, 6)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(np.sqrt(values), distances, rtol=20 * EPS)


def test_nothing_is_pushed_beyond_the_limit(kernel, dtype, rng):
    x, y = rng.normal(size=(2, 5)).astype(dtype), rng.normal(size=(4, 5)).astype(dtype)
    values = np.full((2, 2), np.inf)
    indices = np.full((2, 2), np.iinfo(np.int32).max, np.int32)
    kernel("push_tile_within")(
        x @ y.T, (y**2).sum(1), np.full(2, -np.inf), x, y, 0, values, indices
    )
    assert np.isinf(values).all()


def rescored(kernel, x, y, k, size, bound):
    """Rank `size` exact proposals; returns square distances, indices and which are complete."""
    proposals = np.array([[naive.squared_distance(a, b) for b in y] for a in x])
    indices = np.argsort(proposals, axis=1, kind="stable")[:, :size].astype(np.int32)
    values = np.take_along_axis(proposals, indices, 1)
    distances, rows = np.full((len(x), k), np.inf), np.zeros((len(x), k), np.int32)
    complete = np.zeros(len(x), bool)
    kernel("rescore")(x, y, values, indices, np.full(len(x), bound), complete, distances, rows)
    return distances, rows, complete


@pytest.mark.parametrize("k", [1, 3, 12])
def test_rescored_neighbours_are_the_nearest_by_distance_then_row(kernel, rng, k):
    y = rng.normal(size=(12, 5))
    y[7], y[2] = y[9], y[9]
    x = np.vstack([y[9], rng.normal(size=(3, 5))])
    distances, rows, complete = rescored(kernel, x, y, k, 12, 1e-9)
    expected, expected_distances = naive.nearest(x, y, k)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(np.sqrt(distances), expected_distances, rtol=20 * EPS)
    assert complete.all()


def test_a_row_with_more_near_ties_than_proposals_is_not_called_complete(kernel, rng):
    y = np.repeat(rng.normal(size=(2, 5)), 8, axis=0)
    x = np.vstack([y[0], y[0] + 0.01])
    _, _, complete = rescored(kernel, x, y, 2, 5, 1e-9)
    assert not complete.any()
    _, _, complete = rescored(kernel, x, y, 2, 9, 1e-9)
    assert complete.all()


def test_a_row_whose_bound_reaches_the_last_proposal_is_not_called_complete(kernel, rng):
    x, y = rng.normal(size=(3, 5)), rng.normal(size=(12, 5))
    assert rescored(kernel, x, y, 2, 6, 1e-12)[2].all()
    assert not rescored(kernel, x, y, 2, 6, 1e3)[2].any()


def test_rows_are_added_up_by_label(kernel, dtype, rng):
    x, labels = table(rng, 9, 4, dtype), np.array([2, 0, 2, 2, 4, 0, 2, 4, 0])
    totals, sizes = np.zeros((5, 4)), np.zeros(5, np.int64)
    kernel("add_rows")(x, labels, totals, sizes)
    for label in range(5):
        np.testing.assert_allclose(
            totals[label], x[labels == label].sum(0, dtype=float), rtol=1e-12, atol=1e-15
        )
    np.testing.assert_array_equal(sizes, [3, 0, 4, 0, 2])


def test_columns_are_added_up_and_their_largest_size_is_told(kernel, dtype, rng):
    x, totals = table(rng, 7, 5, dtype), np.ones(5)
    largest = kernel("add_columns")(x, totals)
    np.testing.assert_allclose(totals, 1 + x.sum(0, dtype=float), rtol=20 * EPS)
    assert largest == np.abs(x).max()


def test_columns_are_centred_and_scaled(kernel, dtype, rng):
    x, mean = table(rng, 7, 5, dtype), rng.normal(size=5)
    out = np.empty_like(x)
    kernel("center_columns")(x, mean, 0.25, out)
    np.testing.assert_array_equal(out, ((x - mean) / 4).astype(dtype))


def test_values_are_dealt_out_by_their_labels_in_their_order(kernel, rng):
    values, labels = rng.integers(100, size=30), rng.integers(4, size=30)
    counts = np.bincount(labels, minlength=5)
    out = np.empty_like(values)
    kernel("deal_out")(values, labels, np.cumsum(counts) - counts, out)
    np.testing.assert_array_equal(out, values[np.argsort(labels, kind="stable")])


@pytest.mark.parametrize("n_left", [1, 12])
def test_lists_are_completed_by_what_the_other_search_saw(kernel, rng, n_left):
    left, right = rng.integers(3, size=(n_left, 3)) * 1.0, rng.integers(3, size=(15, 3)) * 1.0
    k = 4
    # Each list has missed a few: it holds the nearest among those it was shown.
    shown = rng.random((n_left, 15)) < 0.7
    shown[:, :k] = True
    squares = ((left[:, None] - right) ** 2).sum(2)
    seen = np.where(shown, squares, np.inf)
    indices = np.argsort(seen, axis=1, kind="stable")[:, :k].astype(np.int32)
    distances = np.take_along_axis(squares, indices, 1)
    back = np.argsort(squares.T, axis=1, kind="stable")[:, :2].astype(np.int32)
    wanted = []
    for row in range(n_left):
        known = set(indices[row].tolist()) | {j for j in range(15) if row in back[j]}
        wanted.append(sorted(known, key=lambda j: (squares[row, j], j))[:k])
    for first, end in ((0, n_left // 2), (n_left // 2, n_left)):
        kernel("complete")(
            indices, distances, np.arange(n_left), np.arange(15), back,
            np.take_along_axis(squares.T, back.astype(np.int64), 1), first, end,
        )  # fmt: skip
    np.testing.assert_array_equal(indices, wanted)
    np.testing.assert_array_equal(distances, np.take_along_axis(squares, np.array(wanted), 1))


# -- Mutual pairs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_left", "n_right", "k_left", "k_right"), [(9, 7, 3, 2), (1, 1, 1, 1), (6, 1, 2, 1)]
)
def test_marked_pairs_are_mutual(kernel, rng, n_left, n_right, k_left, k_right):
    left, right = rng.normal(size=(n_left, 4)), rng.normal(size=(n_right, 4))
    in_right = naive.nearest(left, right, k_right)[0].astype(np.int32)
    in_left = naive.nearest(right, left, k_left)[0].astype(np.int32)
    mutual = np.zeros(in_right.shape, bool)
    kernel("mark_mutual")(in_right, np.arange(len(in_right)), in_left, mutual)
    rows, places = np.nonzero(mutual)
    found = list(zip(rows.tolist(), in_right[rows, places].tolist(), strict=True))
    assert found == naive.mutual_pairs(in_right, in_left)


def averaged(kernel, left, right, pairs):
    """Group pairs by anchor and average their vectors."""
    pairs = sorted(pairs, key=lambda pair: pair[1])
    anchors, starts = np.unique([r for _, r in pairs], return_index=True)
    starts = np.append(starts, len(pairs)).astype(np.int64)
    out = np.full((len(anchors), left.shape[1]), np.nan, left.dtype)
    kernel("average_pair_vectors")(
        left,
        right,
        np.array([l for l, _ in pairs], np.int64),
        starts,
        anchors.astype(np.int64),
        out,
    )
    return out


@pytest.mark.parametrize("pairs", [[(0, 0)], [(0, 2), (1, 0), (1, 2), (3, 2), (3, 3)]])
def test_pair_vectors_are_averaged_by_right_cell(kernel, dtype, rng, pairs):
    left, right = table(rng, 5, 6, dtype), table(rng, 4, 6, dtype)
    _, expected = naive.average_vectors(left.astype(float), right.astype(float), pairs)
    out = averaged(kernel, left, right, pairs)
    np.testing.assert_allclose(out, expected, atol=4 * np.finfo(dtype).eps)


def test_no_pairs_give_no_vectors(kernel, dtype, rng):
    out = np.empty((0, 6), dtype)
    left, right = table(rng, 5, 6, dtype), table(rng, 4, 6, dtype)
    nothing = np.empty(0, np.int64)
    kernel("average_pair_vectors")(left, right, nothing, np.zeros(1, np.int64), nothing, out)
    assert out.shape == (0, 6)


# -- Smoothing ------------------------------------------------------------------------------------


def square_distances(x, y):
    """All squared distances, as the smoothing kernels take them."""
    return np.array([[naive.squared_distance(a, b) for b in y] for a in x])


@pytest.mark.parametrize("sigma", [0.01, 0.7, 1e6])
@pytest.mark.parametrize("n", [1, 7])
def test_gaussian_densities_count_the_anchor_itself(kernel, rng, n, sigma):
    anchors = table(rng, n, 4, np.float64)
    out = np.empty(n)
    kernel("gaussian_densities")(square_distances(anchors, anchors), sigma, out)
    np.testing.assert_allclose(np.log(out), naive.log_density(anchors, sigma), atol=1e-14)
    assert (out >= 1).all()


@pytest.mark.parametrize("sigma", [1e-5, 0.01, 0.7, 1e6])
@pytest.mark.parametrize("anchors", [[0], [0, 2, 3, 5]])
def test_gaussian_weights_are_those_of_the_formula_and_never_underflow(kernel, rng, anchors, sigma):
    x = table(rng, 8, 4, np.float64)
    weights = square_distances(x, x[anchors])
    log_densities = np.array(naive.log_density(x[anchors], sigma))
    kernel("gaussian_weights")(weights, sigma, log_densities)
    # The exponents reach 1e6, and weights inherit their rounding.
    np.testing.assert_allclose(weights, naive.gaussian_weights(x, anchors, sigma), atol=1e-9)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=20 * EPS)


@pytest.mark.parametrize("ndist", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_tricube_average_is_that_of_the_formula(kernel, dtype, rng, k, ndist):
    x = table(rng, 9, 4, np.float64)
    anchors = [0, 2, 4, 6, 8]
    vectors = rng.normal(size=(5, 3)).astype(dtype)
    indices, distances = naive.nearest(x, x[anchors], k)
    out = np.empty((9, 3), dtype)
    kernel("tricube_average")(distances, indices.astype(np.int32), vectors, ndist, 1e-8, out)
    expected = naive.tricube(x, anchors, vectors.astype(float), k, ndist)
    np.testing.assert_allclose(out, expected, atol=8 * np.finfo(dtype).eps)


# -- Variance adjustment --------------------------------------------------------------------------


def scaling_of(kernel, left, right, correction, sigma, rows_left, rows_right):
    """Prepare what the kernel takes, as the formulas have it."""
    lengths = naive.row_norms(correction)
    unit = np.divide(
        correction, lengths[:, None], out=np.zeros_like(correction), where=lengths[:, None] > 0
    )
    left, restricted = left[rows_left], right[rows_right]
    positions = np.full(len(right), -1, np.int64)
    positions[rows_right] = np.arange(len(rows_right))
    scaling = np.full(len(right), np.nan)
    kernel("quantile_scaling")(
        right @ left.T, unit @ left.T, (left**2).sum(1),
        right @ restricted.T, unit @ restricted.T, (restricted**2).sum(1),
        (right**2).sum(1), (unit * right).sum(1), positions, lengths, sigma, scaling,
    )  # fmt: skip
    return scaling


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize(("n_left", "n_right"), [(12, 9), (1, 1), (7, 1), (1, 6)])
def test_quantile_scaling_is_that_of_the_formula(kernel, rng, n_left, n_right, restricted):
    left = rng.normal(size=(n_left, 6)) + 1
    right = rng.normal(size=(n_right, 6))
    correction = rng.normal(size=(n_right, 6)) + 1
    rows_left, rows_right = list(range(n_left)), list(range(n_right))
    if restricted:
        rows_left, rows_right = rows_left[-3:], rows_right[-2:]
    # As wide as the squared distances, so that no quantile hangs on the last bit.
    scaling = scaling_of(kernel, left, right, correction, 10.0, rows_left, rows_right)
    expected = naive.variance_scaling(left, right, correction, 10.0, rows_left, rows_right)
    np.testing.assert_allclose(scaling, expected, rtol=1e-12)


def test_a_correction_of_no_length_keeps_its_scale(kernel, rng):
    left, right = rng.normal(size=(5, 4)), rng.normal(size=(6, 4))
    correction = rng.normal(size=(6, 4))
    correction[2] = 0
    scaling = scaling_of(kernel, left, right, correction, 10.0, list(range(5)), list(range(6)))
    assert scaling[2] == 1
    assert np.isfinite(scaling).all()


def test_a_scale_is_never_below_one(kernel, rng):
    left, right = rng.normal(size=(8, 4)), rng.normal(size=(6, 4))
    correction = 100 * rng.normal(size=(6, 4))
    scaling = scaling_of(kernel, left, right, correction, 10.0, list(range(8)), list(range(6)))
    assert (scaling >= 1).all()


def test_a_cell_outside_the_restriction_and_below_all_goes_to_the_furthest_reference_cell(kernel):
    # Its own cumulative probability is an empty sum, which counts as weight 1.
    left = np.array([[1.0, 0.0], [2.0, 0.0], [5.0, 0.0]])
    right = np.array([[0.0, 0.0], [3.0, 3.0], [4.0, 3.0]])
    correction = np.tile([1.0, 0.0], (3, 1))
    scaling = scaling_of(kernel, left, right, correction, 1.0, [0, 1, 2], [1, 2])
    expected = naive.variance_scaling(left, right, correction, 1.0, [0, 1, 2], [1, 2])
    np.testing.assert_allclose(scaling, expected, rtol=1e-12)
    assert scaling[0] == 5


# -- Orthogonalisation ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5), (1, 1)])
def test_moments_are_column_sums_and_the_sum_of_squares(kernel, dtype, rng, shape):
    x, totals = table(rng, *shape, dtype), np.ones(shape[1] + 1)
    kernel("add_rows_and_squares")(x, totals)
    wide = x.astype(float)
    np.testing.assert_allclose(totals, 1 + np.append(wide.sum(0), (wide**2).sum()), rtol=1e-12)


def test_square_residuals_are_added_by_label(kernel, dtype, rng):
    x, means, labels = (
        table(rng, 6, 5, dtype),
        rng.normal(size=(3, 5)),
        np.array([2, 0, 2, 2, 0, 2]),
    )
    totals = np.ones(3)
    kernel("add_square_residuals")(x, labels, means, totals)
    squares = ((x.astype(float) - means[labels]) ** 2).sum(1)
    np.testing.assert_allclose(totals, 1 + np.bincount(labels, squares, 3), rtol=1e-12)


def test_means_of_cells_are_those_of_their_rows(kernel, dtype, rng):
    x, out = table(rng, 6, 5, dtype), np.empty((2, 5), dtype)
    kernel("cell_means")(x, np.array([0, 1, 6]), out)
    expected = [x[:1].astype(float).mean(0), x[1:].astype(float).mean(0)]
    np.testing.assert_allclose(out, expected, rtol=4 * np.finfo(dtype).eps, atol=1e-7)


@pytest.mark.parametrize("restricted", [False, True])
def test_levelling_centres_a_node_along_one_vector_after_the_other(kernel, rng, restricted):
    x, vectors = rng.normal(size=(8, 5)), rng.normal(size=(3, 5))
    rows = [1, 4, 6] if restricted else list(range(8))
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    out = np.empty_like(x)
    kernel("level_along")(x, units, units @ x[rows].mean(0), out)
    expected = x
    for vector in vectors:
        expected = np.asarray(naive.centre_along(expected, vector, rows if restricted else None))
    np.testing.assert_allclose(out, expected, atol=1e-13)


# -- Weighted lowess ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_lines_through_windows_are_one_round_of_lowess(kernel, rng, n):
    # Up to 200 different points each point is a seed.
    x, y, weights = np.sort(rng.normal(size=n)), rng.normal(size=n), rng.uniform(0.5, 2, n)
    starts, ends, reach = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    out, seeds = np.empty(n), np.arange(n)
    kernel("lowess_windows")(x, weights, seeds, 0.3 * weights.sum(), starts, ends, reach)
    kernel("lowess_lines")(x, y, weights, np.ones(n), seeds, starts, ends, reach, 1e-7, out)
    expected = naive.weighted_lowess(x, y, weights, rounds=1) if n > 1 else y
    np.testing.assert_allclose(out, expected, rtol=1e-10)


def test_windows_take_in_points_equal_to_their_ends(kernel):
    x, weights = np.array([0.0, 1.0, 1.0, 1.0, 3.0]), np.ones(5)
    starts, ends, reach = np.empty(1, np.int64), np.empty(1, np.int64), np.empty(1)
    kernel("lowess_windows")(x, weights, np.array([0]), 2.0, starts, ends, reach)
    assert (starts[0], ends[0], reach[0]) == (0, 4, 1.0)


def test_a_window_without_robust_weight_falls_back_on_the_prior_weights(kernel, rng):
    # Every point of the window was an outlier in the round before.
    x, y, weights = np.arange(5.0), rng.normal(size=5), np.ones(5)
    window = np.array([0]), np.array([5]), np.array([5.0])
    with_zeros, with_ones = np.empty(1), np.empty(1)
    for robustness, out in ((np.zeros(5), with_zeros), (np.ones(5), with_ones)):
        kernel("lowess_lines")(x, y, weights, robustness, np.array([2]), *window, 1e-7, out)
    np.testing.assert_array_equal(with_zeros, with_ones)
