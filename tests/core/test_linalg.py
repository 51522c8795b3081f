"""Cosine normalisation and the taking of rows, for every kind of matrix."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.matrix import rows as linalg
from mnncorrect.core.matrix.rows import Rows, as_rows, cosine_normalize, row_norms, take_dense

CONTAINERS = {
    "dense": np.array,
    "fortran": np.asfortranarray,
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "csr_matrix": sparse.csr_matrix,
}
MASK = np.array([True, False, True, True, False, True, True])


@pytest.fixture(params=CONTAINERS)
def container(request):
    return CONTAINERS[request.param]


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def x(request, rng):
    """Values with zeros among them, a cell without any and a cell of large ones."""
    x = rng.normal(size=(9, 7)) * (rng.random((9, 7)) < 0.6)
    x[4] = 0
    x[5] *= 1e6
    return x.astype(request.param)


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@pytest.mark.parametrize("mask", [None, MASK])
def test_norms_are_those_of_the_formula_in_any_container(x, container, mask, monkeypatch):
    monkeypatch.setattr(linalg, "ROW_BLOCK", 4)
    norms = row_norms(container(x), mask)
    expected = naive.row_norms(x if mask is None else x[:, mask])
    np.testing.assert_allclose(norms, expected, rtol=1e-15)
    assert norms.dtype == np.float64
    np.testing.assert_array_equal(norms, row_norms(x, mask))


def test_norms_of_rows_with_unsorted_columns_are_the_same(x):
    rows = sparse.csr_array(x)
    for i in range(len(x)):
        part = slice(rows.indptr[i], rows.indptr[i + 1])
        rows.indices[part], rows.data[part] = rows.indices[part][::-1], rows.data[part][::-1]
    rows.has_sorted_indices = False
    np.testing.assert_array_equal(row_norms(rows), row_norms(x))


def test_float32_norms_are_summed_in_float64():
    x = np.full((1, 10_000), 0.1, np.float32)
    assert row_norms(x)[0] == pytest.approx(100 * float(np.float32(0.1)), rel=1e-12)


def test_normalised_cells_have_length_one_or_are_zero(x, container):
    normalized = cosine_normalize(container(x))
    assert type(normalized) is type(container(x))
    assert normalized.dtype == x.dtype
    np.testing.assert_allclose(
        dense(normalized), naive.cosine_normalize(x), atol=np.finfo(x.dtype).eps
    )
    lengths = row_norms(normalized)
    np.testing.assert_allclose(np.delete(lengths, 4), 1, rtol=8 * np.finfo(x.dtype).eps)
    assert lengths[4] == 0


def test_sparse_and_dense_are_normalised_to_the_same_bits(x):
    expected = cosine_normalize(x)
    for make in (sparse.csr_array, sparse.csc_array):
        np.testing.assert_array_equal(dense(cosine_normalize(make(x))), expected)


def test_cells_can_be_divided_by_norms_over_some_genes(x, container):
    norms = row_norms(x, MASK)
    normalized = cosine_normalize(container(x), norms)
    np.testing.assert_allclose(
        dense(normalized), naive.cosine_normalize(x, norms), rtol=4 * np.finfo(x.dtype).eps
    )


def test_tiny_cells_are_divided_by_the_floor():
    x = np.array([[3e-10, 4e-10], [0.0, 0.0]])
    np.testing.assert_allclose(cosine_normalize(x), x / 1e-8)


def test_normalising_does_not_change_its_input(x, container):
    given = container(x)
    cosine_normalize(given)
    np.testing.assert_array_equal(dense(given), x)


def test_integers_become_float32(container):
    normalized = cosine_normalize(container(np.array([[3, 4], [0, 0]])))
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(dense(normalized), [[0.6, 0.8], [0, 0]], rtol=1e-7)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("scaled", [False, True])
def test_taken_rows_are_those_of_the_dense_matrix(x, container, mask, scaled, monkeypatch):
    monkeypatch.setattr(linalg, "ROW_BLOCK", 2)
    rows = np.array([7, 0, 5, 4])
    scale = np.arange(1.0, 5.0) if scaled else None
    taken = take_dense(container(x), rows, mask, scale)
    expected = x[rows] if mask is None else x[rows][:, mask]
    if scaled:
        expected = (expected / scale[:, None]).astype(x.dtype)
    np.testing.assert_array_equal(taken, expected)
    assert taken.dtype == x.dtype
    assert taken.flags.c_contiguous


def test_taken_rows_are_a_copy(x):
    taken = take_dense(x, np.arange(len(x)), None, None)
    assert not np.shares_memory(taken, x)


def test_blocks_of_rows_are_dense_float64_scaled_and_cut(x, container):
    genes, scale = np.flatnonzero(MASK), np.arange(1.0, 10.0)
    rows = Rows(as_rows(container(x)), scale, genes)
    assert rows.shape == (9, 5)
    assert rows.dtype == x.dtype
    block = rows[slice(2, 6)]
    expected = x[2:6][:, genes].astype(np.float64) / scale[2:6, None]
    np.testing.assert_array_equal(block, expected)
    assert block.dtype == np.float64
    assert Rows(as_rows(container(x))).shape == (9, 7)
