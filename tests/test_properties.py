"""What must hold of any data: properties, checked on random cases."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from mnncorrect.core.matrix.rows import cosine_normalize
from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.merging.smoothing import gaussian, global_mean, tricube
from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.methods.fast import mnn_reduced

RAW = {"cosine_norm_in": False, "cosine_norm_out": False, "sigma": 50.0}


@st.composite
def cases(draw, least=2, most=4, positive=False):
    """Cells in some batches that differ by a shift; cells come in no order.

    Values are continuous, so that neighbours have no ties and results are told to rounding.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_genes = draw(st.integers(2, 9))
    sizes = draw(st.lists(st.integers(4, 14), min_size=least, max_size=most))
    batch = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = rng.normal(size=(len(batch), n_genes)) + 0.5 * rng.normal(size=(len(sizes), n_genes))[batch]
    return (np.abs(x) + 0.05 if positive else x), batch, rng


@st.composite
def sides(draw):
    """Two groups of cells and a number of neighbours that both have."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_left, n_right, n_dims = (draw(st.integers(low, 15)) for low in (2, 2, 1))
    k = draw(st.integers(1, min(n_left, n_right)))
    return rng.normal(size=(n_left, n_dims)), rng.normal(size=(n_right, n_dims)), k


def as_set(pairs):
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def classic(x, batch, **options):
    return mnn_classic(x, batch, **{"n_neighbors": 3} | options)


def assert_same_pairs(first, second, rename=None):
    """The same merges with the same pairs, rows being renamed from the first to the second."""
    for one, two in zip(first.merges, second.merges, strict=True):
        assert (one.left, one.right) == (two.left, two.right)
        couples = as_set(one.pairs)
        if rename is not None:
            couples = {(int(rename[l]), int(rename[r])) for l, r in couples}
        assert couples == as_set(two.pairs)


def rotation_of(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


# -- Pairs ----------------------------------------------------------------------------------------


@given(sides())
def test_pairs_of_swapped_sides_are_swapped_pairs(case):
    left, right, k = case
    forward = find_pairs(left, right, n_neighbors=k)
    back = find_pairs(right, left, n_neighbors=k)
    assert {(r, l) for l, r in as_set(forward)} == as_set(back)


@given(sides())
def test_more_neighbours_keep_all_pairs(case):
    left, right, k = case
    if k < min(len(left), len(right)):
        fewer = as_set(find_pairs(left, right, n_neighbors=k))
        assert fewer <= as_set(find_pairs(left, right, n_neighbors=k + 1))


@given(sides())
def test_pairs_are_unique_and_sorted_by_left_row_then_distance(case):
    left, right, k = case
    pairs = find_pairs(left, right, n_neighbors=k)
    assert len(as_set(pairs)) == len(pairs) >= 1
    distance = ((left[pairs.left] - right[pairs.right]) ** 2).sum(1)
    assert (np.lexsort((distance, pairs.left)) == np.arange(len(pairs))).all()


@given(sides())
def test_all_cells_are_paired_if_everyone_is_a_neighbour(case):
    left, right, _ = case
    n = max(len(left), len(right))
    left, right = np.resize(left, (n, left.shape[1])), np.resize(right, (n, right.shape[1]))
    assert len(find_pairs(left, right, n_neighbors=n)) == n * n


@given(sides())
def test_pairs_do_not_change_with_rotation_translation_and_scale(case):
    left, right, k = case
    rng = np.random.default_rng(len(left))
    turn, move = rotation_of(rng, left.shape[1]), 5 * rng.normal(size=left.shape[1])
    expected = as_set(find_pairs(left, right, n_neighbors=k))
    moved = find_pairs(3 * left @ turn + move, 3 * right @ turn + move, n_neighbors=k)
    assert as_set(moved) == expected


# -- Smoothing ------------------------------------------------------------------------------------


@st.composite
def anchored(draw):
    """Cells, anchors among them and their vectors."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_dims = draw(st.integers(2, 20)), draw(st.integers(1, 6))
    data = rng.normal(size=(n, n_dims))
    anchors = np.sort(rng.permutation(n)[: draw(st.integers(1, n))])
    return data, anchors, rng.normal(size=(len(anchors), n_dims))


def one(function, data, anchors, vectors, *args, **options):
    (correction,) = function(data, anchors, [vectors], *args, **options)
    return correction


@given(anchored(), st.sampled_from([1e-6, 1e-2, 1.0, 1e4]))
def test_smoothed_vectors_stay_within_the_range_of_the_vectors(case, sigma):
    data, anchors, vectors = case
    for correction in (
        one(gaussian, data, anchors, vectors, sigma),
        one(global_mean, data, anchors, vectors, sigma),
        tricube(data, anchors, vectors, k=3),
    ):
        assert (correction >= vectors.min(0) - 1e-12).all()
        assert (correction <= vectors.max(0) + 1e-12).all()


