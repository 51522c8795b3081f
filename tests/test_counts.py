"""Counts are told by looking, and what is done to them is what scanpy does."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from mnncorrect import _counts
from mnncorrect._adata import Batches

CONTAINERS = [np.asarray, sp.csr_matrix, sp.csc_matrix]


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(rng.gamma(0.5, 4.0, size=25), size=(60, 25)).astype(np.float32)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("looked_at", [1, 7, 1 << 20])
def test_what_is_found_is_what_is_there(container, looked_at, counts, monkeypatch) -> None:
    monkeypatch.setattr(_counts, "LOOKED_AT", looked_at)
    found = _counts.look_at(anndata.AnnData(container(counts)))
    assert (found.smallest, found.largest) == (counts.min(), counts.max())
    assert (found.n_negative, found.whole, found.are_counts) == (0, True, True)
    counts[5, 5], counts[9, 9] = -2, -0.5
    found = _counts.look_at(anndata.AnnData(container(counts)))
    assert (found.smallest, found.n_negative, found.whole) == (-2, 2, True)
    counts[8, 8] = 0.25
    assert not _counts.look_at(anndata.AnnData(container(counts))).whole


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.float64])
def test_counts_of_every_type_are_counts(dtype, counts) -> None:
    assert _counts.look_at(anndata.AnnData(counts.astype(dtype))).are_counts


def test_zeros_and_ones_alone_are_not_taken_for_counts(counts) -> None:
    assert not _counts.look_at(anndata.AnnData((counts > 0).astype(np.float32))).are_counts
    assert not _counts.look_at(anndata.AnnData(np.zeros((3, 2), np.float32))).are_counts


def test_an_empty_sparse_matrix_can_be_looked_at() -> None:
    found = _counts.look_at(anndata.AnnData(sp.csr_matrix((4, 3), dtype=np.float32)))
    assert (found.smallest, found.largest, found.are_counts) == (0, 0, False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: np.log1p(x) - 1.5, "is it scaled"),
        (lambda x: x * 10.5, "too large for logarithms"),
    ],
)
def test_doubtful_values_are_warned_of(change, says, counts, caplog) -> None:
    values = _counts.look_at(anndata.AnnData(change(counts)))
    with caplog.at_level(logging.WARNING, "mnncorrect"):
        assert not _counts.decide_counts(values)
    assert says in caplog.text


@pytest.mark.parametrize("container", CONTAINERS)
def test_normalising_is_scanpys_and_changes_nothing(container, counts) -> None:
    adata = anndata.AnnData(container(counts))
    found = _counts.normalise(adata)
    expected = anndata.AnnData(sp.csr_matrix(counts))
    scanpy.pp.normalize_total(expected)
    scanpy.pp.log1p(expected)
    assert sp.issparse(found) == sp.issparse(adata.X)
    dense = found.toarray() if sp.issparse(found) else found
    np.testing.assert_allclose(dense, expected.X.toarray(), rtol=1e-6)
    given = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    np.testing.assert_array_equal(given, counts)
    assert "log1p" not in adata.uns


def test_cells_without_counts_stay_zero(counts, caplog) -> None:
    counts[7] = 0
    found = _counts.normalise(anndata.AnnData(counts))
    assert (found[7] == 0).all()
    assert "1 cells have no counts at all" in caplog.text


def test_genes_can_be_chosen_with_small_and_empty_batches(counts) -> None:
    counts[40:42] = 0
    counts[:, 3] = 2
    codes = np.repeat([0, 1, 2], [40, 2, 18])
    batches = Batches(codes, ("large", "tiny", "other"))
    logged = _counts.normalise(anndata.AnnData(sp.csr_matrix(counts)))
    assert _counts.choose_genes(logged, batches, 10).sum() == 10
    assert _counts.choose_genes(logged, batches, 25).all()
