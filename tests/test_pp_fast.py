"""The fast method on AnnData, from genes and from embeddings."""

from __future__ import annotations

import json
import logging
import warnings

import anndata
import naive
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mnncorrect import pp
from mnncorrect._adata.slots import elements_of
from mnncorrect.core.neighbors import engines


@pytest.fixture
def adata(blobs):
    """Three batches of positive values, 75 cells by 12 genes, and an embedding."""
    x, codes, truth = blobs(sizes=(20, 30, 25), positive=True, spread=1.0)
    data = anndata.AnnData(x)
    data.obs["batch"] = pd.Categorical.from_codes(codes, ["one", "two", "three"])
    data.obs["population"] = pd.Categorical(truth.astype(str))
    data.var["highly_variable"] = np.arange(data.n_vars) % 4 != 1
    data.obsm["X_pca"] = x[:, :6] - x[:, :6].mean(0)
    data.raw = data.copy()
    return data


def fast(adata, key="batch", **changed):
    """The correction of a copy, with few neighbours on one thread."""
    options = {"n_neighbors": 5, "n_jobs": 1, "copy": True}
    if "use_rep" not in changed:
        options["n_comps"] = 6
    return pp.mnn_fast(adata, key, **(options | changed))


def of_oracle(adata, **options):
    """What the oracle makes of the genes."""
    batches = [adata[adata.obs["batch"] == name].X for name in adata.obs["batch"].cat.categories]
    return naive.mnn_fast(batches, **options)


# ------------------------------------------------------------------------------------- numbers


def test_genes_give_what_the_oracle_gives(adata):
    found = fast(adata, correct_all=True)
    mask = adata.var["highly_variable"].to_numpy()
    expected = of_oracle(adata, n_neighbors=5, n_comps=6, mask=mask, correct_all=True)
    signs = np.sign((found.varm["mnn_loadings"] * expected.rotation).sum(0))
    np.testing.assert_allclose(found.obsm["X_mnn"] * signs, expected.corrected, atol=1e-9)
    np.testing.assert_allclose(found.varm["mnn_loadings"] * signs, expected.rotation, atol=1e-9)
    norms = np.linalg.norm(adata.X[:, mask], axis=1)
    np.testing.assert_allclose(found.obs["mnn_norm"], norms, rtol=1e-12)


def test_an_embedding_gives_what_the_oracle_gives(adata):
    found = fast(adata, use_rep="X_pca", ndist=2.0, min_batch_size=0.6)
    groups = [adata.obsm["X_pca"][adata.obs["batch"] == b] for b in ("one", "two", "three")]
    expected = naive.mnn_reduced(groups, n_neighbors=5, ndist=2.0, min_batch_size=0.6)
    np.testing.assert_allclose(found.obsm["X_mnn"], expected.corrected, atol=1e-9)
    stored = found.uns["mnn"]
    lost = [merge.lost_variance for merge in expected.merges]
    np.testing.assert_allclose(stored["lost_variance"], lost, atol=1e-9)
    assert stored["merges"]["skipped"].tolist() == [merge.skipped for merge in expected.merges]


ORDERS = {
    "nested": {"merge_order": [["0", ["1", "2"]], [["3", "4"], ["5", "6"]]]},
    "automatic": {"auto_merge": True},
}


@pytest.mark.parametrize("order", ORDERS)
def test_seven_batches_give_what_the_oracle_gives(blobs, order):
    x, codes, _ = blobs(sizes=(9, 14, 8, 12, 9, 11, 10), n_features=8, spread=1.0, positive=True)
    data = anndata.AnnData(x)
    data.obs["batch"] = codes.astype(str)
    found = fast(data, n_comps=5, n_neighbors=3, **ORDERS[order])
    options = dict(ORDERS[order])
    if "merge_order" in options:
        options["merge_order"] = [[0, [1, 2]], [[3, 4], [5, 6]]]
    batches = [x[codes == b] for b in range(7)]
    expected = naive.mnn_fast(batches, n_comps=5, n_neighbors=3, **options)
    signs = np.sign((found.varm["mnn_loadings"] * expected.rotation).sum(0))
    np.testing.assert_allclose(found.obsm["X_mnn"] * signs, expected.corrected, atol=1e-9)
    merges = found.uns["mnn"]["merges"]
    for side in ("left", "right"):
        stored = [tuple(int(b) for b in json.loads(names)) for names in merges[side]]
        assert stored == [getattr(merge, side) for merge in expected.merges]
    assert merges["pairs"].tolist() == [len(merge.pairs) for merge in expected.merges]


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, np.asfortranarray])
def test_the_container_does_not_matter(adata, container):
    dense = fast(adata).obsm["X_mnn"]
    adata.X = container(adata.X)
    np.testing.assert_allclose(fast(adata).obsm["X_mnn"], dense, atol=1e-9)


