"""Sums over cells: rows with few numbers give what dense ones give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.matrix import gram
from mnncorrect.core.matrix.pca import multibatch_pca, pca
from mnncorrect.core.matrix.rows import Rows, RowSource, as_rows


@pytest.fixture
def x(rng, monkeypatch):
    """Cells x genes, a tenth of which is not zero; one gene is in all cells, one in none."""
    monkeypatch.setattr(gram, "ROW_BLOCK", 16)
    monkeypatch.setattr(gram, "GRAM_BLOCK", 50)
    x = rng.gamma(2.0, size=(130, 30)) * (rng.random((130, 30)) < 0.1)
    x[:, 3], x[:, 7], x[11] = rng.gamma(50.0, size=130), 0, 0
    return x


def of_everything(make, x, dtype):
    matrix = make(x.astype(dtype))
    if make is sparse.csr_matrix:
        # Indices that are not sorted.
        matrix = sparse.csr_matrix(
            (matrix.data[::-1], matrix.indices[::-1], matrix.nnz - matrix.indptr[::-1]),
            shape=x.shape,
        )[::-1]
    return matrix


@pytest.mark.parametrize("genes", [None, np.array([20, 3, 5, 0, 7])])
@pytest.mark.parametrize("scale", [None, np.linspace(0.5, 3, 130)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_sparse_sums_are_those_of_dense_rows(x, genes, scale, dtype, n_jobs, monkeypatch):
    monkeypatch.setattr(gram, "SPARSE_SHARE", 0.5)
    cells = np.linspace(1, 2, 130)
    values = x.astype(dtype).astype(np.float64)
    values = values if scale is None else values / scale[:, None]
    values = values if genes is None else values[:, genes]
    mean = cells @ values / cells.sum()
    expected = (cells[:, None] * (values - mean)).T @ (values - mean)
    matrix = of_everything(sparse.csr_matrix, x, dtype)
    source = RowSource(matrix.__getitem__, x.shape, matrix.dtype)
    for given in (x.astype(dtype), matrix, source):
        rows = Rows(as_rows(given), scale, genes)
        assert gram.has_few_values(rows) == (
            given is not None and not isinstance(given, np.ndarray)
        )
        np.testing.assert_allclose(gram.weighted_mean(rows, cells, n_jobs), mean, rtol=1e-12)
        found = gram.gram(rows, cells, mean, n_jobs)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(found, found.T)


def test_rows_with_many_numbers_are_taken_dense(x):
    assert not gram.has_few_values(Rows(as_rows(sparse.csr_matrix(x + 1))))
    assert gram.has_few_values(Rows(as_rows(sparse.csr_matrix(x))))


def test_threads_do_not_change_a_bit(x):
    rows = Rows(as_rows(sparse.csr_matrix(x)))
    cells, mean = np.ones(130), x.mean(0)
    one, two = (gram.gram(rows, cells, mean, n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_components_of_sparse_cells_are_those_of_dense_ones(x, monkeypatch):
    monkeypatch.setattr("mnncorrect.core.matrix.pca.SVD_CELLS", 3)
    for found, expected in (
        (pca(sparse.csr_matrix(x), 5), pca(x, 5)),
        (
            multibatch_pca(sparse.csr_matrix(x), np.arange(130) % 3, 5),
            multibatch_pca(x, np.arange(130) % 3, 5),
        ),
    ):
        np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-8)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-8)
        np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-9)
