"""What is read off blocks of counts, against numpy and scanpy on all of them."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from mnncorrect.core.matrix import block_counts

CONTAINERS = {"dense": np.array, "csr": sp.csr_matrix}


@pytest.fixture
def counts(rng):
    """Counts with an empty cell and an empty gene, and batch codes that come in no order."""
    x = rng.poisson(rng.gamma(0.4, 3.0, size=40), size=(150, 40)).astype(np.float32)
    x[17] = 0
    x[:, 5] = 0
    return x, rng.integers(0, 3, 150)


@pytest.mark.parametrize("size", [1, 7, 64, 150])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_moments_do_not_depend_on_the_blocks(counts, kind, size):
    x, batch = counts
    total = block_counts.no_moments(3, 40)
    for start in range(0, 150, size):
        block = slice(start, start + size)
        part = block_counts.moments(CONTAINERS[kind](x[block]), batch[block])
        block_counts.add_moments(total, part)
    for b in range(3):
        cells = x[batch == b].astype(np.float64)
        np.testing.assert_allclose(total.mean[b], cells.mean(0), rtol=1e-12)
        np.testing.assert_allclose(total.variance[b], cells.var(0, ddof=1), rtol=1e-11)
        np.testing.assert_array_equal(total.positive[b], (cells > 0).sum(0))
        assert total.sizes[b] == len(cells)


def test_moments_are_the_same_to_the_last_digit_for_all_blocks(rng):
    x = sp.csr_matrix(np.expm1(rng.gamma(0.3, 2.0, (400, 30)) * 1.7).astype(np.float32))
    batch = rng.integers(0, 2, 400)
    found = []
    for size in (1, 3, 64, 399, 400):
        total = block_counts.no_moments(2, 30)
        for start in range(0, 400, size):
            block = slice(start, start + size)
            block_counts.add_moments(total, block_counts.moments(x[block], batch[block]))
        found.append((total.mean, total.variance))
    for mean, variance in found[1:]:
        np.testing.assert_array_equal(mean, found[0][0])
        np.testing.assert_array_equal(variance, found[0][1])


def test_small_spread_about_a_large_mean_does_not_cancel(rng):
    x = 1e6 + rng.normal(size=(300, 4))
    total = block_counts.no_moments(1, 4)
    for start in range(0, 300, 50):
        block = slice(start, start + 50)
        block_counts.add_moments(total, block_counts.moments(x[block], np.zeros(50, np.int64)))
    np.testing.assert_allclose(total.variance[0], x.var(0, ddof=1), rtol=1e-9)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_moments_of_a_block_take_no_more_memory_than_its_values(rng, kind):
    batch = rng.permutation(1000)[:50]
    x = CONTAINERS[kind]((rng.random((50, 300)) < 0.01).astype(np.float32))
    part = block_counts.moments(x, batch)
    assert part.batches.tolist() == sorted(batch)
    assert len(part.genes) == len(part.sums) == np.count_nonzero(sp.csr_matrix(x).data)
    total = block_counts.no_moments(1000, 300)
    block_counts.add_moments(total, part)
    added = np.zeros((1000, 300))
    added[batch] = sp.csr_matrix(x).toarray()
    np.testing.assert_array_equal(total.mean, added)
    np.testing.assert_array_equal(total.sizes, np.isin(np.arange(1000), batch))


@pytest.mark.parametrize("log1p", [True, False])
@pytest.mark.parametrize(("kind", "dtype"), [
    ("dense", np.float32),
    ("csr", np.float32),
    ("dense", np.float64),
    pytest.param("csr", np.float64, marks=pytest.mark.slow),  # scanpy compiles its loop for it
])  # fmt: skip
def test_normalised_blocks_are_scanpys_values_to_the_bit(counts, kind, dtype, log1p):
    x = np.delete(counts[0], 17, axis=0).astype(dtype)
    adata = anndata.AnnData(CONTAINERS[kind](x))
    scanpy.pp.normalize_total(adata)
    if log1p:
        scanpy.pp.log1p(adata)
    totals = block_counts.cell_totals(CONTAINERS[kind](x))
    target = np.median(totals)
    for block in (slice(0, 50), slice(50, 149)):
        made = block_counts.normalize(
            CONTAINERS[kind](x[block]), totals[block], target, log1p=log1p
        )
        assert made.dtype == dtype
        difference = made - adata.X[block]
        assert abs(difference).max() == 0


@pytest.mark.parametrize("kind", CONTAINERS)
def test_cells_without_counts_stay_zero_and_the_block_is_not_changed(counts, kind):
    block = CONTAINERS[kind](counts[0])
    before = block.copy()
    made = block_counts.normalize(block, block_counts.cell_totals(block), 100.0)
    assert abs(block - before).max() == 0
    assert abs(made[17]).sum() == 0
    np.testing.assert_array_equal(
        block_counts.normalize(counts[0], None, log1p=False), counts[0], strict=True
    )


def test_totals_are_added_in_double(rng):
    x = sp.csr_matrix(np.array([[2.0**24, 1, 1]], np.float32))
    assert block_counts.cell_totals(x)[0] == 2.0**24 + 2