def test_where_values_are_read_does_not_matter(adata):
    expected = fast(adata).obsm["X_mnn"]
    adata.layers["values"] = adata.X.copy()
    adata.X[:] = 0
    assert np.array_equal(fast(adata, layer="values").obsm["X_mnn"], expected)
    assert np.array_equal(fast(adata, use_raw=True).obsm["X_mnn"], expected)


@pytest.mark.parametrize("given", [{}, {"use_rep": "X_pca"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_float_type_of_the_input(adata, dtype, given):
    adata.X = adata.X.astype(dtype)
    adata.obsm["X_pca"] = adata.obsm["X_pca"].astype(dtype)
    assert fast(adata, **given).obsm["X_mnn"].dtype == dtype


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        (None, [1, 1, 1]),
        (True, [1, 1, 1]),
        (False, [20, 30, 25]),
        ("cells", [20, 30, 25]),
        ([1, 2, 3], [1, 2, 3]),
        ({"two": 2, "three": 3, "one": 1}, [1, 2, 3]),
        ("two=2, three=3,one=1", [1, 2, 3]),
        ([["one", "two"], "three"], [0.25, 0.25, 0.5]),
        ("((one,two),three)", [0.25, 0.25, 0.5]),
        ("(one,two),three", [0.25, 0.25, 0.5]),
        ("one,two,three", [1, 1, 1]),
    ],
)
def test_weights_of_batches_come_in_many_forms(adata, given, weights):
    found = fast(adata, batch_weights=given, mask_var=None)
    expected = of_oracle(adata, n_neighbors=5, n_comps=6, batch_weights=np.array(weights, float))
    signs = np.sign((found.varm["mnn_loadings"] * expected.rotation).sum(0))
    np.testing.assert_allclose(found.obsm["X_mnn"] * signs, expected.corrected, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("one=1,two", "cannot be read at 'two'"),
        ("one=1,two=x,three=1", "cannot be read at 'two=x'"),
        ("one,(two", "cannot be read at character"),
        ("one=1,two=2", "one positive weight"),
        ([1, -2, 1], "one positive weight"),
        ([["one", "two"], "two"], "name 'two' twice"),
    ],
)
def test_weights_that_cannot_be_are_refused(adata, given, match):
    with pytest.raises(ValueError, match=match):
        fast(adata, batch_weights=given)


def test_without_components_the_centred_genes_are_corrected(adata):
    found = fast(adata, n_comps=None, mask_var=None)
    assert found.obsm["X_mnn"].shape == adata.shape
    np.testing.assert_array_equal(found.varm["mnn_loadings"], np.eye(adata.n_vars))
    assert "n_comps" not in found.uns["mnn"]["params"]


def test_more_components_than_there_are_become_as_many_with_a_warning(adata):
    with pytest.warns(UserWarning, match="n_comps is 50, but 75 cells of 9 genes have no more"):
        found = pp.mnn_fast(adata, "batch", n_neighbors=5, n_jobs=1, copy=True)
    assert found.obsm["X_mnn"].shape == (75, 9)
    assert found.uns["mnn"]["params"]["n_comps"] == 9


