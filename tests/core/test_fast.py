"""The fast method on embeddings and on genes, against its oracle."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from naive import fast_of_genes
from scipy import sparse

from mnncorrect.core.matrix import pca
from mnncorrect.core.merging import loop, pairs, smoothing
from mnncorrect.core.methods import deferred, fast, leveling
from mnncorrect.core.methods.fast import mnn_reduced
from mnncorrect.core.neighbors import exact
from mnncorrect.core.runtime.compute import ComputeOptions

TOLERANCE = 1e-9


def rows_by_batch(batch):
    return [np.flatnonzero(batch == b) for b in range(batch.max() + 1)]


def split(x, batch, options):
    """Batches for the oracle, the order of their rows, and a restriction of each."""
    groups = rows_by_batch(batch)
    if options.get("restrict") is not None:
        options = options | {"restrict": [options["restrict"][rows] for rows in groups]}
    return [x[rows] for rows in groups], np.concatenate(groups), options


def assert_same_merges(merges, expected, order):
    assert [(m.left, m.right) for m in merges] == [(m.left, m.right) for m in expected]
    for merge, other in zip(merges, expected, strict=True):
        places = np.empty_like(other.places)
        places[order] = other.places
        found = np.column_stack([merge.pairs.left, merge.pairs.right])
        naive.assert_same_pairs_up_to_ties(found, order[other.pairs], places)
        np.testing.assert_allclose(merge.batch_size, other.batch_size, rtol=1e-9)
        np.testing.assert_allclose(merge.lost_variance, other.lost_variance, atol=1e-9)
        assert merge.skipped == other.skipped


def assert_agrees(x, batch, **options):
    batches, order, theirs = split(x, batch, options)
    expected = naive.mnn_reduced(batches, **theirs)
    result = mnn_reduced(x, batch, compute=ComputeOptions("exact"), **options)
    np.testing.assert_allclose(result.corrected[order], expected.corrected, rtol=0, atol=TOLERANCE)
    assert_same_merges(result.merges, expected.merges, order)
    return result


@pytest.fixture
def embedding(blobs):
    """Four batches whose cells come in no order."""
    x, batch, _ = blobs(sizes=(18, 25, 21, 16), n_features=6, spread=1.0)
    order = np.random.default_rng(5).permutation(len(x))
    return x[order], batch[order]


CASES = {
    "default": {},
    "one_neighbour": {"n_neighbors": 1},
    "share_of_neighbours": {"n_neighbors": 2, "prop_neighbors": 0.2},
    "narrow": {"ndist": 1.2},
    "order": {"merge_order": (((2, 0), 3), 1)},
    "tree": {"merge_order": ((1, 3), (2, 0))},
    "automatic": {"auto_merge": True},
    "skipping_all": {"min_batch_size": 1.1},
    "skipping_some": {"min_batch_size": 0.65},
    "without_batch_size": {"min_batch_size": None},
}


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_reduced_is_its_oracle(embedding, case, restricted):
    x, batch = embedding
    options = {"n_neighbors": 5} | CASES[case]
    if restricted:
        # The first batch keeps all, the others lose some.
        options["restrict"] = (batch == 0) | (np.arange(len(x)) % 3 != 0)
    result = assert_agrees(x, batch, **options)
    assert result.corrected.dtype == np.float64


def test_some_merges_are_skipped_where_the_effect_is_small(embedding):
    skipped = [
        m.skipped for m in assert_agrees(*embedding, n_neighbors=5, min_batch_size=0.65).merges
    ]
    assert set(skipped) == {True, False}


@pytest.mark.parametrize(
    "options", [{"merge_order": ((0, (1, 2)), ((3, 4), (5, 6)))}, {"auto_merge": True}, {}]
)
def test_seven_batches_in_a_nested_tree_and_in_automatic_order(blobs, options):
    # From six batches on, the automatic order counts pairs on data aligned for earlier candidates.
    x, batch, _ = blobs(sizes=(9, 14, 8, 12, 9, 11, 10), n_features=5, spread=1.0)
    assert len(assert_agrees(x, batch, n_neighbors=3, **options).merges) == 6


def test_batches_of_one_cell_lose_no_measurable_variance(rng):
    x = rng.normal(size=(12, 4))
    batch = np.array([0] * 6 + [1] + [2] * 5)
    result = assert_agrees(x, batch, n_neighbors=2)
    assert np.isnan([m.lost_variance[1] for m in result.merges]).all()
    assert np.isfinite(result.corrected).all()


@pytest.mark.parametrize("min_batch_size", [0.0, 0.1, None])
@pytest.mark.parametrize("options", [{}, {"auto_merge": True}])
def test_identical_batches_stay_as_they_are(rng, min_batch_size, options):
    # The batch vector has no length, and the reference divides by it.
    x, batch = np.tile(rng.normal(size=(12, 4)), (3, 1)), np.repeat([0, 1, 2], 12)
    result = assert_agrees(x, batch, n_neighbors=1, min_batch_size=min_batch_size, **options)
    np.testing.assert_array_equal(result.corrected, x)
    assert [merge.skipped for merge in result.merges] == [min_batch_size == 0.1] * 2


def test_data_without_any_variance_stays_as_it_is():
    x, batch = np.ones((8, 3)), np.repeat([0, 1], 4)
    result = mnn_reduced(x, batch, n_neighbors=1)
    np.testing.assert_array_equal(result.corrected, x)
    assert np.isnan(result.merges[0].lost_variance).all()


def test_a_constant_shift_is_undone(rng):
    x = rng.normal(size=(30, 5))
    shift = np.array([0.01, -0.02, 0.015, 0.0, 0.01])
    result = mnn_reduced(np.vstack([x, x + shift]), np.repeat([0, 1], 30), n_neighbors=1)
    np.testing.assert_allclose(result.corrected[30:], result.corrected[:30], atol=1e-12)
    assert result.merges[0].batch_size == pytest.approx(1)


def test_batches_of_the_same_populations_come_together(blobs):
    x, batch, truth = blobs(sizes=(60, 60), n_features=10, shift=4.0)
    corrected = mnn_reduced(x, batch, n_neighbors=10).corrected
    for population in range(3):
        gap = [
            np.linalg.norm(
                values[(batch == 0) & (truth == population)].mean(0)
                - values[(batch == 1) & (truth == population)].mean(0)
            )
            for values in (x, corrected)
        ]
        assert gap[0] > 3
        assert gap[1] < 0.5


def test_a_single_batch_comes_back_as_it_was(rng):
    x = rng.normal(size=(6, 4))
    result = mnn_reduced(x, np.zeros(6, int))
    np.testing.assert_array_equal(result.corrected, x)
    assert result.merges == ()


def test_the_input_is_not_changed(embedding):
    x, batch = embedding
    before = x.copy()
    mnn_reduced(x, batch, n_neighbors=5)
    np.testing.assert_array_equal(x, before)


def test_float32_stays_float32_and_near(embedding):
    x, batch = embedding
    single = mnn_reduced(x.astype(np.float32), batch, n_neighbors=5)
    assert single.corrected.dtype == np.float32
    np.testing.assert_allclose(
        single.corrected, mnn_reduced(x, batch, n_neighbors=5).corrected, atol=1e-4
    )


def test_more_neighbours_than_cells_are_capped(embedding):
    x, batch = embedding
    batches, order, _ = split(x, batch, {})
    expected = naive.mnn_reduced(batches, n_neighbors=100)
    result = mnn_reduced(x, batch, n_neighbors=100)
    np.testing.assert_allclose(result.corrected[order], expected.corrected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_neighbors": 0}, "n_neighbors is 0"),
        ({"prop_neighbors": 1.5}, "prop_neighbors is 1.5"),
        ({"ndist": 0.0}, "ndist is 0.0"),
        ({"ndist": float("nan")}, "ndist is nan"),
        ({"min_batch_size": -0.1}, "min_batch_size is -0.1"),
        ({"compute": ComputeOptions(recall=1.2)}, "recall is 1.2"),
        ({"sketch": 0}, "sketch is 0"),
        # The nearest paired cell is further than the bandwidth, half the way to the middle one.
        ({"ndist": 0.5}, "ndist=0.5 leaves .* without a paired cell"),
    ],
)
def test_parameters_out_of_range_are_refused(embedding, options, match):
    with pytest.raises(ValueError, match=match):
        mnn_reduced(*embedding, **({"n_neighbors": 5} | options))


# -- Pairs among a sketch -------------------------------------------------------------------------


@pytest.fixture
def many(blobs):
    """Four batches, each of more cells than a cell of a partition holds, and their populations."""
    x, batch, truth = blobs(sizes=(500, 400, 300, 320), n_features=10, shift=4.0)
    order = np.random.default_rng(3).permutation(len(x))
    return x[order].astype(np.float32), batch[order], truth[order]


def test_pairs_come_from_a_sketch_of_every_batch_and_all_cells_are_moved_by_them(many):
    x, batch, truth = many
    result = mnn_reduced(x, batch, merge_order="balanced", sketch=100)
    sides = [side for merge in result.merges for side in (merge.pairs.left, merge.pairs.right)]
    assert max(len(np.unique(side)) for side in sides) <= 100
    last = result.merges[-1].pairs
    assert set(batch[last.left]) | set(batch[last.right]) == {0, 1, 2, 3}
    assert (result.corrected != x).any(1).all()
    for population in range(3):
        means = np.array(
            [result.corrected[(batch == b) & (truth == population)].mean(0) for b in range(4)]
        )
        # Of a shift of 4 in every batch, what sampling leaves.
        assert np.linalg.norm(means - means.mean(0), axis=1).max() < 0.5


@pytest.mark.parametrize("order", [None, ((0, 1), (3, 2)), (((3, 0), 1), 2)])
@pytest.mark.parametrize("options", [{}, {"min_batch_size": 0.9}, {"restrict": True}])
@pytest.mark.parametrize("few_vectors", [0, 10])
def test_deferred_maps_give_what_maps_at_once_give(many, monkeypatch, order, options, few_vectors):
    monkeypatch.setattr(deferred, "FEW_VECTORS", few_vectors)
    x, batch, _ = many
    x = x.astype(np.float64)
    if "restrict" in options:
        options = {"restrict": np.arange(len(x)) % 3 > 0}
    compute = ComputeOptions("exact")

    def correct():
        return mnn_reduced(x, batch, merge_order=order, sketch=150, compute=compute, **options)

    later = correct()
    monkeypatch.setattr(fast, "can_defer", lambda *_: False)
    at_once = correct()
    np.testing.assert_allclose(later.corrected, at_once.corrected, rtol=0, atol=1e-10)
    for one, other in zip(later.merges, at_once.merges, strict=True):
        np.testing.assert_array_equal(one.pairs.left, other.pairs.left)
        np.testing.assert_array_equal(one.pairs.right, other.pairs.right)
        np.testing.assert_allclose(one.lost_variance, other.lost_variance, atol=1e-10)
        np.testing.assert_allclose(one.batch_size, other.batch_size, rtol=1e-10)
        assert one.skipped == other.skipped


def test_a_sketch_of_all_cells_changes_nothing(many):
    x, batch, _ = many
    one, other = (mnn_reduced(x, batch, sketch=size) for size in (None, len(x)))
    np.testing.assert_array_equal(one.corrected, other.corrected)


@pytest.mark.parametrize("restricted", [False, True])
def test_a_sketch_is_the_same_bits_on_one_and_two_threads(many, monkeypatch, restricted):
    x, batch, _ = many
    restrict = np.arange(len(x)) % 3 > 0 if restricted else None
    one, two = (
        mnn_reduced(x, batch, sketch=150, restrict=restrict, compute=ComputeOptions(n_jobs=n))
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one.corrected, two.corrected)
    for merge in one.merges if restricted else ():
        assert restrict[merge.pairs.left].all()
        assert restrict[merge.pairs.right].all()


def test_few_cells_are_compared_with_a_sketch_of_no_more_cells(many, monkeypatch):
    x, batch, _ = many
    monkeypatch.setattr(loop, "LEAST_SKETCHED", 10)
    batch = np.where(np.arange(len(x)) < 60, 4, batch)
    for merge in mnn_reduced(x, batch, sketch=400).merges[-1:]:
        assert len(np.unique(merge.pairs.right)) <= 60
        assert len(np.unique(merge.pairs.left)) <= 60


def test_another_seed_draws_another_sketch(many):
    x, batch, _ = many
    one, two = (
        mnn_reduced(x, batch, sketch=150, compute=ComputeOptions(random_state=s)) for s in (0, 1)
    )
    assert not np.array_equal(one.merges[0].pairs.left, two.merges[0].pairs.left)


# -- From genes -----------------------------------------------------------------------------------

MASK = np.arange(12) % 4 != 1
GENE_CASES = {
    "default": {},
    "not_normalised": {"cosine_norm": False},
    "mask": {"mask": MASK},
    "correct_all": {"mask": MASK, "correct_all": True},
    "weights": {"batch_weights": [3.0, 1.0, 0.5]},
    "without_components": {"n_comps": None},
    "without_components_all_genes": {"n_comps": None, "mask": MASK, "correct_all": True},
    "automatic": {"auto_merge": True},
    "order": {"merge_order": (1, (2, 0))},
    "share": {"prop_neighbors": 0.3, "ndist": 2.0},
}


@pytest.fixture
def expression(blobs):
    x, batch, _ = blobs(sizes=(18, 25, 21), n_features=12, positive=True)
    order = np.random.default_rng(5).permutation(len(x))
    return x[order], batch[order]


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("case", GENE_CASES)
def test_fast_is_its_oracle_up_to_the_signs_of_components(expression, case, restricted):
    x, batch = expression
    options = {"n_neighbors": 5, "n_comps": 6} | GENE_CASES[case]
    if restricted:
        options["restrict"] = np.arange(len(x)) % 3 != 0
    batches, order, theirs = split(x, batch, options)
    expected = naive.mnn_fast(batches, **theirs)
    if "batch_weights" in options:
        options["batch_weights"] = np.array(options["batch_weights"])
    result, components = fast_of_genes(x, batch, compute=ComputeOptions("exact"), **options)
    signs = np.sign((components.rotation * expected.rotation).sum(0))
    np.testing.assert_allclose(
        result.corrected[order] * signs, expected.corrected, rtol=0, atol=TOLERANCE
    )
    np.testing.assert_allclose(components.rotation * signs, expected.rotation, atol=TOLERANCE)
    np.testing.assert_allclose(components.center, expected.pca.subtracted, rtol=1e-12)
    assert_same_merges(result.merges, expected.merges, order)


def test_other_genes_do_not_change_what_the_chosen_ones_give(expression):
    x, batch = expression
    few, few_components = fast_of_genes(x, batch, mask=MASK, n_comps=5, n_neighbors=5)
    all_, all_components = fast_of_genes(
        x, batch, mask=MASK, n_comps=5, n_neighbors=5, correct_all=True
    )
    cut, cut_components = fast_of_genes(x[:, MASK], batch, n_comps=5, n_neighbors=5)
    np.testing.assert_array_equal(all_.corrected, few.corrected)
    np.testing.assert_allclose(cut.corrected, few.corrected, atol=1e-13)
    np.testing.assert_array_equal(all_components.rotation[MASK], few_components.rotation)
    np.testing.assert_allclose(cut_components.rotation, few_components.rotation, atol=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_array, np.asfortranarray])
def test_containers_make_no_difference(expression, container):
    x, batch = expression
    x = np.where(x > 4, x, 0)
    dense, _ = fast_of_genes(x, batch, n_comps=5, n_neighbors=5)
    other, _ = fast_of_genes(container(x), batch, n_comps=5, n_neighbors=5)
    np.testing.assert_array_equal(other.corrected, dense.corrected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fast_is_the_same_bits_on_one_and_two_threads(blobs, monkeypatch, dtype):
    x, batch, _ = blobs(sizes=(60, 70, 50), n_features=200, positive=True)
    for module, name, value in [
        (exact, "QUERY_BLOCK", 16),
        (exact, "REFERENCE_TILE", 24),
        (pairs, "ANCHOR_BLOCK", 8),
        (smoothing, "TRICUBE_BLOCK", 16),
        (leveling, "ROW_BLOCK", 16),
        (deferred, "ROW_BLOCK", 16),
        (pca, "ROW_BLOCK", 16),
        (pca, "resolve_n_jobs", lambda n_jobs: n_jobs),
    ]:
        monkeypatch.setattr(module, name, value)
    for limit in (1000, 10):
        monkeypatch.setattr(pca, "SVD_CELLS", limit)
        one, two = (
            fast_of_genes(
                x.astype(dtype),
                batch,
                n_comps=10,
                n_neighbors=8,
                auto_merge=True,
                compute=ComputeOptions(n_jobs=n),
            )[0]
            for n in (1, 2)
        )
        np.testing.assert_array_equal(one.corrected, two.corrected)
        np.testing.assert_array_equal(
            [m.lost_variance for m in one.merges], [m.lost_variance for m in two.merges]
        )