@given(anchored(), st.sampled_from([1e-6, 1e-2, 1.0, 1e4]))
def test_a_constant_vector_stays_constant(case, sigma):
    data, anchors, vectors = case
    vectors = np.tile(vectors[0], (len(anchors), 1))
    for correction in (
        one(gaussian, data, anchors, vectors, sigma),
        one(global_mean, data, anchors, vectors, sigma),
        tricube(data, anchors, vectors, k=3),
    ):
        np.testing.assert_allclose(
            correction, np.broadcast_to(vectors[0], correction.shape), rtol=1e-13
        )


@given(anchored())
def test_a_kernel_of_no_width_takes_the_nearest_anchor(case):
    data, anchors, vectors = case
    square = ((data[:, None] - data[anchors][None]) ** 2).sum(2)
    # Two anchors at nearly the same distance share a cell at any width.
    gaps = np.diff(np.sort(square, axis=1)[:, :2], axis=1)
    if not gaps.size or gaps.min() > 1e-5:
        expected = vectors[square.argmin(1)]
        np.testing.assert_allclose(
            one(gaussian, data, anchors, vectors, 1e-8), expected, atol=1e-12
        )


@given(anchored())
def test_a_kernel_without_end_takes_the_mean(case):
    # All densities are alike then, so that nothing is left of the weights.
    data, anchors, vectors = case
    for function in (gaussian, global_mean):
        correction = one(function, data, anchors, vectors, 1e12)
        mean = np.broadcast_to(vectors.mean(0), correction.shape)
        np.testing.assert_allclose(correction, mean, atol=1e-9)


# -- The classic method ---------------------------------------------------------------------------


@given(cases(), st.booleans())
def test_the_reference_batch_is_bit_identical(case, adjust_variance):
    x, batch, _ = case
    result = classic(x, batch, adjust_variance=adjust_variance, **RAW)
    np.testing.assert_array_equal(result.corrected[batch == 0], x[batch == 0])
    normalized = classic(x, batch, adjust_variance=adjust_variance)
    np.testing.assert_array_equal(normalized.corrected[batch == 0], cosine_normalize(x)[batch == 0])


@given(cases(), st.booleans())
def test_the_order_of_cells_is_kept_and_pairs_are_renumbered(case, auto_merge):
    x, batch, rng = case
    order = rng.permutation(len(x))
    options = {"auto_merge": auto_merge, "sigma": 1.0}
    plain, shuffled = classic(x, batch, **options), classic(x[order], batch[order], **options)
    np.testing.assert_allclose(shuffled.corrected, plain.corrected[order], atol=1e-9)
    assert_same_pairs(shuffled, plain, rename=order)


@given(cases(), st.booleans())
def test_a_rotation_and_a_translation_of_the_data_carry_over(case, adjust_variance):
    x, batch, rng = case
    turn, move = rotation_of(rng, x.shape[1]), rng.normal(size=x.shape[1])
    options = RAW | {"adjust_variance": adjust_variance}
    plain, moved = classic(x, batch, **options), classic(x @ turn + move, batch, **options)
    np.testing.assert_allclose(moved.corrected, plain.corrected @ turn + move, atol=1e-8)
    assert_same_pairs(plain, moved)


@given(cases(most=2))
def test_naming_batches_in_another_order_only_renames_them(case):
    x, batch, _ = case
    plain = classic(x, batch, sigma=1.0, merge_order=(1, 0))
    renamed = classic(x, 1 - batch, sigma=1.0)
    np.testing.assert_array_equal(renamed.corrected, plain.corrected)
    np.testing.assert_array_equal(renamed.merges[0].pairs.left, plain.merges[0].pairs.left)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3]), st.booleans())
def test_a_small_constant_shift_is_undone_exactly(seed, sigma, adjust_variance):
    rng = np.random.default_rng(seed)
    # Cells lie on a jittered grid, so that the shift is smaller than half of any gap.
    cells = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3) + rng.uniform(
        -0.2, 0.2, (27, 3)
    )
    shift = 0.25 * rng.uniform(-1, 1, 3) / np.sqrt(3)
    x, batch = np.vstack([cells, cells + shift]), np.repeat([0, 1], 27)
    result = classic(x, batch, n_neighbors=1, adjust_variance=False, **RAW | {"sigma": sigma})
    np.testing.assert_allclose(result.corrected[27:], cells, atol=1e-12)
    embedded = mnn_reduced(x, batch, n_neighbors=1)
    np.testing.assert_allclose(embedded.corrected[27:], embedded.corrected[:27], atol=1e-12)


