"""Scores of a correction on AnnData: numbers, the null, where values come from, and errors."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect import pp, tl
from mnncorrect._adata import provenance
from mnncorrect._adata.slots import elements_of
from mnncorrect._io import h5ad
from mnncorrect._prepare.method_registry import all_methods
from mnncorrect.core.methods.fast import mnn_reduced
from mnncorrect.core.metrics import evaluation as metrics
from mnncorrect.core.metrics.null import random_halves
from mnncorrect.core.neighbors.sample import Sample
from mnncorrect.core.runtime.compute import ComputeOptions

CODES = np.repeat([0, 1], [50, 40])
MIXING = ["ilisi", "cilisi", "bras", "purity", "silhouette"]
CHANGES = ["preserved", "moved", "lost_variance"]


@pytest.fixture
def plain(blobs):
    """Two batches of two labels, as expression and as an embedding, not corrected."""
    x, batch, truth = blobs(sizes=(50, 40), n_populations=2, n_features=10, shift=3, positive=True)
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["batch"] = pd.Categorical(np.array(["first", "second"])[batch])
    adata.obs["cell_type"] = pd.Categorical(np.array(["B", "T"])[truth])
    adata.obsm["X_pca"] = x[:, :6].copy()
    return adata


@pytest.fixture
def fast(plain):
    pp.mnn_fast(plain, "batch", use_rep="X_pca", n_neighbors=7, n_jobs=1)
    return plain


def evaluated(adata, **changed):
    options = {"label_key": "cell_type", "n_splits": 2, "n_jobs": 1, "copy": True}
    return tl.evaluate(adata, "batch", **(options | changed)).uns["mnn_evaluation"]


# -- Numbers --------------------------------------------------------------------------------------


def test_scores_are_those_of_both_embeddings(fast):
    found = evaluated(fast)
    before, after = fast.obsm["X_pca"], fast.obsm["X_mnn"]
    sample, label = Sample(np.arange(90), np.ones(90)), fast.obs["cell_type"].cat.codes.to_numpy()
    scores = found["scores"]
    assert scores.index.tolist() == [*MIXING, *CHANGES]
    assert scores.columns.tolist() == ["before", "after", "null"]
    for column, x in (("before", before), ("after", after)):
        expected = metrics.score_embedding(x, CODES, sample, label=label)
        assert scores.loc[MIXING, column].to_dict() == {name: expected[name] for name in MIXING}
    expected = metrics.compare_embeddings(before, after, CODES, sample)
    assert scores.loc[CHANGES, "after"].to_dict() == expected
    assert scores.loc[CHANGES, "before"].isna().all()


def test_lost_variance_is_by_batch_and_label(fast):
    table = evaluated(fast)["lost_variance"]
    assert table["batch"].tolist() == ["first"] * 3 + ["second"] * 3
    assert table["label"].tolist() == ["", "B", "T"] * 2
    for row in table.itertuples():
        of_batch = fast.obs["batch"] == row.batch
        cells = (of_batch & (fast.obs["cell_type"] == row.label)) if row.label else of_batch
        one, two = (fast.obsm[name][cells].var(0, ddof=1).sum() for name in ("X_pca", "X_mnn"))
        assert row.cells == cells.sum()
        assert row.before == pytest.approx(one)
        assert row.after == pytest.approx(two)
        assert row.lost == pytest.approx(1 - two / one)


def test_the_null_is_the_same_correction_of_random_halves(fast):
    found = evaluated(fast, random_state=3)
    of_batch = fast.obs["batch"] == "first"  # the larger one
    x, label = fast.obsm["X_pca"][of_batch], fast.obs["cell_type"].cat.codes[of_batch].to_numpy()
    sample = Sample(np.arange(50), np.ones(50))
    assert found["null"]["seed"].tolist() == [3, 4]
    for row in found["null"].to_dict("records"):
        halves = random_halves(50, row["seed"])
        after = mnn_reduced(x, halves, n_neighbors=7, compute=ComputeOptions("exact")).corrected
        expected = metrics.score_embedding(after, halves, sample, label=label)
        expected |= metrics.compare_embeddings(x, after, np.zeros(50, int), sample)
        before = metrics.score_embedding(x, halves, sample, label=label)
        expected |= {f"{name}_before": value for name, value in before.items()}
        assert row == {"seed": row["seed"], **expected}
    for name in [*MIXING, *CHANGES]:
        assert found["scores"].loc[name, "null"] == pytest.approx(found["null"][name].mean())
    params = found["params"]
    assert (params["null_batch"], params["null_cells"], params["n_splits"]) == ("first", 50, 2)
    assert (params["method"], params["use_rep"], params["before"]) == ("fast", "X_mnn", "X_pca")


def test_parameters_of_the_correction_are_used_again(plain):
    def null_of(**changed):
        pp.mnn_fast(plain, "batch", use_rep="X_pca", n_jobs=1, **changed)
        return evaluated(plain)["scores"].loc["moved", "null"]

    wide = null_of(n_neighbors=15)
    assert null_of(n_neighbors=5) != wide
    # No merge has a batch size above 1.
    assert null_of(n_neighbors=15, min_batch_size=2.0) == 0
    assert null_of(n_neighbors=15, min_batch_size=None) == wide
    plain.obs["kept"] = plain.obs["cell_type"] == "B"
    assert null_of(n_neighbors=15, restrict="kept") != wide


def test_what_calibrated_leaves_alone_is_preserved(blobs):
    x, batch, truth = blobs(sizes=(160, 90), shift=3)
    adata = anndata.AnnData(np.ones((250, 1)), obsm={"X_pca": x})
    adata.obs["batch"], adata.obs["cell_type"] = batch.astype(str), truth.astype(str)
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", n_jobs=1, reference="1")
    found = evaluated(adata)
    assert found["scores"].loc["moved", "after"] > 0
    assert found["scores"].loc[CHANGES, "null"].tolist() == [1, 0, 0]
    assert found["null"]["ilisi"].tolist() == found["null"]["ilisi_before"].tolist()


def test_many_cells_are_sampled(fast):
    found = evaluated(fast, max_cells=60, random_state=1)
    assert 56 <= found["params"]["n_sampled"] <= 60
    assert found["params"]["n_cells"] == 90
    exact = evaluated(fast)["scores"]
    assert found["scores"].loc["cilisi", "after"] != exact.loc["cilisi", "after"]
    for name in ("bras", "moved", "lost_variance"):
        assert found["scores"].loc[name, "after"] == exact.loc[name, "after"]
    # Of the larger batch all 50 cells may be split, not more than 60.
    assert found["params"]["null_cells"] == 50
    assert evaluated(fast, max_cells=30)["params"]["null_cells"] == 30
    pd.testing.assert_frame_equal(
        found["scores"], evaluated(fast, max_cells=60, random_state=1)["scores"]
    )


def test_results_do_not_depend_on_threads(fast):
    one, two = (evaluated(fast, max_cells=60, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one["scores"], two["scores"], check_exact=True)
    pd.testing.assert_frame_equal(one["null"], two["null"], check_exact=True)


# -- Labels ---------------------------------------------------------------------------------------


def test_without_labels_clusters_take_their_place(fast):
    fast.obs["gmm"] = fast.obs["cell_type"]  # of the user, who made them in some other way
    assert evaluated(fast, label_key=None)["scores"].index.tolist() == ["ilisi", *CHANGES]
    del fast.obs["gmm"]
    tl.gmm(fast, n_components=[2], n_jobs=1)
    fast.obs["gmm"] = [f"{row}" for row in range(90)]  # not clusters
    found = evaluated(fast, label_key=None)
    assert found["scores"].index.tolist() == ["ilisi", *CHANGES]
    assert found["lost_variance"]["label"].tolist() == ["", ""]
    fast.obs["gmm"] = fast.obs["cell_type"].cat.rename_categories({"B": "0", "T": "1"})
    by_cluster = evaluated(fast, label_key=None)
    assert by_cluster["scores"].index.tolist() == ["ilisi", "silhouette_clusters", *CHANGES]
    assert by_cluster["params"]["clusters"] == "gmm"
    assert by_cluster["lost_variance"]["label"].tolist() == ["", "0", "1"] * 2
    expected = evaluated(fast)["scores"].loc["silhouette"]
    found = by_cluster["scores"].loc["silhouette_clusters"]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("words", [[np.nan], ["unassigned"], ["Unknown", "nan", np.nan]])
def test_cells_without_a_label_do_not_count(fast, words):
    labels = fast.obs["cell_type"].astype(object)
    labels.iloc[:10] = np.resize(np.array(words, dtype=object), 10)
    fast.obs["cell_type"] = pd.Categorical(labels)
    found = evaluated(fast, n_splits=0)
    assert found["params"]["n_unlabeled"] == 10
    assert "unassigned" not in found["lost_variance"]["label"].to_numpy()
    kept = evaluated(fast[10:].copy(), n_splits=0)
    names = ["cilisi", "purity", "silhouette"]
    pd.testing.assert_frame_equal(found["scores"].loc[names], kept["scores"].loc[names])
    assert found["lost_variance"]["cells"].iloc[0] == 50
    assert found["lost_variance"]["cells"].iloc[1:3].sum() == 40


# -- Where values come from -----------------------------------------------------------------------


def test_a_correction_from_genes_is_compared_with_its_components(plain):
    pp.mnn_fast(plain, "batch", n_comps=4, n_neighbors=5, n_jobs=1)
    found = evaluated(plain)
    assert found["params"]["before"] == "X_mnn_uncorrected"
    assert "null" in found
    del plain.obsm["X_mnn_uncorrected"]
    with pytest.warns(UserWarning, match=r"no uncorrected embedding.*scored alone"):
        found = evaluated(plain)
    assert found["scores"].index.tolist() == MIXING
    assert found["scores"]["before"].isna().all()
    assert found["lost_variance"]["lost"].isna().all()
    assert found["params"]["null_left_out"].startswith("what was corrected is gone")
    # Of other components, as many or not, neighbours can be compared, and moves cannot.
    plain.obsm["X_short"] = plain.obsm["X_pca"][:, :4]
    for name in ("X_pca", "X_short"):
        named = evaluated(plain, before=name)
        assert 0 < named["scores"].loc["preserved", "after"] < 1
        assert named["scores"].loc[["moved", "lost_variance"], "after"].isna().all()
        assert named["lost_variance"]["lost"].isna().all()
        assert named["lost_variance"]["before"].notna().all()
        assert named["params"]["null_batch"] == "first"


def test_the_null_starts_from_what_was_corrected(fast):
    fast.obsm["X_blurred"] = np.round(fast.obsm["X_pca"])
    expected, found = evaluated(fast), evaluated(fast, before="X_blurred")
    pd.testing.assert_frame_equal(found["null"], expected["null"])
    assert found["params"]["before"] == "X_blurred"
    same = evaluated(fast, before="X_pca")
    pd.testing.assert_frame_equal(same["scores"], expected["scores"])


def test_halves_that_cannot_be_corrected_leave_the_rest(fast):
    fast.uns["mnn"]["params"]["ndist"] = -1.0
    found = evaluated(fast)
    assert found["params"]["null_left_out"].startswith(
        "random halves of 'first' cannot be corrected: ndist is -1.0"
    )
    assert found["scores"]["after"].notna().all()


@pytest.mark.parametrize("cosine", [True, False])
def test_corrected_expression_is_compared_with_its_source(plain, cosine):
    plain.var["chosen"] = np.arange(10) % 5 != 0
    pp.mnn_classic(
        plain, "batch", mask_var="chosen", correct_all=True, n_neighbors=5,
        cosine_norm_out=cosine, n_jobs=1,
    )  # fmt: skip
    pp.pca(plain, n_comps=4, n_jobs=1)
    found = evaluated(plain)
    source = plain.copy()
    if cosine:
        length = np.linalg.norm(plain.X[:, plain.var["chosen"]], axis=1, keepdims=True)
        source.X = (plain.X / length).astype(np.float32)
    pp.pca(source, layer=None, n_comps=4, n_jobs=1)
    plain.obsm["X_source"] = source.obsm["X_mnn_pca"]
    named = evaluated(plain, before="X_source")
    # The same components, but for rounding; how far they were moved is not known by name.
    known = ["lost_variance"]
    assert named["scores"].loc[known, "after"].isna().all()
    pd.testing.assert_frame_equal(
        found["scores"].drop(known), named["scores"].drop(known), rtol=1e-4
    )
    one, two = (table["lost_variance"]["before"] for table in (found, named))
    np.testing.assert_allclose(one, two, rtol=1e-4)
    assert found["params"]["before"] == "4 principal components of X, 10 genes"
    assert found["scores"].loc["moved"].isna().all()
    assert 0 < found["scores"].loc["preserved", "null"] < 1


def test_the_source_of_corrected_expression_may_be_gone(plain):
    plain.layers["logged"] = plain.X
    pp.mnn_classic(plain, "batch", layer="logged", n_neighbors=5, n_jobs=1)
    with pytest.raises(KeyError, match=r"obsm has no 'X_mnn_pca'.*make it with pp.pca"):
        evaluated(plain)
    pp.pca(plain, n_comps=4, n_jobs=1)
    del plain.layers["logged"]
    with pytest.warns(UserWarning, match="no uncorrected embedding"):
        found = evaluated(plain)
    assert found["params"]["null_left_out"] == "what was corrected is gone from the object"


def test_matched_clusters_are_corrected_again(plain):
    plain.obs["cluster"] = (
        plain.obs["batch"].astype(str) + plain.obs["cell_type"].astype(str)
    ).astype("category")
    pp.mnn_cluster(plain, "batch", clusters="cluster", n_jobs=1)
    found = evaluated(plain)
    assert found["params"]["method"] == "cluster"
    assert 0 < found["scores"].loc["preserved", "null"] <= 1
    del plain.obs["cluster"]
    assert evaluated(plain)["params"]["null_left_out"].startswith("obs has no 'cluster'")


def test_an_embedding_of_another_tool_is_scored(fast):
    fast.obsm["X_other"] = fast.obsm["X_pca"] - fast.obsm["X_pca"].mean(0) * CODES[:, None]
    found = evaluated(fast, use_rep="X_other", before="X_pca", key_added="mnn")
    assert found["scores"].loc["moved", "after"] > 0
    assert found["scores"]["null"].isna().all()
    assert found["params"]["null_left_out"].startswith(
        "'X_other' is not a correction of mnncorrect"
    )
    assert "method" not in found["params"]
    # What perfect mixing looks like takes no correction.
    ours = evaluated(fast)["null"]
    assert list(found["null"]) == ["seed", *(f"{name}_before" for name in MIXING)]
    pd.testing.assert_frame_equal(found["null"], ours[list(found["null"])])


def test_projected_cells_are_compared_with_their_components(fast):
    fast.obsm["X_mnn_uncorrected"] = fast.obsm["X_pca"]
    numbers = dict.fromkeys(("n_obs", "known", "skipped", "pairs", "evidence"), 1.0)
    told = dict.fromkeys(("n_obs", "n_genes", "missing_share"), 1) | {"missing": []}
    fast.uns["mnn"] = {
        "batches": ["first"],
        "projected": pd.DataFrame({"batch": ["first"], **numbers}),
        "model": {"method": "fast", "digest": "0", **told},
        "params": {"method": "project", "adjusted_basis": "X_mnn"},
        "provenance": provenance(0),
    }
    found = evaluated(fast)
    assert found["params"]["before"] == "X_mnn_uncorrected"
    assert found["scores"].loc["moved", "after"] > 0
    assert found["params"]["null_left_out"] == (
        "what method project did cannot be done to halves of a batch"
    )
    assert "cilisi_before" in found["null"]


def test_floats_of_two_widths_are_compared(fast):
    fast.obsm["X_mnn"] = fast.obsm["X_mnn"].astype(np.float32)
    assert evaluated(fast)["scores"].loc["preserved", "after"] > 0.5


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_matrices_may_stay_in_a_file(plain, tmp_path, container):
    pp.mnn_classic(plain, "batch", n_neighbors=5, n_jobs=1)
    pp.pca(plain, n_comps=4, n_jobs=1)
    plain.X = container(plain.X)
    plain.write_h5ad(tmp_path / "made.h5ad")
    expected = evaluated(plain)
    with h5ad.opened_h5ad(tmp_path / "made.h5ad") as adata:
        tl.evaluate(adata, "batch", label_key="cell_type", n_splits=2, n_jobs=1)
        found = adata.uns["mnn_evaluation"]
    pd.testing.assert_frame_equal(found["scores"], expected["scores"], rtol=1e-6)
    pd.testing.assert_frame_equal(found["null"], expected["null"], rtol=1e-6)


def test_results_survive_a_file_and_leave_the_rest_alone(fast, tmp_path):
    fast.copy().write_h5ad(tmp_path / "before.h5ad")
    assert tl.evaluate(fast, "batch", label_key="cell_type", n_splits=1, n_jobs=1) is None
    fast.write_h5ad(tmp_path / "made.h5ad")
    read = anndata.read_h5ad(tmp_path / "made.h5ad")
    for table in ("scores", "lost_variance", "null"):
        pd.testing.assert_frame_equal(
            read.uns["mnn_evaluation"][table], fast.uns["mnn_evaluation"][table]
        )
    assert read.uns["mnn_evaluation"]["params"] == fast.uns["mnn_evaluation"]["params"]
    before = anndata.read_h5ad(tmp_path / "before.h5ad")
    pd.testing.assert_frame_equal(read.obs, before.obs)
    np.testing.assert_array_equal(read.obsm["X_mnn"], before.obsm["X_mnn"])
    assert set(read.uns) == {"mnn", "mnn_evaluation"}
    assert [set(elements_of(read, slot)) for slot in ("obsm", "obsp", "layers")] == [
        set(elements_of(before, slot)) for slot in ("obsm", "obsp", "layers")
    ]


def test_a_view_becomes_an_object_of_its_own(fast):
    view = fast[:80]
    tl.evaluate(view, "batch", n_splits=0, n_jobs=1, key_added="mnn")
    assert not view.is_view
    assert "mnn_evaluation" not in fast.uns
    assert (
        view.uns["mnn_evaluation"]["params"]["null_left_out"] == "no random splits were asked for"
    )


def test_every_method_can_be_done_again():
    assert all(method.correct_halves is not None for method in all_methods())


# -- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"n_splits": -1}, ValueError, "n_splits is -1"),
        ({"max_cells": 3}, ValueError, "max_cells is 3"),
        ({"label_key": "none"}, KeyError, "obs has no 'none'"),
        ({"use_rep": "X_none"}, KeyError, "obsm has no 'X_none'"),
        ({"before": "X_none"}, KeyError, "obsm has no 'X_none'"),
        ({"key_added": "other"}, KeyError, "obsm has no 'X_other'.*name another embedding"),
        ({"label_key": "name"}, ValueError, "has 90 values for 90 cells"),
        ({"label_key": "missing"}, ValueError, "no label for any cell"),
    ],
)
def test_what_cannot_be_scored_is_refused(fast, changed, error, says):
    fast.obs["name"] = [f"cell{row}" for row in range(90)]
    fast.obs["missing"] = pd.Categorical([None] * 90, categories=["a"])
    with pytest.raises(error, match=says):
        evaluated(fast, **changed)