def test_an_approximate_search_is_recorded_with_its_recall(adata, monkeypatch):
    found = fast(adata, neighbors="partition", recall=1.0)
    exact = fast(adata, neighbors="exact")
    assert found.uns["mnn"]["params"]["neighbors"] == "partition"
    assert found.uns["mnn"]["params"]["recall"] == 1.0
    merges = found.uns["mnn"]["merges"]
    assert merges["recall"].tolist() == [1.0, 1.0]
    assert merges["worst_recall"].tolist() == [1.0, 1.0]
    assert not {"recall", "worst_recall"} & set(exact.uns["mnn"]["merges"])
    np.testing.assert_allclose(found.obsm["X_mnn"], exact.obsm["X_mnn"], atol=1e-9)
    asked = []
    search = engines.partition.search
    monkeypatch.setattr(
        engines.partition, "search", lambda *a, **k: asked.append(k["recall"]) or search(*a, **k)
    )
    fast(adata, neighbors="partition", recall=0.9)
    # Both directions of both merges, which see each other's pairs, and the smoothing of both, for
    # which less will do.
    assert asked == [0.9**4, 0.9**4, 0.9**10] * 2


def test_pairs_are_sought_among_a_sketch_in_balanced_merges_only_unless_told(adata):
    def recorded(**options):
        return fast(adata, **options).uns["mnn"]["params"].get("sketch")

    # What is unlimited is left out.
    assert recorded() is None
    assert recorded(merge_order="balanced") == 10_000
    assert recorded(merge_order="balanced", sketch="all") is None
    assert recorded(sketch="20") == 20


@pytest.mark.filterwarnings("ignore:.*cells:UserWarning")
def test_pairs_of_many_batches_are_sought_among_a_sketch_unless_the_search_is_exact(adata):
    adata.obs["many"] = (np.arange(adata.n_obs) % 12).astype(str)

    def recorded(**options):
        found = fast(adata, key="many", n_neighbors=3, **options)
        return found.uns["mnn"]["params"].get("sketch")

    assert recorded() == 100_000 // 12
    assert recorded(merge_order="balanced", neighbors="exact") == 100_000 // 12
    assert recorded(neighbors="exact") is None
    assert recorded(sketch="all") is None