@given(cases(), st.booleans())
def test_genes_that_occur_twice_at_half_their_weight_change_nothing(case, adjust_variance):
    x, batch, _ = case
    twice = np.repeat(x / np.sqrt(2), 2, axis=1)
    options = {"adjust_variance": adjust_variance, "sigma": 1.0}
    plain, doubled = classic(x, batch, **options), classic(twice, batch, **options)
    np.testing.assert_allclose(doubled.corrected[:, ::2] * np.sqrt(2), plain.corrected, atol=1e-8)
    assert_same_pairs(plain, doubled)


@given(cases(positive=True), st.booleans())
def test_a_gene_mask_gives_what_cutting_to_the_genes_gives(case, auto_merge):
    x, batch, rng = case
    mask = rng.random(x.shape[1]) < 0.6
    mask[0] = True
    cut = classic(x[:, mask], batch, auto_merge=auto_merge)
    masked = classic(x, batch, mask=mask, auto_merge=auto_merge)
    np.testing.assert_array_equal(masked.corrected, cut.corrected)
    whole = classic(x, batch, mask=mask, correct_all=True, auto_merge=auto_merge)
    np.testing.assert_allclose(whole.corrected[:, mask], cut.corrected, atol=1e-9)
    for other in (masked, whole):
        assert_same_pairs(cut, other)


@given(cases())
def test_duplicated_cells_that_no_pair_may_be_taken_from_change_nothing(case):
    x, batch, rng = case
    extra = rng.integers(0, len(x), size=5)
    restrict = np.repeat([True, False], [len(x), 5])
    plain = classic(x, batch, sigma=1.0)
    more = classic(
        np.vstack([x, x[extra]]), np.append(batch, batch[extra]), sigma=1.0, restrict=restrict
    )
    np.testing.assert_allclose(more.corrected[: len(x)], plain.corrected, atol=1e-9)
    assert_same_pairs(plain, more)


@given(cases(positive=True))
def test_containers_and_memory_orders_make_no_difference(case):
    x, batch, _ = case
    x = np.where(x > 0.4, x, 0)
    x[:, 0] += 0.1
    expected = classic(x, batch)
    for make in (sparse.csr_array, sparse.csc_array, sparse.csr_matrix, np.asfortranarray):
        np.testing.assert_array_equal(classic(make(x), batch).corrected, expected.corrected)
    wide = np.repeat(x, 2, axis=1)
    np.testing.assert_array_equal(classic(wide[:, ::2], batch).corrected, expected.corrected)


@given(cases(positive=True), st.booleans())
def test_float32_gives_nearly_what_float64_gives(case, adjust_variance):
    x, batch, _ = case
    single = classic(x.astype(np.float32), batch, adjust_variance=adjust_variance)
    # The same values, so that only the arithmetic differs.
    double = classic(
        x.astype(np.float32).astype(np.float64), batch, adjust_variance=adjust_variance
    )
    assert single.corrected.dtype == np.float32
    assert_same_pairs(single, double)
    close = np.abs(single.corrected - double.corrected).max(1) < 1e-4
    # A quantile may jump where two sums are equal to the last bit.
    assert close.mean() > 0.9 if adjust_variance else close.all()


# -- The fast method ------------------------------------------------------------------------------


@given(cases(), st.booleans())
def test_an_embedding_may_be_turned_moved_and_scaled(case, auto_merge):
    x, batch, rng = case
    turn, move = rotation_of(rng, x.shape[1]), rng.normal(size=x.shape[1])
    options = {"n_neighbors": 3, "auto_merge": auto_merge}
    plain = mnn_reduced(x, batch, **options)
    moved = mnn_reduced(3 * x @ turn + move, batch, **options)
    np.testing.assert_allclose(moved.corrected, 3 * plain.corrected @ turn + move, atol=1e-8)
    assert_same_pairs(plain, moved)
    for one_merge, other in zip(plain.merges, moved.merges, strict=True):
        np.testing.assert_allclose(one_merge.batch_size, other.batch_size, rtol=1e-8)
        np.testing.assert_allclose(one_merge.lost_variance, other.lost_variance, atol=1e-8)


@given(cases())
def test_no_variance_is_won_by_orthogonalisation(case):
    x, batch, _ = case
    for merge in mnn_reduced(x, batch, n_neighbors=3).merges:
        assert (merge.lost_variance >= -1e-12).all()
        assert (merge.lost_variance <= 1 + 1e-12).all()
        assert 0 <= merge.batch_size <= 1 + 1e-12


@given(cases())
def test_the_order_of_cells_is_kept_in_an_embedding(case):
    x, batch, rng = case
    order = rng.permutation(len(x))
    plain = mnn_reduced(x, batch, n_neighbors=3)
    shuffled = mnn_reduced(x[order], batch[order], n_neighbors=3)
    np.testing.assert_allclose(shuffled.corrected, plain.corrected[order], atol=1e-10)
    assert_same_pairs(shuffled, plain, rename=order)
