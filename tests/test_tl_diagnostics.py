"""Delta variance and cluster abundance on AnnData: numbers, keys, subsets and errors."""

from __future__ import annotations

import json

import anndata
import naive
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mnncorrect import pp, tl

# Not the sorted order: it is that of the categories.
NAMES = ["second", "first", "third"]
SIZES = (20, 16, 14)
CODES = np.repeat(np.arange(3), SIZES)
COLUMNS = ("mean", "total", "trend", "adjusted")


@pytest.fixture
def adata(rng):
    """Three batches of log-expression, corrected, with one gene whose shift is not constant."""
    state = rng.integers(0, 2, 50)
    x = np.linspace(0.3, 6, 30) + rng.normal(0, 0.25, size=(50, 30))
    x[:, :10] += 3 * state[:, None]
    x += np.array([0, 0.4, 0.8])[CODES][:, None]
    x[(CODES > 0) & (state == 1), 17] += 3
    data = anndata.AnnData(x)
    data.obs["batch"] = pd.Categorical.from_codes(CODES, categories=NAMES)
    data.obs["cluster"] = pd.Categorical(np.where(state, "b", "a"), categories=["b", "a", "none"])
    data.var["chosen"] = np.arange(30) % 4 != 2
    pp.mnn_classic(data, "batch", n_neighbors=5, mask_var=None, n_jobs=1)
    return data


@pytest.fixture
def file_of(tmp_path):
    """Function from an object to the bytes of its h5ad file: equal objects have equal files."""

    def as_bytes(adata):
        adata.copy().write_h5ad(tmp_path / "compared.h5ad")
        return (tmp_path / "compared.h5ad").read_bytes()

    return as_bytes


def tables(adata):
    """The pairs of each merge, in tables of two columns, from what is stored."""
    found = adata.obsp["mnn_pairs"].tocoo()
    batch = adata.obs["batch"].astype(str).to_numpy()
    made = []
    for left, right in zip(
        *(adata.uns["mnn"]["merges"][side].map(json.loads) for side in ("left", "right")),
        strict=True,
    ):
        of_merge = np.isin(batch[found.col], left) & np.isin(batch[found.row], right)
        made.append(np.column_stack([found.col, found.row])[of_merge])
    return made


def delta(adata, **changed):
    return tl.delta_variance(adata, **{"n_jobs": 1, "copy": True, **changed})


# -- Delta variance -------------------------------------------------------------------------------


@pytest.mark.parametrize("mask_var", [None, "chosen"])
@pytest.mark.parametrize("all_genes", [False, True])
@pytest.mark.parametrize("cosine_norm", [False, True])
def test_delta_variance_is_that_of_the_formula(adata, mask_var, all_genes, cosine_norm):
    made = delta(adata, mask_var=mask_var, all_genes=all_genes, cosine_norm=cosine_norm)
    mask = None if mask_var is None else adata.var["chosen"].to_numpy()
    expected = naive.delta_variance(
        np.split(adata.X, np.cumsum(SIZES)[:-1]), tables(adata),
        cosine_norm=cosine_norm, mask=mask, compute_all=all_genes,
    )  # fmt: skip
    measured = np.ones(30, bool) if mask is None or all_genes else mask
    for column in COLUMNS:
        found = made.var[f"mnn_delta_{column}"].to_numpy()
        np.testing.assert_allclose(found[measured], getattr(expected, column), rtol=1e-6, atol=1e-9)
        assert np.isnan(found[~measured]).all()
        for number, step in enumerate(expected.per_step):
            found = made.varm["mnn_delta_variance"][f"{column}_{number}"].to_numpy()
            np.testing.assert_allclose(found[measured], getattr(step, column), rtol=1e-6, atol=1e-9)
            assert np.isnan(found[~measured]).all()
    table = made.uns["mnn_delta_variance"]["merges"]
    assert table["pairs"].tolist() == adata.uns["mnn"]["merges"]["pairs"].tolist()
    assert table["left"].tolist() == adata.uns["mnn"]["merges"]["left"].tolist()
    np.testing.assert_allclose(
        table["residual_scale"], [step.scale for step in expected.per_step], rtol=1e-5
    )


def test_the_gene_with_a_shift_of_its_own_is_at_the_top(adata):
    assert delta(adata).var["mnn_delta_adjusted"].argmax() == 17


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_values_and_layers_give_the_same(adata, container):
    expected = delta(adata)
    adata.layers["stored"] = container(adata.X)
    adata.X = np.zeros(adata.shape)
    made = delta(adata, layer="stored")
    for column in COLUMNS:
        key = f"mnn_delta_{column}"
        np.testing.assert_allclose(made.var[key], expected.var[key], rtol=1e-7)
    assert made.uns["mnn_delta_variance"]["params"]["layer"] == "stored"


def test_only_the_results_are_written(adata, file_of, tmp_path):
    before = file_of(adata)
    assert delta(adata, copy=False) is None
    adata.write_h5ad(tmp_path / "made.h5ad")
    read = anndata.read_h5ad(tmp_path / "made.h5ad")
    key = "mnn_delta_variance"
    pd.testing.assert_frame_equal(read.varm[key], adata.varm[key])
    pd.testing.assert_frame_equal(read.var, adata.var)
    pd.testing.assert_frame_equal(read.uns[key]["merges"], adata.uns[key]["merges"])
    # The results can be made again from the file.
    del read.varm[key]
    pd.testing.assert_frame_equal(delta(read).varm[key], adata.varm[key])
    del adata.varm[key], adata.uns[key]
    for column in COLUMNS:
        del adata.var[f"mnn_delta_{column}"]
    assert file_of(adata) == before


