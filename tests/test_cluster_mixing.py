"""Clusters in which batches are still apart are named where clusters are found."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pytest

from mnncorrect import pp, tl
from mnncorrect.tl._cluster_mixing import mixing_in_clusters

N, DIMS = 60, 8


@pytest.fixture(scope="module")
def corrected():
    rng = np.random.default_rng(0)
    kind = np.tile(np.repeat([0, 1, 2], N), 2)
    batch = np.repeat(["a", "b"], 3 * N)
    x = rng.normal(size=(3, DIMS))[kind] * 6 + rng.normal(size=(6 * N, DIMS))
    x[batch == "b"] += 1.5
    adata = anndata.AnnData(np.zeros((6 * N, 1), np.float32))
    adata.obs["batch"] = batch
    adata.obs["kind"] = kind
    adata.obsm["X_pca"] = x.astype(np.float32)
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    return adata


def measured(adata, use_rep="X_mnn"):
    return mixing_in_clusters(
        adata, use_rep, adata.obs["kind"].to_numpy(), random_state=0, n_jobs=1
    )


def test_clusters_that_mix_are_not_warned_of(corrected, caplog):
    with caplog.at_level(logging.WARNING, logger="mnncorrect"):
        table = measured(corrected)
    assert table["state"].tolist() == ["mixed"] * 3
    assert table["cells"].tolist() == [2 * N] * 3
    assert not caplog.records


def test_a_cluster_whose_batches_are_apart_is_named(corrected, caplog):
    adata = corrected.copy()
    moved = (adata.obs["kind"] == 1) & (adata.obs["batch"] == "b")
    adata.obsm["X_mnn"][moved.to_numpy()] += 9
    with caplog.at_level(logging.WARNING, logger="mnncorrect"):
        table = measured(adata)
    assert table["state"].tolist() == ["mixed", "apart", "mixed"]
    (record,) = caplog.records
    assert "1 (0.0" in record.getMessage()


def test_a_cluster_without_a_counterpart_is_not_called_apart(corrected):
    adata = corrected.copy()
    moved = (adata.obs["kind"] == 1) & (adata.obs["batch"] == "b")
    adata.obsm["X_mnn"][moved.to_numpy()] += 9
    adata.obs.loc[adata.obs["kind"] == 1, "mnn_confidence"] = 0.01
    assert measured(adata)["state"].tolist() == ["mixed", "no counterpart", "mixed"]


def test_other_embeddings_have_no_mixing(corrected):
    assert measured(corrected, "X_pca") is None
    without = corrected.copy()
    del without.obs["batch"]
    assert measured(without) is None


def test_clusters_keep_the_mixing_of_their_batches(corrected, tmp_path):
    adata = corrected.copy()
    tl.gmm(adata, n_components=3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    table = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gmm"]["mixing"]
    assert table["cells"].sum() == adata.n_obs
    assert set(table["state"]) == {"mixed"}
    tl.gmm(adata, use_rep="X_pca", n_components=3)
    assert "mixing" not in adata.uns["gmm"]