def test_pairs_of_large_batches_are_sought_among_a_sketch_unless_the_search_is_exact(
    adata, monkeypatch
):
    def recorded(most, **options):
        monkeypatch.setattr("mnncorrect.pp._arguments.LARGE_SKETCH", most)
        return fast(adata, **options).uns["mnn"]["params"].get("sketch")

    assert recorded(adata.n_obs // 2 - 1) == adata.n_obs // 2 - 1
    assert recorded(adata.n_obs) is None
    assert recorded(20, neighbors="exact") is None
    assert recorded(20, sketch="all") is None


def test_a_sketch_of_fewer_cells_than_there_are_is_logged(adata, caplog):
    with caplog.at_level("INFO", "mnncorrect"):
        fast(adata, sketch=10**6)
        assert "sketch" not in caplog.text
        fast(adata, sketch=20)
    assert "among 20 cells" in caplog.text
    assert 'sketch="all"' in caplog.text


@pytest.mark.parametrize("sketch", [0, 1.5, "none", "-3"])
def test_a_sketch_that_is_no_number_of_cells_is_refused(adata, sketch):
    with pytest.raises(ValueError, match="'auto' or 'all'"):
        fast(adata, sketch=sketch)


# ----------------------------------------------------------------------------- where things live


def test_results_of_genes_are_where_they_belong(adata):
    found = fast(adata)
    assert set(found.obsm) == {"X_pca", "X_mnn", "X_mnn_uncorrected"}
    assert set(elements_of(found, "layers")) == set()
    assert set(found.obsp) == {"mnn_pairs"}
    assert set(found.varm) == {"mnn_loadings"}
    assert set(found.var) == {"highly_variable", "mnn_genes", "mnn_center"}
    assert set(found.obs) == {"batch", "population", "mnn_norm"}
    stored = found.uns["mnn"]
    assert set(stored) == {
        "batches", "merges", "lost_variance", "components", "params", "prepared", "provenance",
        "digest", "results", "warnings",
    }  # fmt: skip
    assert stored["params"] == {
        "method": "fast", "key": "batch", "auto_merge": False, "use_raw": False,
        "merge_order": '["one", "two", "three"]', "adjusted_basis": "X_mnn", "n_neighbors": 5,
        "ndist": 3.0, "min_batch_size": 0.0, "neighbors": "exact", "recall": 0.995,
        "mask_var": "highly_variable", "correct_all": False, "cosine_norm": True, "n_comps": 6,
    }  # fmt: skip
    assert stored["lost_variance"].shape == (2, 3)
    assert (stored["lost_variance"][0, :2] > 0).all()
    assert stored["components"]["variance_ratio"].sum() <= 1
    pairs = found.obsp["mnn_pairs"].tocoo()
    assert (adata.obs["batch"].iloc[pairs.row] != "one").all()
    assert len(pairs.data) == stored["merges"]["pairs"].sum()


def test_results_of_an_embedding_are_where_they_belong(adata):
    found = fast(adata, use_rep="X_pca", adjusted_basis="X_own", key_added="second")
    assert set(found.obsm) == {"X_pca", "X_own"}
    assert set(found.obsp) == {"second_pairs"}
    assert not set(found.varm)
    assert set(found.var) == {"highly_variable"}
    params = found.uns["second"]["params"]
    assert params["use_rep"] == "X_pca"
    assert params["adjusted_basis"] == "X_own"
    assert not {"layer", "use_raw", "mask_var", "n_comps", "cosine_norm"} & set(params)


def test_results_survive_a_file_and_equal_runs_give_equal_files(adata, tmp_path):
    for name, n_jobs in (("a", 1), ("b", 2)):
        fast(adata, n_jobs=n_jobs).write_h5ad(tmp_path / f"{name}.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    back, found = anndata.read_h5ad(tmp_path / "a.h5ad"), fast(adata)
    assert np.array_equal(back.obsm["X_mnn"], found.obsm["X_mnn"])
    assert dict(back.uns["mnn"]["params"]) == found.uns["mnn"]["params"]
    pd.testing.assert_frame_equal(back.uns["mnn"]["merges"], found.uns["mnn"]["merges"])


def test_in_place_and_as_a_copy_give_the_same_and_views_are_left(adata):
    expected = fast(adata).obsm["X_mnn"]
    assert "X_mnn" not in adata.obsm
    parent = anndata.concat([adata, adata], index_unique="-", merge="same")
    view = parent[: adata.n_obs]
    assert fast(view, copy=False) is None
    assert np.array_equal(view.obsm["X_mnn"], expected)
    assert "X_mnn" not in parent.obsm


def test_a_correction_replaces_what_an_earlier_one_of_the_name_left(adata, caplog):
    pp.mnn_classic(adata, "batch", n_neighbors=5, n_jobs=1)
    fast(adata, copy=False)
    assert set(elements_of(adata, "layers")) == set()
    pp.mnn_expression(adata)
    with caplog.at_level(logging.INFO, "mnncorrect"):
        fast(adata, copy=False, use_rep="X_pca")
    for place in ("layers['mnn']", "varm['mnn_loadings']", "var['mnn_center']", "obs['mnn_norm']"):
        assert place in caplog.text
    assert set(adata.varm) == set()
    assert set(adata.var) == {"highly_variable"}
    assert set(adata.obs) == {"batch", "population"}
    assert set(adata.obsm) == {"X_pca", "X_mnn"}


def test_a_correction_keeps_what_it_was_made_from(adata):
    first = fast(adata)
    # The corrected components, corrected once more, under another name.
    second = fast(first, use_rep="X_mnn", adjusted_basis="X_twice")
    assert np.array_equal(second.obsm["X_mnn"], first.obsm["X_mnn"])
    classic = pp.mnn_classic(adata, "batch", n_neighbors=5, n_jobs=1, mask_var=None, copy=True)
    third = fast(classic, layer="mnn", mask_var=None)
    assert "mnn" in third.layers


def test_another_key_keeps_the_first_result(adata):
    both = fast(fast(adata), key_added="second", n_neighbors=4)
    assert {"X_mnn", "X_second"} <= set(both.obsm)
    assert {"mnn_loadings", "second_loadings"} == set(both.varm)


# ------------------------------------------------------------- what the reference gets wrong


@pytest.mark.parametrize("given", [{"mask_var": None}, {"use_rep": "X_pca"}])
@pytest.mark.parametrize("auto_merge", [False, True])
def test_identical_batches_stay_as_they_are(adata, given, auto_merge):
    one = adata[adata.obs["batch"] == "one"].copy()
    same = anndata.concat({"a": one, "b": one, "c": one}, label="batch", index_unique="-")
    found = fast(same, n_neighbors=1, auto_merge=auto_merge, **given)
    thirds = np.split(found.obsm["X_mnn"], 3)
    assert np.isfinite(found.obsm["X_mnn"]).all()
    np.testing.assert_allclose(thirds[1], thirds[0], atol=1e-9)
    np.testing.assert_allclose(thirds[2], thirds[0], atol=1e-9)
    if "use_rep" in given:
        np.testing.assert_array_equal(found.obsm["X_mnn"], same.obsm["X_pca"])


def test_identical_batches_stay_as_they_are_in_the_classic_method(adata):
    one = adata[adata.obs["batch"] == "one"].copy()
    same = anndata.concat({"a": one, "b": one}, label="batch", index_unique="-")
    pp.mnn_classic(same, "batch", n_neighbors=1, n_jobs=1)
    np.testing.assert_allclose(same.layers["mnn"], naive.cosine_normalize(same.X), atol=1e-12)


@pytest.mark.parametrize("method", ["mnn_fast", "mnn_classic"])
def test_cells_of_zeros_do_not_spread(adata, method):
    adata.X[[3, 40, 74]] = 0
    options = {"n_comps": 6} if method == "mnn_fast" else {}
    with pytest.warns(UserWarning, match="3 cells .* above zero"):
        getattr(pp, method)(adata, "batch", n_neighbors=5, n_jobs=1, mask_var=None, **options)
    result = adata.obsm["X_mnn"] if method == "mnn_fast" else adata.layers["mnn"]
    assert np.isfinite(result).all()


@pytest.mark.parametrize("adjust_variance", [False, True])
@pytest.mark.parametrize("flags", [(True, False), (False, True)])
def test_differing_cosine_flags_with_a_mask_act_as_on_cut_data(adata, flags, adjust_variance):
    options = {
        "n_neighbors": 5, "n_jobs": 1, "cosine_norm_in": flags[0], "cosine_norm_out": flags[1],
        "adjust_variance": adjust_variance, "n_svd": 1, "sigma": 20.0, "copy": True,
    }  # fmt: skip
    genes = adata.var["highly_variable"].to_numpy()
    masked = pp.mnn_classic(adata, "batch", **options)
    cut = pp.mnn_classic(adata[:, genes].copy(), "batch", mask_var=None, **options)
    assert np.isfinite(masked.layers["mnn"]).all()
    np.testing.assert_array_equal(masked.layers["mnn"][:, genes], cut.layers["mnn"])


@pytest.mark.parametrize("order", [["one", "two"], [["one"], "three"], "one", "(one,two)"])
@pytest.mark.parametrize("given", [{}, {"use_rep": "X_pca"}])
def test_an_order_that_forgets_a_batch_is_refused(adata, order, given):
    with pytest.raises(ValueError, match="the merge order leaves out"):
        fast(adata, merge_order=order, **given)


# -------------------------------------------------------------------------------- small batches


def test_batches_of_one_cell_are_refused(adata):
    kept = np.r_[0:50, 74]
    for given in ({}, {"use_rep": "X_pca"}):
        with pytest.raises(ValueError, match=r"one cell in obs\['batch'\]: 'three'"):
            fast(adata[kept].copy(), **given)


CORRECTIONS = {
    "fast": lambda adata, **options: fast(adata, n_neighbors=28, **options),
    "embedding": lambda adata, **options: fast(adata, n_neighbors=28, use_rep="X_pca", **options),
    "integrate": lambda adata, **options: pp.mnn_integrate(
        adata, "batch", method="fast", n_neighbors=28, n_jobs=1, **options
    ),
    "classic": lambda adata, **options: pp.mnn_classic(
        adata, "batch", n_neighbors=28, n_jobs=1, **options
    ),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_fewer_cells_than_neighbours_are_told_in_one_warning(adata, name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CORRECTIONS[name](adata)
    (warning,) = caught
    assert "fewer than n_neighbors=28 cells: one (20), three (25);" in str(warning.message)


def test_cells_that_do_not_count_are_not_counted(adata):
    adata.obs["kept"] = (adata.obs["batch"] != "two") | (np.arange(75) % 5 == 0)
    with pytest.warns(UserWarning, match=r"n_neighbors=10 .*: two \(6\);"):
        fast(adata, n_neighbors=10, restrict="kept")


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"layer": "log"}, "layer"),
        ({"use_raw": True}, "use_raw"),
        ({"mask_var": "highly_variable"}, "mask_var"),
        ({"mask_var": None}, "mask_var"),
        ({"correct_all": True}, "correct_all"),
        ({"cosine_norm": False}, "cosine_norm"),
        ({"n_comps": 20}, "n_comps"),
        ({"n_comps": None}, "n_comps"),
        ({"batch_weights": False, "n_comps": 20}, "n_comps, batch_weights"),
    ],
)
def test_what_concerns_genes_is_refused_for_an_embedding(adata, changed, what):
    with pytest.raises(ValueError, match=f"what concerns genes: {what}; leave it out") as caught:
        fast(adata, use_rep="X_pca", **changed)
    assert "use_rep='X_pca'" in str(caught.value)


