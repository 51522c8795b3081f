"""The whole classic method against its oracle, and what must hold of it."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.runtime.compute import ComputeOptions

# Both sides sum in float64, in another order.
TOLERANCE = 1e-9


def rows_by_batch(batch):
    return [np.flatnonzero(batch == b) for b in range(batch.max() + 1)]


def expected_of(x, batch, **options):
    """The oracle's result, with rows and row numbers as in the input."""
    groups = rows_by_batch(batch)
    order = np.concatenate(groups)
    if options.get("restrict") is not None:
        options["restrict"] = [options["restrict"][rows] for rows in groups]
    result = naive.mnn_classic([x[rows] for rows in groups], **options)
    corrected = np.empty_like(result.corrected)
    corrected[order] = result.corrected
    return corrected, [(m.left, m.right, order[m.pairs]) for m in result.merges]


def assert_agrees(x, batch, *, atol=TOLERANCE, **options):
    corrected, merges = expected_of(x, batch, **options)
    result = mnn_classic(x, batch, compute=ComputeOptions("exact"), **options)
    np.testing.assert_allclose(result.corrected, corrected, rtol=0, atol=atol)
    assert [(m.left, m.right) for m in result.merges] == [
        (left, right) for left, right, _ in merges
    ]
    for merge, (_, _, pairs) in zip(result.merges, merges, strict=True):
        np.testing.assert_array_equal(np.column_stack([merge.pairs.left, merge.pairs.right]), pairs)
    return result


@pytest.fixture
def expression(blobs):
    """Three batches of positive values whose cells come in no order."""
    x, batch, _ = blobs(sizes=(18, 25, 21), n_features=10, positive=True)
    order = np.random.default_rng(5).permutation(len(x))
    return x[order], batch[order]


