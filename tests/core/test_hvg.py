"""Highly variable genes, against scanpy's own."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.sparse as sp

from mnncorrect._io.example import make_example
from mnncorrect.core.matrix import block_counts
from mnncorrect.core.matrix.hvg import highly_variable, normalized_dispersion


def names_of(n_genes):
    """Names in another order than the genes: it decides between genes that do not differ."""
    return [f"gene{g}" for g in range(n_genes)]


def chosen_by_us(counts, batch, n_top_genes, size=70):
    totals = block_counts.cell_totals(counts)
    total = block_counts.no_moments(int(batch.max()) + 1, counts.shape[1])
    for start in range(0, counts.shape[0], size):
        block = slice(start, start + size)
        values = block_counts.normalize(counts[block], totals[block], log1p=False)
        block_counts.add_moments(total, block_counts.moments(values, batch[block]))
    target = np.median(totals)
    batches = (
        (one.mean[0] * target, one.variance[0] * target**2, one.positive[0] > 0)
        for one in total.of_batches()
    )
    return highly_variable(batches, counts.shape[1], n_top_genes, names_of(counts.shape[1]))


def chosen_by_scanpy(counts, batch, n_top_genes):
    adata = anndata.AnnData(counts.copy())
    adata.var_names = names_of(adata.n_vars)
    adata.obs["batch"] = pd.Categorical.from_codes(
        batch, pd.Index([f"b{b}" for b in range(batch.max() + 1)])
    )
    scanpy.pp.normalize_total(adata)
    scanpy.pp.log1p(adata)
    scanpy.pp.highly_variable_genes(adata, n_top_genes=n_top_genes, batch_key="batch")
    return adata.var["highly_variable"].to_numpy()


# Each kind with half of the seeds; with all in the long run.
@pytest.mark.parametrize(("kind", "seed"), [
    pytest.param(kind, seed, marks=() if (number + seed) % 2 == 0 else pytest.mark.slow)
    for number, kind in enumerate([sp.csr_matrix, np.array])
    for seed in range(6)
])  # fmt: skip
def test_the_genes_are_scanpys(seed, kind):
    rng = np.random.default_rng(seed)
    n_cells, n_genes = int(rng.integers(100, 500)), int(rng.integers(200, 900))
    batch = rng.integers(0, rng.integers(2, 5), n_cells)
    rates = rng.gamma(0.3, 2.0, n_genes) * rng.gamma(3.0, 0.3, (n_cells, 1))
    counts = rng.poisson(rates * np.exp(0.6 * rng.normal(size=(n_cells, n_genes))))
    counts[:, 0] += 1  # no cell is empty
    counts[:, 1] = 0  # a gene that no cell has
    counts[batch == 1, 2] = 0  # one that a batch lacks
    counts = kind(counts.astype(np.float32))
    n = int(rng.integers(20, n_genes))
    np.testing.assert_array_equal(
        chosen_by_us(counts, batch, n), chosen_by_scanpy(counts, batch, n)
    )


def test_the_genes_are_scanpys_on_real_cells():
    adata = make_example()
    batch = adata.obs["batch"].cat.codes.to_numpy().astype(np.int64)
    for n in (10, 50, 200, 400):
        np.testing.assert_array_equal(
            chosen_by_us(adata.X, batch, n), chosen_by_scanpy(adata.X, batch, n)
        )


def test_bins_are_those_of_pandas(rng):
    mean, variance = rng.gamma(0.5, 2.0, 300), rng.gamma(1.0, 2.0, 300)
    bins = pd.cut(pd.Series(np.log1p(mean)), bins=20)
    table = pd.DataFrame({"bin": bins, "dispersion": np.log(variance / mean)})
    groups = table.groupby("bin", observed=True)["dispersion"]
    expected = (table["dispersion"] - groups.transform("mean")) / groups.transform("std")
    found = normalized_dispersion(mean, variance)
    several = groups.transform("count") > 1
    np.testing.assert_allclose(found[several], expected[several], rtol=1e-10)
    np.testing.assert_allclose(found[~several], 1.0)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_genes_of_one_mean_share_a_bin(value):
    found = normalized_dispersion(np.full(3, value), np.array([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(found, [-1.0, 0.0, 1.0], atol=1e-12)


def test_a_gene_that_does_not_vary_comes_last():
    mean, variance = np.array([[1.0, 1.1, 1.2]]), np.array([[1.0, 0.0, 3.0]])
    assert np.isnan(normalized_dispersion(mean[0], variance[0])[1])
    mask = highly_variable([(mean[0], variance[0], np.ones(3, bool))], 3, 2)
    np.testing.assert_array_equal(mask, [True, False, True])


def test_batches_outweigh_dispersion_and_a_batch_without_genes_counts_nothing():
    rng = np.random.default_rng(1)
    mean, variance = rng.gamma(2.0, size=(2, 50)), rng.gamma(2.0, size=(2, 50))
    expressed = np.ones((2, 50), bool)
    expressed[1] = False
    mask = highly_variable(zip(mean, variance, expressed, strict=True), 50, 10)
    first = normalized_dispersion(mean[0], variance[0])
    best = np.argsort(-first, kind="stable")[:10]
    np.testing.assert_array_equal(np.flatnonzero(mask), np.sort(best))