@pytest.mark.parametrize("method", ["mnn_fast", "mnn_calibrated"])
def test_an_embedding_is_not_replaced_by_what_is_made_of_it(adata, method):
    # The record would name what was corrected as where cells lay before, and so would a model.
    for options in ({"adjusted_basis": "X_pca"}, {"key_added": "other", "adjusted_basis": "X_pca"}):
        with pytest.raises(ValueError, match=r"the place of obsm\['X_pca'\]"):
            getattr(pp, method)(adata, "batch", use_rep="X_pca", **options)
    with pytest.raises(ValueError, match=r"the place of obsm\['X_mnn_uncorrected'\]"):
        getattr(pp, method)(adata, "batch", n_comps=5, adjusted_basis="X_mnn_uncorrected")


def test_a_layer_is_not_replaced_by_what_is_made_of_it(adata):
    adata.layers["mnn"] = adata.X.copy()
    match = r"would take the place of layers\['mnn'\], .*key_added"
    with pytest.raises(ValueError, match=match):
        pp.mnn_classic(adata, "batch", layer="mnn", n_neighbors=5)
    with pytest.raises(ValueError, match=match):
        pp.mnn_calibrated(adata, "batch", layer="mnn", n_comps=5, write_expression=True)


def test_defaults_may_be_given_with_an_embedding(adata):
    assert fast(adata, use_rep="X_pca", n_comps=50, cosine_norm=True, layer=None) is not None


