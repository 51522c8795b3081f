"""Clusters by Gaussian mixture, on AnnData."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pl, tl
from mnncorrect.core.matrix import gain
from mnncorrect.core.matrix.gain import more_dimensions
from mnncorrect.core.matrix.mixture import fit_mixture


@pytest.fixture
def adata(rng):
    """Cells of three sizes of clusters in obsm["X_mnn"]; the truth in obs."""
    truth = rng.permutation(np.repeat([0, 1, 2], [60, 35, 20]))
    data = anndata.AnnData(np.zeros((len(truth), 1), np.float32))
    centres = np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 9]])
    data.obsm["X_mnn"] = (centres[truth] + rng.normal(size=(len(truth), 3))).astype(np.float32)
    data.obs["truth"] = pd.Categorical(truth.astype(str))
    return data


def test_clusters_are_stored_where_they_belong(adata):
    assert tl.gmm(adata, n_components=range(1, 6), n_jobs=1) is None
    labels = adata.obs["gmm"]
    assert labels.cat.categories.tolist() == ["0", "1", "2"]
    assert (labels.astype(str) == adata.obs["truth"].astype(str)).all()
    proba = adata.obsm["gmm_proba"]
    assert proba.dtype == np.float32
    assert proba.shape == (115, 3)
    assert np.allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(proba.argmax(axis=1), labels.cat.codes)
    stored = adata.uns["gmm"]
    assert stored["n_components"] == 3
    assert stored["converged"] is True
    assert stored["fitted_on"] == 115
    assert stored["n_iter"] == len(stored["log_likelihood"])
    table = stored["bic"]
    assert list(table.columns) == [
        "n_components",
        "bic",
        "icl",
        "log_likelihood",
        "converged",
        "as_good",
    ]
    assert table["as_good"].to_numpy()[2]
    assert 0 < stored["agreement"] <= 1
    assert table["n_components"].tolist() == [1, 2, 3, 4, 5]
    assert table["bic"].to_numpy().argmin() == table["icl"].to_numpy().argmin() == 2
    assert stored["n_clusters"] == 3
    assert stored["overlap"]["n_clusters"].tolist() == [3, 2]
    assert (stored["overlap"]["overlap"] < 0.03).all()
    assert stored["params"]["criterion"] == "icl"
    assert stored["params"]["dims_chosen"] == "by elbow"
    assert stored["params"]["use_rep"] == "X_mnn"
    assert stored["params"]["n_components"] == "[1, 2, 3, 4, 5]"
    assert stored["provenance"]["random_state"] == 0


def test_the_numbers_are_those_of_the_core(adata):
    tl.gmm(adata, n_components=4, covariance_type="diag", n_init=2, random_state=3, n_jobs=1)
    fit = fit_mixture(
        adata.obsm["X_mnn"], 4, covariance_type="diag", n_init=2, random_state=3, n_jobs=1
    )
    assert np.array_equal(adata.obs["gmm"].cat.codes, fit.labels)
    assert np.array_equal(adata.obsm["gmm_proba"], fit.proba)
    assert np.array_equal(adata.uns["gmm"]["log_likelihood"], fit.log_likelihood)


def test_the_embedding_is_found_or_named(adata):
    adata.obsm["X_mnn_pca"] = adata.obsm["X_mnn"][:, ::-1]
    adata.obsm["X_pca"] = adata.obsm["X_mnn"]
    one = tl.gmm(adata, n_components=3, copy=True)
    named = tl.gmm(adata, n_components=3, use_rep="X_pca", copy=True)
    assert one.uns["gmm"]["params"]["use_rep"] == "X_mnn"
    assert np.array_equal(one.obs["gmm"], named.obs["gmm"])
    del adata.obsm["X_mnn"]
    assert tl.gmm(adata, n_components=3, copy=True).uns["gmm"]["params"]["use_rep"] == "X_mnn_pca"
    del adata.obsm["X_mnn_pca"]
    with pytest.raises(KeyError, match=r"'X_mnn' or 'X_mnn_pca'.*'X_pca'"):
        tl.gmm(adata)
    with pytest.raises(KeyError, match="obsm has no 'X_umap'; it has: 'X_pca'"):
        tl.gmm(adata, use_rep="X_umap")


def test_leading_dimensions_are_used(adata):
    cut = tl.gmm(adata, n_components=2, n_dims=2, copy=True)
    adata.obsm["X_mnn"] = adata.obsm["X_mnn"][:, :2]
    whole = tl.gmm(adata, n_components=2, n_dims=None, copy=True)
    assert np.array_equal(cut.obsm["gmm_proba"], whole.obsm["gmm_proba"])
    assert cut.uns["gmm"]["params"]["n_dims"] == 2
    with pytest.warns(UserWarning, match=r"`n_dims` is 99.* has 2"):
        many = tl.gmm(adata, n_components=2, n_dims=99, copy=True)
    assert many.uns["gmm"]["params"]["n_dims"] == 2
    with pytest.raises(ValueError, match="n_dims is 0"):
        tl.gmm(adata, n_dims=0)


def test_dimensions_after_the_elbow_are_left_out(adata, rng, caplog):
    noise = rng.normal(size=(115, 30)).astype(np.float32) * 0.1
    adata.obsm["X_mnn"] = np.hstack([adata.obsm["X_mnn"][:, [1, 2, 0] * 2], noise])
    adata.obsm["X_mnn"] += rng.normal(size=(115, 36)).astype(np.float32) * 0.01
    with caplog.at_level(logging.INFO, "mnncorrect"):
        tl.gmm(adata, n_components=[2, 3])
    assert adata.uns["gmm"]["params"]["n_dims"] == 6
    assert "in 6 dimensions" in caplog.text
    with pytest.raises(ValueError, match=r"n_dims is 'most'.*\"auto\""):
        tl.gmm(adata, n_dims="most")


def test_more_dimensions_are_used_where_they_show_clusters_better(rng, monkeypatch, caplog):
    monkeypatch.setattr(gain, "COMPARED_NUMBERS", (3, 10))
    monkeypatch.setattr(gain, "FEWEST_CELLS", 100)
    x = rng.normal(size=(120, 20)) * np.r_[np.full(4, 6.0), np.ones(16)]
    x[:, 0] += rng.choice([-1, 1], size=120) * 30
    x[:, 5:10] = rng.normal(size=(120, 5)) * 0.2 + np.eye(5)[rng.integers(5, size=120)] * 3
    adata = anndata.AnnData(np.zeros((120, 1), np.float32), obsm={"X_mnn": x})
    with caplog.at_level(logging.INFO, "mnncorrect"):
        tl.gmm(adata, n_components=[2, 12], n_init=2)
    assert "10 dimensions" in caplog.text
    params, table = (adata.uns["gmm"][name] for name in ("params", "dimensions"))
    assert (params["n_dims"], params["dims_chosen"]) == (10, "by gain")
    expected = more_dimensions(x, 5, n_init=2)
    assert table["n_dims"].tolist() == expected.compared.tolist() == [5, 10, 20]
    assert np.array_equal(table["gain"], expected.gain)
    assert np.array_equal(table["standard_errors"], expected.rise, equal_nan=True)
    label = pl.bic(adata, show=False).get_xlabel()
    assert all(
        f"{n_dims}: {one:.2f}" in label
        for n_dims, one in zip(table["n_dims"], table["gain"], strict=True)
    )
    for options in ({"n_dims": 5}, {"n_components": 3}):  # the number or the elbow decides
        tl.gmm(adata, **{"n_components": [2, 3], "n_init": 1} | options)
        assert adata.uns["gmm"]["params"]["n_dims"] == 5
        assert "dimensions" not in adata.uns["gmm"]


def test_the_log_says_how_many_components_were_merged(rng, caplog):
    angle = rng.uniform(0, np.pi, 500)
    adata = anndata.AnnData(np.zeros((500, 1), np.float32))
    bow = 3 * np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(size=(500, 2)) * 0.7
    adata.obsm["X_mnn"] = bow
    with caplog.at_level(logging.INFO, "mnncorrect"):
        tl.gmm(adata, n_components=range(1, 9), n_init=1, criterion="bic")
    stored = adata.uns["gmm"]
    assert stored["n_clusters"] == 1 < stored["n_components"]
    assert f"{stored['n_components'] - 1} overlapping ones were merged" in caplog.text


def test_a_fit_that_has_not_converged_warns_and_says_what_to_change(adata):
    with pytest.warns(UserWarning, match="not converged in 1 iterations; raise max_iter") as caught:
        tl.gmm(adata, n_components=4, max_iter=1, tol=1e-9)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert adata.uns["gmm"]["converged"] is False


def test_of_many_cells_a_sample_is_fitted(adata, caplog):
    with caplog.at_level(logging.INFO, "mnncorrect"):
        tl.gmm(adata, n_components=3, max_fit=80)
    assert adata.uns["gmm"]["fitted_on"] == 80
    assert len(adata.obs["gmm"]) == 115
    assert "a sample of 80 of 115 cells" in caplog.text


def test_the_log_says_when_more_clusters_may_fit_better(adata, caplog):
    with caplog.at_level(logging.INFO, "mnncorrect"):
        tl.gmm(adata, n_components=[1, 2])
        assert "the largest number tried" in caplog.text
        caplog.clear()
        tl.gmm(adata, n_components=2)
        assert "the largest number tried" not in caplog.text


def test_clusters_survive_a_file_and_equal_runs_give_equal_files(adata, tmp_path):
    for name, n_jobs in (("a", 1), ("b", 2)):
        result = tl.gmm(adata, n_components=[2, 3], n_jobs=n_jobs, copy=True)
        result.write_h5ad(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = anndata.read_h5ad(tmp_path / "a")
    pd.testing.assert_frame_equal(back.uns["gmm"]["bic"], result.uns["gmm"]["bic"])
    assert back.obs["gmm"].equals(result.obs["gmm"])
    assert np.array_equal(back.obsm["gmm_proba"], result.obsm["gmm_proba"])


def test_a_view_gets_clusters_and_its_parent_does_not(adata):
    view = adata[:90]
    tl.gmm(view, n_components=3, key_added="mix")
    assert view.obs["mix"].nunique() == 3
    assert "mix_proba" in view.obsm
    assert "mix" not in adata.obs


def test_an_embedding_that_is_not_fit_is_refused(adata):
    adata.obsm["X_mnn"][:, 1] = 0
    with pytest.raises(ValueError, match="1 of 3 dimensions are constant"):
        tl.gmm(adata)
    adata.obsm["X_mnn"][5, 0] = np.nan
    with pytest.raises(ValueError, match=r"obsm\['X_mnn'\] has 1 values that are not finite"):
        tl.gmm(adata)
    assert "gmm" not in adata.obs
