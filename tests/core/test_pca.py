"""Principal components of one and of several batches, against numpy's decomposition."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.matrix import gram
from mnncorrect.core.matrix import pca as module
from mnncorrect.core.matrix.pca import batch_weights, multibatch_pca, pca, project_cells
from mnncorrect.core.matrix.rows import RowSource


@pytest.fixture
def x(rng):
    """Cells x genes with components of distinct size, far from the origin."""
    return (
        rng.normal(size=(40, 12))
        * np.linspace(4, 1, 12)
        @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
        + 5
    )


@pytest.fixture(params=["direct", "gram", "lanczos"])
def solver(request, monkeypatch):
    """Have small data decomposed as large data would be."""
    if request.param != "direct":
        monkeypatch.setattr(module, "SVD_CELLS", 3)
    if request.param == "lanczos":
        monkeypatch.setattr(module, "GRAM_GENES", 3)
    monkeypatch.setattr(module, "ROW_BLOCK", 16)
    monkeypatch.setattr(gram, "ROW_BLOCK", 16)
    return request.param


def align(rotation, like):
    return np.sign((rotation * like).sum(0))


@pytest.mark.parametrize("make", [np.array, sparse.csr_array])
@pytest.mark.parametrize("all_genes", [True, False])
def test_a_source_of_rows_gives_what_the_matrix_gives(x, solver, make, all_genes):
    """Read a block at a time, and never more than that."""
    matrix, read = make(x), []

    def rows(block):
        read.append(len(range(*block.indices(40))))
        return matrix[block]

    batch, mask = np.arange(40) % 3, np.arange(12) != 4
    scale = np.linspace(1, 2, 40)
    found, expected = (
        multibatch_pca(given, batch, 4, mask=mask, all_genes=all_genes, scale=scale)
        for given in (RowSource(rows, (40, 12), np.dtype(np.float64)), matrix)
    )
    for name in ("scores", "rotation", "center", "variance", "total_variance"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-10, err_msg=name
        )
    if solver != "direct":
        assert max(read) <= 16


# -- One batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.array, sparse.csr_array, sparse.csc_array])
def test_some_genes_of_a_source_of_rows(x, solver, make):
    mask, read = np.arange(12) % 4 > 0, []

    def rows(block):
        read.append(len(range(*block.indices(40))))
        return make(x)[block] if make is np.array else sparse.csr_array(x)[block]

    found = pca(RowSource(rows, (40, 12), np.dtype(np.float64)), 5, mask=mask)
    for expected in (pca(make(x)[:, mask], 5), pca(make(x), 5, mask=mask)):
        for name in ("scores", "rotation", "center", "variance", "total_variance"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-10, err_msg=name
            )
    if solver != "direct":
        assert max(read) <= 16


@pytest.mark.parametrize("make", [np.array, sparse.csr_array, sparse.csc_array])
def test_components_are_those_of_numpy(x, solver, make):
    found = pca(make(x), 5)
    centred = x - x.mean(0)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    signs = align(found.rotation, vectors[:5].T)
    np.testing.assert_allclose(found.rotation * signs, vectors[:5].T, atol=1e-10)
    np.testing.assert_allclose(found.scores * signs, centred @ vectors[:5].T, atol=1e-9)
    np.testing.assert_allclose(found.center, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.variance, values[:5] ** 2 / 39, rtol=1e-10)
    assert found.total_variance == pytest.approx(x.var(0, ddof=1).sum(), rel=1e-10)


def test_the_largest_loading_of_each_component_is_positive(x, solver):
    for data in (x, -x):
        rotation = pca(data, 6).rotation
        assert (rotation[np.abs(rotation).argmax(0), np.arange(6)] > 0).all()


def test_scores_have_the_inputs_float_type(x, solver):
    for dtype in (np.float32, np.float64):
        found = pca(x.astype(dtype), 3)
        assert found.scores.dtype == dtype
        assert found.rotation.dtype == np.float64
    single, double = pca(x.astype(np.float32), 3), pca(x, 3)
    np.testing.assert_allclose(single.scores, double.scores, atol=1e-4)


@pytest.mark.parametrize("n_comps", [0, 12, 100])
def test_more_components_than_there_are_are_refused(x, n_comps):
    with pytest.raises(
        ValueError, match=f"n_comps is {n_comps}; .* 40 cells x 12 genes has 1 to 11"
    ):
        pca(x, n_comps)


def test_the_same_seed_gives_the_same_components(x, solver):
    one, two = pca(x, 4, random_state=3), pca(x, 4, random_state=3)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_components_are_the_same_bits_on_one_and_two_threads(rng, monkeypatch, solver):
    monkeypatch.setattr(module, "resolve_n_jobs", lambda n_jobs: n_jobs)
    x = rng.normal(size=(90, 60)) @ np.diag(np.linspace(5, 1, 60))
    one, two = pca(x, 5, n_jobs=1), pca(x, 5, n_jobs=2)
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.rotation, two.rotation)


# -- Several batches ------------------------------------------------------------------------------

MASK = np.arange(12) % 5 != 2


@pytest.fixture
def batch(rng):
    return rng.permutation(np.repeat([0, 1, 2], [20, 13, 7]))


def groups_of(x, batch):
    return [x[batch == b] for b in range(batch.max() + 1)]


def by_batch(values, batch):
    """Rows in the order of the batches, as the oracle gives them."""
    return np.vstack(groups_of(values, batch))


@pytest.mark.parametrize("weights", [None, [3.0, 1.0, 0.5]])
@pytest.mark.parametrize(("mask", "all_genes"), [(None, False), (MASK, False), (MASK, True)])
def test_multibatch_components_are_those_of_the_formula(x, batch, solver, weights, mask, all_genes):
    found = multibatch_pca(
        x,
        batch,
        4,
        weights=None if weights is None else np.array(weights),
        mask=mask,
        all_genes=all_genes,
    )
    expected = naive.multibatch_pca(
        groups_of(x, batch), 4, weights=weights, mask=mask, all_genes=all_genes
    )
    signs = align(found.rotation, expected.rotation)
    np.testing.assert_allclose(found.rotation * signs, expected.rotation, atol=1e-8)
    np.testing.assert_allclose(by_batch(found.scores, batch) * signs, expected.scores, atol=1e-7)
    np.testing.assert_allclose(found.center, expected.center, rtol=1e-12)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-9)
    assert found.total_variance == pytest.approx(expected.total_variance, rel=1e-9)


@pytest.mark.parametrize("as_given", [np.asarray, sparse.csr_array])
def test_leading_components_are_those_among_all(x, batch, solver, as_given):
    how = {"mask": MASK, "all_genes": True}
    every = multibatch_pca(as_given(x), batch, 4, **how)
    seen = []
    found = multibatch_pca(as_given(x), batch, 4, leading=lambda v: seen.append(v) or 2, **how)
    np.testing.assert_array_equal(found.scores, every.scores[:, :2])
    np.testing.assert_allclose(found.rotation, every.rotation[:, :2], rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(found.variance, every.variance)
    np.testing.assert_array_equal(seen[0], every.variance)


def test_cells_can_be_scaled_first(x, batch, solver):
    scale = np.linspace(1, 3, len(x))
    found = multibatch_pca(sparse.csr_array(x), batch, 4, scale=scale)
    expected = multibatch_pca(x / scale[:, None], batch, 4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-9)


@pytest.mark.parametrize(("mask", "all_genes"), [(None, False), (MASK, False), (MASK, True)])
def test_without_components_the_centred_values_are_the_scores(x, batch, mask, all_genes):
    found = multibatch_pca(x, batch, None, mask=mask, all_genes=all_genes)
    expected = naive.multibatch_pca(groups_of(x, batch), None, mask=mask, all_genes=all_genes)
    np.testing.assert_allclose(by_batch(found.scores, batch), expected.scores, atol=1e-13)
    np.testing.assert_array_equal(found.rotation, expected.rotation)
    # The reference reports zeros here although a centre was subtracted.
    np.testing.assert_allclose(found.center, expected.subtracted, rtol=1e-13)


def test_more_components_than_there_are_are_capped(x, batch):
    assert multibatch_pca(x, batch, 500).scores.shape == (40, 12)


def test_batches_count_by_weight_and_not_by_size(rng):
    x = rng.normal(size=(20, 6))
    often = np.vstack([x[:10], *[x[10:]] * 9])
    one = multibatch_pca(x, np.repeat([0, 1], 10), 3)
    nine = multibatch_pca(often, np.repeat([0, 1], [10, 90]), 3)
    np.testing.assert_allclose(nine.rotation, one.rotation, atol=1e-10)
    np.testing.assert_allclose(nine.scores[:20], one.scores, atol=1e-10)


def test_projecting_the_data_gives_its_scores(x, batch):
    found = multibatch_pca(x, batch, 4)
    np.testing.assert_array_equal(project_cells(x, found.rotation, found.center), found.scores)


# -- Weights --------------------------------------------------------------------------------------

NAMES, SIZES = ["a", "b", "c", "d"], np.array([5, 6, 7, 8])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, [1, 1, 1, 1]),
        (True, [1, 1, 1, 1]),
        (False, [5, 6, 7, 8]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        (np.array([1.0, 2, 3, 4]), [1, 2, 3, 4]),
        ({"d": 4, "a": 1, "b": 2, "c": 3}, [1, 2, 3, 4]),
        ([["a", "b"], ["c", "d"]], [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        (["d", ["a", ["b", "c"]]], [1 / 4, 1 / 8, 1 / 8, 1 / 2]),
        ([["a", "b", "c"], "d"], [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        (["a", "b", "c", "d"], [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
    ],
)
def test_weights_are_given_by_batch_by_name_or_by_a_tree(weights, expected):
    np.testing.assert_allclose(batch_weights(weights, NAMES, SIZES), expected)


@pytest.mark.parametrize(
    ("order", "weights"), [([0, [1, 2]], ["a", ["b", "c"]]), ([[0, 1], 2], [["a", "b"], "c"])]
)
def test_a_tree_divides_its_weight_as_the_formula_does(order, weights):
    expected = naive.tree_weights(order, 3)
    np.testing.assert_allclose(batch_weights(weights, NAMES[:3], SIZES[:3]), expected)


@pytest.mark.parametrize(
    "weights",
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [1, 2, 3, 0],
        [1, 2, 3, -1],
        [1, 2, 3, np.nan],
        {"a": 1},
        ["a", ["b", "c"]],
    ],
)
def test_weights_that_miss_a_batch_or_are_not_positive_are_refused(weights):
    with pytest.raises(ValueError, match=r"every batch .* positive weight"):
        batch_weights(weights, NAMES, SIZES)


def test_a_tree_that_names_a_batch_twice_is_refused():
    with pytest.raises(ValueError, match="name 'b' twice"):
        batch_weights(["a", ["b", "c"], ["b", "d"]], NAMES, SIZES)


@pytest.mark.parametrize("density", [0.05, 0.6])
def test_the_number_of_gram_matrices_does_not_grow_with_cells(rng, density, monkeypatch):
    from mnncorrect.core.matrix.rows import Rows

    x = sparse.random(1500, 30, density, format="csr", random_state=1, dtype=np.float64)
    cells = rng.random(1500)
    mean = cells @ x.toarray() / cells.sum()
    monkeypatch.setattr(gram, "ROW_BLOCK", 16)
    monkeypatch.setattr(gram, "GRAM_BLOCK", 16)
    summed, sums = gram.sum_blocks, []

    def counted(function, blocks, **how):
        sums.append(len(blocks))
        return summed(function, blocks, **how)

    monkeypatch.setattr(gram, "sum_blocks", counted)
    made = gram.gram(Rows(x), cells, mean, 1)
    z = np.sqrt(cells)[:, None] * (x.toarray() - mean)
    np.testing.assert_allclose(made, z.T @ z, rtol=1e-9, atol=1e-12)
    assert gram.MOST_SUMS // 2 < sums[0] <= gram.MOST_SUMS