@pytest.mark.parametrize(
    ("changed", "kind", "what"),
    [
        ({"use_rep": "X_umap"}, KeyError, "obsm has no 'X_umap'; it has: 'X_pca'"),
        ({"layer": "counts"}, KeyError, "layers has no 'counts'"),
        ({"n_comps": 0}, ValueError, "n_comps is 0"),
        ({"n_comps": 2.5}, ValueError, "n_comps is 2.5"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors is 0"),
        ({"prop_neighbors": 2.0}, ValueError, "prop_neighbors is 2.0"),
        ({"ndist": -1.0}, ValueError, "ndist is -1.0"),
        ({"min_batch_size": -1.0}, ValueError, "min_batch_size is -1.0"),
        ({"recall": 0.0}, ValueError, "recall is 0.0"),
        ({"neighbors": "annoy"}, ValueError, "`neighbors` is 'annoy'"),
        ({"merge_order": "one,two,three", "auto_merge": True}, ValueError, "exclude one another"),
    ],
)
def test_bad_parameters_are_refused_in_a_line(adata, changed, kind, what):
    with pytest.raises(kind, match=what) as caught:
        fast(adata, **changed)
    assert "\n" not in str(caught.value)


def test_the_log_says_what_was_done(adata, caplog):
    with caplog.at_level(logging.INFO, "mnncorrect"):
        fast(adata, min_batch_size=0.7)
        fast(adata, use_rep="X_pca")
    assert "correcting 75 cells in 3 batches (one: 20, two: 30, three: 25)" in caplog.text
    assert "6 components hold " in caplog.text
    assert "% of variance lost" in caplog.text
    assert "batch size 0." in caplog.text
    assert "distances in 6 dimensions of obsm['X_pca']" in caplog.text


def test_progress_is_told(adata):
    told = []
    fast(adata, progress=lambda stage, share: told.append((stage, share)))
    assert {"neighbours", "merges"} <= {stage for stage, _ in told}
    assert all(0 <= share <= 1 for _, share in told)