def test_a_subset_uses_the_pairs_that_are_left(adata):
    kept = np.arange(50) % 5 != 0
    view = adata[kept]
    delta(view, copy=False)
    assert not view.is_view
    assert "mnn_delta_mean" not in adata.var
    found = view.uns["mnn_delta_variance"]["merges"]["pairs"].tolist()
    assert found == [int(kept[table].all(1).sum()) for table in tables(adata)]


@pytest.mark.parametrize("cosine_norm", [False, True])
def test_merges_of_batches_that_are_gone_do_not_count(adata, cosine_norm):
    two = adata[adata.obs["batch"] != "third"].copy()
    made = delta(two, cosine_norm=cosine_norm)
    assert made.varm["mnn_delta_variance"]["total_1"].isna().all()
    assert made.uns["mnn_delta_variance"]["merges"]["pairs"].iloc[1] == 0
    assert made.uns["mnn_delta_variance"]["merges"]["scale"].isna().tolist() == [False, True]
    np.testing.assert_allclose(
        made.var["mnn_delta_total"], made.varm["mnn_delta_variance"]["total_0"]
    )


def test_results_of_another_name_are_found_by_it(adata):
    pp.mnn_classic(adata, "batch", n_neighbors=8, mask_var=None, n_jobs=1, key_added="wide")
    made = delta(adata, key_added="wide")
    assert "wide_delta_mean" in made.var
    assert "wide_delta_variance" in made.varm
    assert "mnn_delta_mean" not in made.var


def test_an_object_without_pairs_is_refused(adata):
    with pytest.raises(KeyError, match="uns has no correction 'other'"):
        delta(adata, key_added="other")
    del adata.obsp["mnn_pairs"]
    with pytest.raises(KeyError, match="obsp has no 'mnn_pairs'"):
        delta(adata)


def test_batches_of_two_factors_are_found_again(adata):
    adata.obs["half"] = pd.Categorical(np.where(np.arange(50) % 2, "odd", "even"))
    pp.mnn_fast(adata, ["batch", "half"], n_neighbors=5, n_comps=5, n_jobs=1)
    nested = delta(adata)
    adata.obs["both"] = pd.Categorical(
        [
            f"{batch}/{half}"
            for batch, half in zip(adata.obs["batch"], adata.obs["half"], strict=True)
        ],
        categories=[f"{batch}/{half}" for batch in NAMES for half in ("even", "odd")],
    )
    adata.uns["mnn"]["params"]["key"] = "both"
    plain = delta(adata)
    assert sum(nested.uns["mnn_delta_variance"]["merges"]["pairs"]) == adata.obsp["mnn_pairs"].nnz
    pd.testing.assert_frame_equal(
        nested.varm["mnn_delta_variance"], plain.varm["mnn_delta_variance"]
    )


def test_batches_that_have_changed_since_are_refused(adata):
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories({"third": "new"})
    with pytest.raises(ValueError, match="has changed since the correction: 'new' are not among"):
        delta(adata)
    del adata.obs["batch"]
    with pytest.raises(KeyError, match="obs has no 'batch'"):
        delta(adata)


# -- Abundance of clusters ------------------------------------------------------------------------


def test_abundance_is_that_of_the_formulas(adata):
    assert tl.cluster_abundance(adata, "batch", clusters="cluster") is None
    stored = adata.uns["mnn_abundance"]
    # Categories in their own order; the one without cells is left out.
    assert stored["table"]["cluster"].tolist() == ["b", "a"]
    assert stored["batches"].tolist() == NAMES
    codes = adata.obs["cluster"].cat.codes.to_numpy()
    np.testing.assert_array_equal(stored["counts"], naive.contingency(codes, CODES)[0])
    np.testing.assert_array_equal(stored["table"]["cells"], np.bincount(codes))
    np.testing.assert_allclose(stored["table"]["p_value"], naive.abundance_test(codes, CODES)[1])
    np.testing.assert_allclose(
        stored["table"]["variance"], naive.abundance_variance(codes, CODES)[1]
    )


@pytest.mark.parametrize("kind", [str, int, bool])
def test_clusters_may_be_of_any_kind(adata, kind):
    adata.obs["values"] = [kind(code) for code in (adata.obs["cluster"] == "b").astype(int)]
    made = tl.cluster_abundance(adata, "batch", clusters="values", key_added="mine", copy=True)
    expected = tl.cluster_abundance(adata, "batch", clusters="cluster", copy=True)
    assert "mine" not in adata.uns
    assert made.uns["mine"]["table"]["cluster"].tolist() == sorted(
        set(map(str, adata.obs["values"]))
    )
    np.testing.assert_array_equal(
        made.uns["mine"]["counts"], expected.uns["mnn_abundance"]["counts"][::-1]
    )


def test_abundance_survives_a_file(adata, tmp_path):
    tl.cluster_abundance(adata, "batch", clusters="cluster")
    adata.write_h5ad(tmp_path / "made.h5ad")
    read = anndata.read_h5ad(tmp_path / "made.h5ad").uns["mnn_abundance"]
    pd.testing.assert_frame_equal(read["table"], adata.uns["mnn_abundance"]["table"])
    np.testing.assert_array_equal(read["counts"], adata.uns["mnn_abundance"]["counts"])


def test_clusters_that_are_not_there_are_refused(adata):
    with pytest.raises(KeyError, match="obs has no 'nothing'"):
        tl.cluster_abundance(adata, "batch", clusters="nothing")
    adata.obs.loc[adata.obs_names[:3], "cluster"] = np.nan
    with pytest.raises(ValueError, match="is missing for 3 of 50 cells"):
        tl.cluster_abundance(adata, "batch", clusters="cluster")
