"""The calibrated method on AnnData: what is read, written, said and refused."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from naive import calibrated as calibrate

from mnncorrect import pp
from mnncorrect.core.calibrated.confidence import UNSURE


@pytest.fixture
def adata(rng):
    """Two batches with a shift, a third like the first, and a population of the second alone."""
    centres = np.eye(10)[:4] * 12
    batch = np.repeat(["one", "two", "three"], [150, 140, 100])
    truth = np.tile([0, 1, 2], 130)
    truth[(batch == "two") & (np.arange(390) % 4 == 0)] = 3
    x = centres[truth] + rng.normal(size=(390, 10)) * 0.6
    x[batch == "two", 7] += 2.5
    obs = pd.DataFrame(
        {"batch": batch, "type": truth.astype(str)}, index=[f"cell{i}" for i in range(390)]
    )
    expression = np.abs(rng.normal(size=(390, 12))) + (truth[:, None] == np.arange(12) % 4) * 3
    return anndata.AnnData(expression, obs=obs, obsm={"X_pca": x})


def test_an_embedding_is_corrected_as_the_core_does(adata):
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    names = ["one", "three", "two"]
    codes = np.array([names.index(name) for name in adata.obs["batch"]])
    correction, confidence = calibrate(
        adata.obsm["X_pca"], codes, names=names, cells=np.array(adata.obs_names, str)
    )
    np.testing.assert_array_equal(adata.obsm["X_mnn"], correction.corrected)
    np.testing.assert_array_equal(adata.obs["mnn_confidence"], confidence)
    merges = adata.uns["mnn"]["merges"]
    np.testing.assert_array_equal(merges["evidence"], [m.evidence for m in correction.merges])
    assert merges["pairs"].sum() == adata.obsp["mnn_pairs"].nnz
    params = adata.uns["mnn"]["params"]
    assert params["method"] == "calibrated"
    assert params["use_rep"] == "X_pca"
    assert params["neighbors"] == "exact"


def test_the_log_says_who_was_left_alone_and_how_many_have_no_counterpart(adata, caplog):
    with caplog.at_level(logging.INFO, logger="mnncorrect"):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    confidence = adata.obs["mnn_confidence"].to_numpy()
    said = " ".join(caplog.messages)
    assert "no batch effect is distinguishable" in said
    assert ": three (" in said
    part = (adata.obs["batch"] != "three").to_numpy()
    low = (confidence[part] < UNSURE).sum()
    assert f"{low} of {part.sum()} cells of the other batches" in said
    lone = (adata.obs["type"] == "3").to_numpy()
    assert np.median(confidence[lone]) < UNSURE
    own = part & ~lone & (adata.obs["batch"] == "two").to_numpy()
    assert np.median(confidence[own]) > 0.8
    skipped = adata.uns["mnn"]["merges"].set_index("right")["skipped"]
    assert skipped.to_dict() == {'["three"]': True, '["two"]': False}


@pytest.mark.parametrize("reference", ["one", "two", "three"])
def test_the_reference_stays_and_is_recorded(adata, reference):
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", reference=reference)
    own = (adata.obs["batch"] == reference).to_numpy()
    np.testing.assert_array_equal(adata.obsm["X_mnn"][own], adata.obsm["X_pca"][own])
    assert adata.uns["mnn"]["params"]["reference"] == reference


def test_a_reference_that_is_no_batch_is_refused(adata):
    with pytest.raises(ValueError, match=r"reference is 'four'.* one, "):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", reference="four")


def test_the_order_of_cells_does_not_change_a_bit(adata, rng):
    order = rng.permutation(adata.n_obs)
    shuffled = adata[order].copy()
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    pp.mnn_calibrated(shuffled, "batch", use_rep="X_pca")
    np.testing.assert_array_equal(shuffled.obsm["X_mnn"], adata.obsm["X_mnn"][order])
    np.testing.assert_array_equal(
        shuffled.obs["mnn_confidence"], adata.obs["mnn_confidence"].iloc[order]
    )


def test_genes_give_components_and_expression(adata):
    pp.mnn_calibrated(adata, "batch", n_comps=4, mask_var=None)
    assert adata.obsm["X_mnn"].shape == (390, 4)
    assert adata.varm["mnn_loadings"].shape == (12, 4)
    assert {"mnn_norm", "mnn_confidence"} <= set(adata.obs)
    pp.mnn_expression(adata)
    assert adata.layers["mnn"].shape == adata.shape


def test_an_earlier_confidence_does_not_stay(adata):
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    pp.mnn_fast(adata, "batch", use_rep="X_pca")
    assert "mnn_confidence" not in adata.obs
    assert "evidence" not in adata.uns["mnn"]["merges"]


def test_the_result_is_kept_by_a_file(adata, tmp_path):
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", key_added="cal")
    adata.write_h5ad(tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(found.obs["cal_confidence"], adata.obs["cal_confidence"])
    np.testing.assert_array_equal(
        found.uns["cal"]["merges"]["evidence"], adata.uns["cal"]["merges"]["evidence"]
    )


@pytest.mark.parametrize("correct_all", [False, True])
def test_corrected_expression_has_the_corrected_components(adata, correct_all):
    adata.var["chosen"] = np.arange(12) < 9
    options = {"n_comps": 4, "mask_var": "chosen", "correct_all": correct_all, "n_jobs": 1}
    found = pp.mnn_calibrated(adata, "batch", write_expression=True, copy=True, **options)
    assert "mnn" not in adata.layers
    layer, norms = found.layers["mnn"], found.obs["mnn_norm"].to_numpy()[:, None]
    used = np.flatnonzero(adata.var["chosen"])
    centred = (layer / norms - found.var["mnn_center"].to_numpy())[:, used]
    scores = centred @ found.varm["mnn_loadings"][used]
    np.testing.assert_allclose(scores, found.obsm["X_mnn"], atol=1e-10)
    np.testing.assert_array_equal(
        found.var["mnn_corrected"], np.ones(12, bool) if correct_all else adata.var["chosen"]
    )
    assert (layer[:, 9:] != 0).any() == correct_all
    still = (found.obsm["X_mnn"] == found.obsm["X_mnn_uncorrected"]).all(1)
    genes = found.var["mnn_corrected"].to_numpy()
    np.testing.assert_array_equal(layer[still][:, genes], adata.X[still][:, genes])
    assert found.uns["mnn"]["not_for_differential_expression"]
    assert found.uns["mnn"]["expression"] == {"scale": "log", "made_by": "weights"}
    # Nothing else follows from whether it is wanted.
    pp.mnn_calibrated(adata, "batch", **options)
    np.testing.assert_array_equal(adata.obsm["X_mnn"], found.obsm["X_mnn"])
    assert "mnn" not in adata.layers
    assert "not_for_differential_expression" not in adata.uns["mnn"]


def test_expression_of_an_embedding_is_refused(adata):
    with pytest.raises(ValueError, match="concerns genes: write_expression"):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", write_expression=True)


def test_the_components_before_the_correction_are_kept(adata):
    pp.mnn_calibrated(adata, "batch", n_comps=4, mask_var=None, adjusted_basis="X_own")
    plain = pp.mnn_fast(adata, "batch", n_comps=4, mask_var=None, copy=True)
    np.testing.assert_array_equal(adata.obsm["X_mnn_uncorrected"], plain.obsm["X_mnn_uncorrected"])
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    assert "X_mnn_uncorrected" not in adata.obsm


def test_from_genes_the_order_of_cells_and_batches_changes_only_rounding(adata, rng):
    order = rng.permutation(adata.n_obs)
    other = adata[order].copy()
    other.obs["batch"] = pd.Categorical(other.obs["batch"], categories=["two", "three", "one"])
    for data in (adata, other):
        pp.mnn_calibrated(data, "batch", n_comps=4, mask_var=None, n_jobs=1)
    expected = adata.obsm["X_mnn"][order]
    difference = np.linalg.norm(other.obsm["X_mnn"] - expected)
    assert difference <= 1e-5 * np.linalg.norm(expected)
    ours, theirs = other.obsp["mnn_pairs"], adata.obsp["mnn_pairs"].tocsr()[order][:, order]
    both = ours.multiply(theirs).nnz
    assert both / (ours.nnz + theirs.nnz - both) >= 0.999
    np.testing.assert_allclose(
        other.obs["mnn_confidence"], adata.obs["mnn_confidence"].iloc[order], atol=1e-6
    )
