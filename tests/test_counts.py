"""Counts are told by looking, and what is done to them is what scanpy does."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from mnncorrect._adata import Batches
from mnncorrect._prepare import count_survey, expression_values
from mnncorrect._prepare.decide import JudgedGroups, decide
from mnncorrect.core.matrix.value_kinds import Statistics, look

CONTAINERS = [np.asarray, sp.csr_matrix, sp.csc_matrix]
AS_TOLD = count_survey.WantedSteps(genes=False)


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(rng.gamma(0.5, 4.0, size=25), size=(60, 25)).astype(np.float32)


def surveyed(matrix, wanted=AS_TOLD, batches=None, block_bytes=1 << 20):
    values = expression_values.take(anndata.AnnData(matrix), block_bytes=block_bytes)
    return count_survey.survey(values, batches, wanted, n_jobs=2)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("block_bytes", [1, 1000, 1 << 20])
def test_what_is_found_is_what_is_there(container, block_bytes, counts) -> None:
    found = surveyed(container(counts), block_bytes=block_bytes).verdict
    judged = found.judged
    assert (judged.smallest, judged.largest) == (counts.min(), counts.max())
    assert (judged.n_negative, judged.whole, found.counts) == (0, True, True)
    counts[5, 5], counts[9, 9] = -2, -0.5
    logs = count_survey.WantedSteps(counts=False, genes=False)
    judged = surveyed(container(counts), logs, block_bytes=block_bytes).verdict.judged
    assert (judged.smallest, judged.n_negative, judged.whole) == (-2, 2, True)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.float64])
def test_counts_of_every_type_are_counts(dtype, counts) -> None:
    assert surveyed(counts.astype(dtype)).are_counts


@pytest.mark.parametrize("binary", [True, False])
def test_zeros_and_ones_and_zeros_alone_are_refused(binary, counts) -> None:
    x = (counts > 0).astype(np.float32) if binary else np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="counts" if binary else "zeros only"):
        surveyed(x)


@pytest.mark.parametrize("first", [True, False])
def test_a_fraction_among_counts_makes_counts_with_fractions_of_them(first, counts) -> None:
    batches = Batches(np.arange(60) % 2, ("a", "b"))
    counts[0 if first else 59, 3] = 1.5
    found = surveyed(sp.csr_matrix(counts), count_survey.WantedSteps(), batches, block_bytes=400)
    assert found.are_counts
    assert found.verdict.judged.kind == "fractional counts"
    shares = counts / counts.sum(1, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(found.moments.mean[0], shares[::2].mean(0), rtol=1e-5)


def test_counts_beside_what_was_made_of_counts_are_warned_of() -> None:
    x = np.random.default_rng(0).poisson(3.0, (60, 30)).astype(np.float32)
    x[::2] *= 0.77
    groups = JudgedGroups(np.arange(60) % 2, ("made", "plain"))
    looks = Statistics()
    looks.add(0, look(x))
    found = decide(looks, "X", groups=groups)
    assert found.counts
    (text,) = found.warnings
    assert "'made'" in text
    assert "'plain'" in text


def test_moments_are_taken_again_where_the_first_block_misleads(counts) -> None:
    """Its cells have zeros and ones only, as counts have now and then."""
    counts[:20] = counts[:20] > 0
    batches = Batches(np.arange(60) // 30, ("a", "b"))
    found = surveyed(sp.csr_matrix(counts), count_survey.WantedSteps(), batches, block_bytes=400)
    shares = counts / counts.sum(1, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(found.moments.mean[0], shares[:30].mean(0), rtol=1e-5)


def test_scaled_values_are_warned_of(counts, caplog) -> None:
    with caplog.at_level(logging.WARNING, "mnncorrect"):
        assert not surveyed(np.log1p(counts) - 1.5).are_counts
    assert "negative values" in caplog.text


@pytest.mark.slow  # scanpy compiles its own loops
@pytest.mark.parametrize("container", CONTAINERS)
def test_normalising_is_scanpys_and_changes_nothing(container, counts) -> None:
    matrix = container(counts.copy())
    rows = matrix if isinstance(matrix, np.ndarray) else matrix.tocsr()
    found = surveyed(matrix).normalize(rows, slice(None))
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
    made = found.normalize(counts, slice(None))
    assert (made[7] == 0).all()
    assert found.target == np.median(np.delete(counts.sum(1), 7))


def test_genes_can_be_chosen_with_small_and_empty_batches(counts) -> None:
    counts[40:42] = 0
    counts[:, 3] = 2
    codes = np.repeat([0, 1, 2], [40, 2, 18])
    batches = Batches(codes, ("large", "tiny", "other"))
    for block_bytes in (1 << 20, 1000):
        values = expression_values.take(
            anndata.AnnData(sp.csr_matrix(counts)), block_bytes=block_bytes
        )
        found = count_survey.survey(values, batches, count_survey.WantedSteps())
        assert count_survey.choose_genes(values, found, 10).sum() == 10
        assert count_survey.choose_genes(values, found, 25).all()


@pytest.mark.parametrize("logged", [False, True])
def test_blocks_do_not_change_the_genes(logged, rng) -> None:
    rates = rng.gamma(0.3, 3.0, size=800) * rng.gamma(3.0, 0.3, size=(200, 1))
    x = sp.csr_matrix(rng.poisson(rates * np.exp(0.5 * rng.normal(size=(200, 800)))), dtype="f4")
    if logged:  # not by scanpy, which compiles its own loops for sparse values
        x = sp.csr_matrix(np.log1p(1e3 * x.toarray() / np.asarray(x.sum(1))), dtype="f4")
    adata = anndata.AnnData(x)
    batches = Batches(np.arange(200) % 3, ("a", "b", "c"))
    chosen, ranked = [], []
    for block_bytes in (1 << 25, 100_000, 10_000, 1):
        values = expression_values.take(adata, block_bytes=block_bytes)
        found = count_survey.survey(values, batches, count_survey.WantedSteps())
        assert found.are_counts == (not logged)
        chosen.append(count_survey.choose_genes(values, found, 150))
        ranked.append(found.moments.variance)
    assert len(values.blocks()) > 10
    for mask, variance in zip(chosen, ranked, strict=True):
        np.testing.assert_array_equal(mask, chosen[0])
        np.testing.assert_array_equal(variance, ranked[0])
