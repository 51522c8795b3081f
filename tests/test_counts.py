"""Counts are told by looking, and what is done to them is what scanpy does."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from mnncorrect._adata import Batches
from mnncorrect._prepare import count_survey

CONTAINERS = [np.asarray, sp.csr_matrix, sp.csc_matrix]
AS_TOLD = count_survey.Wanted(genes=False)


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(rng.gamma(0.5, 4.0, size=25), size=(60, 25)).astype(np.float32)


def surveyed(matrix, wanted=AS_TOLD, batches=None, block_bytes=1 << 20):
    values = count_survey.take(anndata.AnnData(matrix), block_bytes=block_bytes)
    return count_survey.survey(values, batches, wanted, n_jobs=2)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("block_bytes", [1, 1000, 1 << 20])
def test_what_is_found_is_what_is_there(container, block_bytes, counts) -> None:
    found = surveyed(container(counts), block_bytes=block_bytes).range
    assert (found.smallest, found.largest) == (counts.min(), counts.max())
    assert (found.n_negative, found.whole, found.are_counts) == (0, True, True)
    counts[5, 5], counts[9, 9] = -2, -0.5
    logs = count_survey.Wanted(counts=False, genes=False)
    found = surveyed(container(counts), logs, block_bytes=block_bytes).range
    assert (found.smallest, found.n_negative, found.whole) == (-2, 2, True)
    counts[8, 8] = 0.25
    assert not surveyed(container(counts), block_bytes=block_bytes).range.whole


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.float64])
def test_counts_of_every_type_are_counts(dtype, counts) -> None:
    assert surveyed(counts.astype(dtype)).are_counts


def test_zeros_and_ones_alone_are_not_taken_for_counts(counts) -> None:
    assert not surveyed((counts > 0).astype(np.float32)).are_counts
    assert not surveyed(np.zeros((3, 2), np.float32)).are_counts


def test_a_late_fraction_makes_log_values_of_what_began_as_counts(counts) -> None:
    batches = Batches(np.arange(60) % 2, ("a", "b"))
    counts[59, 3] = 1.5
    found = surveyed(sp.csr_matrix(counts), count_survey.Wanted(), batches, block_bytes=400)
    assert not found.are_counts
    assert not found.changes
    expected = np.expm1(counts[::2].astype(np.float64)).mean(0)
    np.testing.assert_allclose(found.moments.mean[0], expected, rtol=1e-5)


def test_an_empty_sparse_matrix_can_be_looked_at() -> None:
    found = surveyed(sp.csr_matrix((4, 3), dtype=np.float32)).range
    assert (found.smallest, found.largest, found.are_counts) == (0, 0, False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: np.log1p(x) - 1.5, "is it scaled"),
        (lambda x: x * 10.5, "too large for logarithms"),
    ],
)
def test_doubtful_values_are_warned_of(change, says, counts, caplog) -> None:
    with caplog.at_level(logging.WARNING, "mnncorrect"):
        assert not surveyed(change(counts)).are_counts
    assert says in caplog.text


@pytest.mark.parametrize("container", CONTAINERS)
def test_normalising_is_scanpys_and_changes_nothing(container, counts) -> None:
    matrix = container(counts.copy())
    rows = matrix if isinstance(matrix, np.ndarray) else matrix.tocsr()
    found = surveyed(matrix).normalise(rows, slice(None))
    expected = anndata.AnnData(sp.csr_matrix(counts))
    scanpy.pp.normalize_total(expected)
    scanpy.pp.log1p(expected)
    dense = found.toarray() if sp.issparse(found) else found
    np.testing.assert_allclose(dense, expected.X.toarray(), rtol=1e-6)
    given = matrix.toarray() if sp.issparse(matrix) else matrix
    np.testing.assert_array_equal(given, counts)


def test_cells_without_counts_stay_zero(counts) -> None:
    counts[7] = 0
    found = surveyed(counts)
    made = found.normalise(counts, slice(None))
    assert (made[7] == 0).all()
    assert found.target == np.median(np.delete(counts.sum(1), 7))


def test_genes_can_be_chosen_with_small_and_empty_batches(counts) -> None:
    counts[40:42] = 0
    counts[:, 3] = 2
    codes = np.repeat([0, 1, 2], [40, 2, 18])
    batches = Batches(codes, ("large", "tiny", "other"))
    for block_bytes in (1 << 20, 1000):
        values = count_survey.take(anndata.AnnData(sp.csr_matrix(counts)), block_bytes=block_bytes)
        found = count_survey.survey(values, batches, count_survey.Wanted())
        assert count_survey.choose_genes(values, found, batches, 10).sum() == 10
        assert count_survey.choose_genes(values, found, batches, 25).all()


@pytest.mark.parametrize("logged", [False, True])
def test_blocks_do_not_change_the_genes(logged, rng) -> None:
    """Not more than one block is left to scanpy; more are not."""
    rates = rng.gamma(0.3, 3.0, size=800) * rng.gamma(3.0, 0.3, size=(200, 1))
    x = sp.csr_matrix(rng.poisson(rates * np.exp(0.5 * rng.normal(size=(200, 800)))), dtype="f4")
    adata = anndata.AnnData(x)
    if logged:
        scanpy.pp.normalize_total(adata)
        scanpy.pp.log1p(adata)
    batches = Batches(np.arange(200) % 3, ("a", "b", "c"))
    chosen = []
    for block_bytes in (1 << 25, 10_000):
        values = count_survey.take(adata, block_bytes=block_bytes)
        found = count_survey.survey(values, batches, count_survey.Wanted())
        assert found.are_counts == (not logged)
        chosen.append(count_survey.choose_genes(values, found, batches, 150))
    assert len(values.blocks()) > 10
    np.testing.assert_array_equal(*chosen)