MASK = np.arange(10) % 4 != 1
CASES = {
    "default": {},
    "no_adjustment": {"adjust_variance": False},
    "one_neighbour": {"n_neighbors": 1},
    "share_of_neighbours": {"n_neighbors": 2, "prop_neighbors": 0.2},
    "wide_kernel": {"sigma": 10.0},
    "not_normalised": {"cosine_norm_in": False, "cosine_norm_out": False, "sigma": 100.0},
    "out_not_normalised": {"cosine_norm_out": False, "adjust_variance": False},
    "in_not_normalised": {"cosine_norm_in": False, "sigma": 100.0},
    "global": {"smoothing": "global"},
    "global_no_adjustment": {"smoothing": "global", "adjust_variance": False},
    "span": {"n_svd": 2},
    "span_larger_than_the_data": {"n_svd": 50, "adjust_variance": False},
    "span_out_not_normalised": {"n_svd": 2, "cosine_norm_out": False, "adjust_variance": False},
    "mask": {"mask": MASK},
    "mask_of_all": {"mask": np.ones(10, bool), "correct_all": True},
    "correct_all": {"mask": MASK, "correct_all": True},
    "correct_all_span": {"mask": MASK, "correct_all": True, "n_svd": 2},
    "correct_all_global": {"mask": MASK, "correct_all": True, "smoothing": "global", "n_svd": 1},
    "correct_all_out_not_normalised": {
        "mask": MASK, "correct_all": True, "cosine_norm_out": False, "adjust_variance": False,
    },
    "mask_and_differing_flags": {"mask": MASK, "cosine_norm_in": False, "sigma": 100.0, "n_svd": 1},
    "order": {"merge_order": ((2, 0), 1)},
    "tree": {"merge_order": (1, (2, 0))},
    "automatic": {"auto_merge": True},
    "automatic_correct_all": {"auto_merge": True, "mask": MASK, "correct_all": True},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_classic_is_its_oracle(expression, case):
    result = assert_agrees(*expression, **{"n_neighbors": 5} | CASES[case])
    assert result.corrected.dtype == np.float64
    assert result.engines == ("exact",)


@pytest.mark.parametrize(
    "case", ["default", "span", "correct_all", "automatic", "share_of_neighbours"]
)
def test_classic_with_a_restriction_is_its_oracle(expression, case):
    x, batch = expression
    # The first batch keeps all, the others lose some.
    restrict = (batch == 0) | (np.arange(len(x)) % 3 != 0)
    result = assert_agrees(x, batch, restrict=restrict, **{"n_neighbors": 5} | CASES[case])
    for merge in result.merges:
        assert restrict[merge.pairs.left].all()
        assert restrict[merge.pairs.right].all()


@pytest.mark.parametrize(
    "options", [{"merge_order": ((0, (1, 2)), (3, (4, 5)))}, {"auto_merge": True}]
)
def test_six_batches_in_a_nested_tree_and_in_automatic_order(blobs, options):
    x, batch, _ = blobs(sizes=(9, 14, 8, 12, 9, 11), n_features=6, positive=True)
    result = assert_agrees(x, batch, n_neighbors=3, **options)
    assert len(result.merges) == 5


def test_the_reference_batch_is_returned_as_it_was_but_for_its_norm(expression):
    x, batch = expression
    raw = mnn_classic(
        x, batch, n_neighbors=5, cosine_norm_in=False, cosine_norm_out=False, sigma=100
    )
    np.testing.assert_array_equal(raw.corrected[batch == 0], x[batch == 0])
    normalized = mnn_classic(x, batch, n_neighbors=5)
    np.testing.assert_allclose(
        normalized.corrected[batch == 0], naive.cosine_normalize(x[batch == 0]), rtol=1e-14
    )


def test_batches_of_the_same_populations_come_together(blobs):
    x, batch, truth = blobs(sizes=(60, 60), n_features=20, shift=4.0)
    result = mnn_classic(
        x, batch, n_neighbors=10, cosine_norm_in=False, cosine_norm_out=False, sigma=10
    )

    def gap(values):
        return [
            np.linalg.norm(
                values[(batch == 0) & (truth == p)].mean(0)
                - values[(batch == 1) & (truth == p)].mean(0)
            )
            for p in range(3)
        ]

    assert min(gap(x)) > 3
    assert max(gap(result.corrected)) < 0.8


def test_a_population_that_one_batch_lacks_is_not_pulled_into_another(blobs):
    x, batch, truth = blobs(sizes=(60, 60), n_features=20, shift=2.0, missing=[(0, 2)])
    result = mnn_classic(
        x, batch, n_neighbors=5, cosine_norm_in=False, cosine_norm_out=False, sigma=10,
        adjust_variance=False,
    )  # fmt: skip
    lonely = result.corrected[truth == 2].mean(0)
    for population in (0, 1):
        others = result.corrected[truth == population].mean(0)
        assert np.linalg.norm(lonely - others) > 5
    assert not np.isin(result.merges[0].pairs.right, np.flatnonzero(truth == 2)).any()


@pytest.mark.parametrize("adjust_variance", [True, False])
def test_identical_batches_stay_as_they_are(rng, adjust_variance):
    # With one neighbour every correction is zero, and zero vectors have no direction.
    x, batch = np.tile(rng.random((12, 6)), (2, 1)), np.repeat([0, 1], 12)
    result = assert_agrees(x, batch, n_neighbors=1, adjust_variance=adjust_variance)
    np.testing.assert_array_equal(result.corrected[12:], result.corrected[:12])


def test_identical_batches_with_several_neighbours_stay_finite(rng):
    # Quantiles are exactly equal here, and rounding decides: no oracle can tell the values.
    x, batch = np.tile(rng.random((12, 6)), (2, 1)), np.repeat([0, 1], 12)
    assert np.isfinite(mnn_classic(x, batch, n_neighbors=3).corrected).all()


def test_cells_without_any_count_stay_finite(expression):
    x, batch = expression
    x[[0, 7]] = 0
    result = assert_agrees(x, batch, n_neighbors=5)
    assert np.isfinite(result.corrected).all()


def test_batches_of_one_cell_can_be_merged(rng):
    x = rng.random((8, 5))
    assert_agrees(x, np.array([0, 0, 1, 0, 0, 0, 0, 0]), n_neighbors=1)


def test_a_single_batch_is_only_normalised(rng):
    x = rng.random((6, 5))
    result = mnn_classic(x, np.zeros(6, int))
    np.testing.assert_allclose(result.corrected, naive.cosine_normalize(x), rtol=1e-14)
    assert result.merges == ()


def test_more_neighbours_than_cells_are_capped(expression):
    x, batch = expression
    corrected, _ = expected_of(x, batch, n_neighbors=100)
    result = mnn_classic(x, batch, n_neighbors=100)
    np.testing.assert_allclose(result.corrected, corrected, atol=TOLERANCE)


@pytest.mark.parametrize(
    "container", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, np.asfortranarray]
)
@pytest.mark.parametrize("case", ["default", "mask", "correct_all"])
def test_containers_make_no_difference(expression, container, case):
    x, batch = expression
    x = np.where(x > 4, x, 0)
    options = {"n_neighbors": 5} | CASES[case]
    dense = mnn_classic(x, batch, **options)
    other = mnn_classic(container(x), batch, **options)
    np.testing.assert_array_equal(other.corrected, dense.corrected)
    assert isinstance(other.corrected, np.ndarray)


def test_float32_stays_float32_and_near(expression):
    x, batch = expression
    single = mnn_classic(x.astype(np.float32), batch, n_neighbors=5)
    double = mnn_classic(x, batch, n_neighbors=5)
    assert single.corrected.dtype == np.float32
    np.testing.assert_allclose(single.corrected, double.corrected, atol=1e-4)


def test_counts_become_float32(expression):
    x, batch = expression
    counts = np.round(x).astype(np.int64)
    result = mnn_classic(counts, batch, n_neighbors=5)
    assert result.corrected.dtype == np.float32
    expected = mnn_classic(counts.astype(np.float32), batch, n_neighbors=5)
    np.testing.assert_array_equal(result.corrected, expected.corrected)


@pytest.mark.parametrize("make", [np.array, sparse.csr_array])
def test_the_input_is_not_changed(expression, make):
    x, batch = expression
    given = make(x)
    mnn_classic(
        given,
        batch,
        n_neighbors=5,
        cosine_norm_in=False,
        cosine_norm_out=False,
        sigma=100,
    )
    np.testing.assert_array_equal(given.toarray() if sparse.issparse(given) else given, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors is 0; it must be at least 1"),
        ({"prop_neighbors": 0.0}, "prop_neighbors is 0.0"),
        ({"prop_neighbors": 1.5}, "prop_neighbors is 1.5"),
        ({"sigma": 0.0}, "sigma is 0.0; it must be above 0"),
        ({"sigma": np.nan}, "sigma is nan"),
        ({"n_svd": -1}, "n_svd is -1"),
        ({"smoothing": "locally"}, "smoothing is 'locally'; choose 'local' or 'global'"),
        ({"compute": ComputeOptions("brute")}, "'brute'"),
    ],
)
def test_what_makes_no_sense_is_refused(expression, options, message):
    with pytest.raises(ValueError, match=message):
        mnn_classic(*expression, **options)


def test_progress_is_told_in_shares(expression):
    told = []
    mnn_classic(
        *expression, n_neighbors=5, compute=ComputeOptions(progress=lambda *step: told.append(step))
    )
    assert ("merges", 1.0) in told
    assert all(0 < share <= 1 for _, share in told)


# -- On real data ---------------------------------------------------------------------------------


@pytest.fixture
def dendritic(shared_data):
    """Log-expression and batches of 576 cells, of which either batch lacks a type."""
    import anndata

    adata = anndata.read_h5ad(shared_data("human_dc"))
    x = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    return x.astype(np.float64), adata.obs["batch"].astype("category").cat.codes.to_numpy(np.int64)


def test_real_cells_agree_with_the_oracle(dendritic):
    x, batch = dendritic
    some = np.random.default_rng(0).permutation(len(x))[:160]
    assert_agrees(x[some], batch[some])
    assert_agrees(
        x[some], batch[some], n_svd=2, auto_merge=True, mask=np.arange(x.shape[1]) % 3 > 0
    )


def test_real_cells_in_float32_and_sparse_give_what_float64_gives(dendritic):
    x, batch = dendritic
    single = x.astype(np.float32)
    double = mnn_classic(single.astype(np.float64), batch)
    for other in (single, sparse.csr_array(single), sparse.csc_array(single)):
        result = mnn_classic(other, batch)
        np.testing.assert_array_equal(result.merges[0].pairs.left, double.merges[0].pairs.left)
        np.testing.assert_array_equal(result.merges[0].pairs.right, double.merges[0].pairs.right)
        np.testing.assert_allclose(result.corrected, double.corrected, atol=1e-5)
