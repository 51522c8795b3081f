"""The call in scanpy's form, and batches of several factors."""

from __future__ import annotations

import inspect
import json
import logging

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy.external as sce

from mnncorrect import pp
from mnncorrect._adata import batch_names, recorded_key, take_batches
from mnncorrect.core.merging.plans import nested_plan, parse_merge_order, plan_text


@pytest.fixture
def adata(blobs):
    """Five donors in three protocols, 100 cells, with an embedding; cells come in no order."""
    x, codes, _ = blobs(sizes=(24, 20, 18, 22, 16), n_features=6, spread=1.0, positive=True)
    order = np.random.default_rng(1).permutation(len(x))
    x, codes = x[order], codes[order]
    data = anndata.AnnData(x.copy())
    data.obsm["X_pca"] = x - x.mean(0)
    # Donor numbers start anew in each protocol; the protocols stand in an order of their own.
    protocol = np.array(["smart", "smart", "10x", "10x", "drop"])[codes]
    data.obs["protocol"] = pd.Categorical(protocol, categories=["smart", "drop", "10x"])
    data.obs["donor"] = np.array([1, 2, 1, 2, 1])[codes]
    data.obs["both"] = pd.Categorical(
        np.array(["smart/1", "smart/2", "10x/1", "10x/2", "drop/1"])[codes],
        categories=["smart/1", "smart/2", "drop/1", "10x/1", "10x/2"],
    )
    return data


def integrate(adata, key="both", **options):
    return pp.mnn_integrate(
        adata, key, method="fast", n_neighbors=5, n_jobs=1, copy=True, **options
    )


# -------------------------------------------------------------------------------- scanpy's form


@pytest.mark.parametrize("name", ["harmony_integrate", "scanorama_integrate"])
def test_the_call_is_scanpys(name):
    import scanpy

    # harmony_integrate moves from scanpy.external to scanpy in version 1.13.
    theirs = inspect.signature(getattr(scanpy.pp, name, None) or getattr(sce.pp, name)).parameters
    ours = inspect.signature(pp.mnn_integrate).parameters
    assert {"adata", "key", "basis", "adjusted_basis"} <= set(theirs) & set(ours)
    assert ours["basis"].default == theirs["basis"].default


def test_it_is_the_calibrated_method_on_the_embedding(adata):
    options = {"reference": "drop/1", "recall": 0.9, "random_state": 3, "n_jobs": 1}
    found = pp.mnn_integrate(adata, "both", copy=True, **options)
    expected = pp.mnn_calibrated(adata, "both", use_rep="X_pca", copy=True, **options)
    np.testing.assert_array_equal(found.obsm["X_mnn"], expected.obsm["X_mnn"])
    assert found.uns["mnn"]["params"] == expected.uns["mnn"]["params"]
    np.testing.assert_array_equal(found.obs["mnn_confidence"], expected.obs["mnn_confidence"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_neighbors": 5}, "'calibrated' has no use for n_neighbors: leave it out"),
        ({"ndist": 2.0, "auto_merge": True}, "no use for ndist, auto_merge"),
        ({"method": "fast", "reference": "10x/1"}, "'fast' has no use for reference"),
        ({"method": "slow"}, "'slow'; choose one of calibrated, fast"),
    ],
)
def test_what_the_method_has_no_use_for_is_refused(adata, options, match):
    with pytest.raises(ValueError, match=match):
        pp.mnn_integrate(adata, "both", **options)


def test_it_can_be_the_fast_method_on_the_embedding(adata):
    found = integrate(adata)
    expected = pp.mnn_fast(
        adata, "both", use_rep="X_pca", n_neighbors=5, n_jobs=1, copy=True
    )  # fmt: skip
    np.testing.assert_array_equal(found.obsm["X_mnn"], expected.obsm["X_mnn"])
    assert found.uns["mnn"]["params"] == expected.uns["mnn"]["params"]
    other = integrate(adata, basis="X_pca", adjusted_basis="X_pca_mnn")
    np.testing.assert_array_equal(other.obsm["X_pca_mnn"], expected.obsm["X_mnn"])
    assert "X_mnn" not in other.obsm


def test_every_parameter_is_handed_on(adata):
    options = {
        "prop_neighbors": 0.3, "ndist": 2.0, "min_batch_size": 0.5, "auto_merge": True,
        "restrict": adata.obs["donor"].to_numpy() > 0, "neighbors": "partition", "recall": 0.9,
        "sketch": 20, "key_added": "other", "random_state": 3,
        "label_key": np.arange(adata.n_obs) % 2, "keep": (np.arange(adata.n_obs) // 2) % 2,
    }  # fmt: skip
    found = integrate(adata, **options)
    expected = pp.mnn_fast(
        adata, "both", use_rep="X_pca", adjusted_basis="X_mnn", n_neighbors=5, n_jobs=1,
        copy=True, **options,
    )  # fmt: skip
    np.testing.assert_array_equal(found.obsm["X_mnn"], expected.obsm["X_mnn"])
    assert found.uns["other"]["params"] == expected.uns["other"]["params"]
    assert found.uns["other"]["provenance"]["random_state"] == 3
    # rng stands for random_state.
    names = set(inspect.signature(pp.mnn_integrate).parameters) - {"rng"}
    assert names - set(options) == {
        "adata", "key", "basis", "adjusted_basis", "method", "reference", "n_neighbors",
        "merge_order", "n_jobs", "progress", "copy",
    }  # fmt: skip


def test_an_object_without_genes_will_do():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"batch": ["x", "y"] * 20}, index=[f"cell{i}" for i in range(40)])
    bare = anndata.AnnData(obs=obs, obsm={"X_pca": rng.random((40, 4))})
    pp.mnn_integrate(bare, "batch")
    assert bare.obsm["X_mnn"].shape == (40, 4)


@pytest.mark.slow
def test_scanpys_neighbours_take_the_result(adata):
    import scanpy

    found = integrate(adata)
    scanpy.pp.neighbors(found, use_rep="X_mnn", n_neighbors=5)
    assert "connectivities" in found.obsp


# ------------------------------------------------------------------------------ several factors


def test_batches_are_merged_inside_the_inner_factor_first(adata):
    found = integrate(adata, ["protocol", "donor"])
    merges = found.uns["mnn"]["merges"]
    steps = [
        (json.loads(left), json.loads(right))
        for left, right in zip(merges["left"], merges["right"], strict=True)
    ]
    assert steps == [
        (["10x/1"], ["10x/2"]),
        (["smart/1"], ["smart/2"]),
        (["smart/1", "smart/2"], ["drop/1"]),
        (["smart/1", "smart/2", "drop/1"], ["10x/1", "10x/2"]),
    ]
    order = [["smart/1", "smart/2", "drop/1"], ["10x/1", "10x/2"]]
    expected = integrate(adata, merge_order=order)
    np.testing.assert_array_equal(found.obsm["X_mnn"], expected.obsm["X_mnn"])
    params = found.uns["mnn"]["params"]
    assert json.loads(params["key"]) == ["protocol", "donor"]
    assert json.loads(params["merge_order"]) == order
    assert found.uns["mnn"]["batches"].tolist() == list(adata.obs["both"].cat.categories)


@pytest.mark.parametrize("method", [pp.mnn_classic, pp.mnn_fast])
def test_every_method_takes_several_factors(adata, method):
    options = {"n_neighbors": 5, "n_jobs": 1, "copy": True}
    if method is pp.mnn_fast:
        options["n_comps"] = 4
    found = method(adata, ("protocol", "donor"), **options)
    plan = json.loads(found.uns["mnn"]["params"]["merge_order"])
    expected = method(adata, "both", merge_order=plan, **options)
    assert (found.obsp["mnn_pairs"] != expected.obsp["mnn_pairs"]).nnz == 0
    name = "layers" if method is pp.mnn_classic else "obsm"
    key = "mnn" if method is pp.mnn_classic else "X_mnn"
    np.testing.assert_array_equal(getattr(found, name)[key], getattr(expected, name)[key])


def test_the_order_is_in_the_log_before_the_run(adata, caplog, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mnncorrect.core.methods.fast.mnn_reduced", stop)
    with caplog.at_level(logging.INFO, "mnncorrect"), pytest.raises(KeyboardInterrupt):
        integrate(adata, ["protocol", "donor"])
    assert "merge order: ((smart/1,smart/2,drop/1),(10x/1,10x/2))" in caplog.text


def test_one_column_in_a_list_is_the_column(adata):
    found, expected = integrate(adata, ["both"]), integrate(adata, "both")
    np.testing.assert_array_equal(found.obsm["X_mnn"], expected.obsm["X_mnn"])
    ordered = integrate(adata, ["both"], merge_order=["10x/1", "10x/2", *expected.uns["mnn"][
        "batches"][:3]])  # fmt: skip
    assert json.loads(ordered.uns["mnn"]["merges"]["left"].iloc[0]) == ["10x/1"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"merge_order": ["smart/1", "smart/2", "drop/1", "10x/1", "10x/2"]}, "`merge_order`"),
        ({"merge_order": "balanced"}, "`merge_order`"),
        ({"auto_merge": True}, "`auto_merge`"),
    ],
)
def test_an_order_besides_that_of_the_columns_is_refused(adata, options, match):
    with pytest.raises(ValueError, match=match):
        integrate(adata, ["protocol", "donor"], **options)


@pytest.mark.parametrize(
    ("key", "kind", "match"),
    [
        ([], ValueError, "key names no column"),
        (["donor", "donor"], ValueError, "key names a column twice"),
        (["protocol", "sex"], KeyError, "obs has no 'sex'; it has"),
    ],
)
def test_columns_that_cannot_be_are_refused(adata, key, kind, match):
    with pytest.raises(kind, match=match):
        integrate(adata, key)


def test_combinations_of_one_cell_are_refused(adata):
    few = adata[(adata.obs["both"] != "10x/2").to_numpy() | (np.arange(100) == _first(adata))]
    with pytest.raises(ValueError, match=r"batches of one cell in .*'10x/2'") as caught:
        integrate(few, ["protocol", "donor"])
    assert "leave these 1 out" in str(caught.value)


def _first(adata):
    return int(np.flatnonzero(adata.obs["both"] == "10x/2")[0])


def test_names_of_combinations_tell_them_apart():
    obs = pd.DataFrame(
        {"outer": ["a/b", "a", "a", 'a"'] * 2, "inner": ["c", "b/c", "b", "c"] * 2},
        index=[f"cell {row}" for row in range(8)],
    )
    batches = take_batches(anndata.AnnData(np.ones((8, 1)), obs=obs), ["outer", "inner"])
    assert batches.names == ("a/b", 'a/"b/c"', r'"a\""/c', '"a/b"/c')
    named = batch_names(obs, ["outer", "inner"])
    assert named.tolist()[:4] == ['"a/b"/c', 'a/"b/c"', "a/b", r'"a\""/c']
    assert named.tolist() == [batches.names[code] for code in batches.codes]


def test_a_recorded_key_is_read_back():
    assert recorded_key("donor", ["donor"]) == "donor"
    assert recorded_key('["protocol", "donor"]', ["protocol", "donor"]) == ["protocol", "donor"]
    assert recorded_key("[odd]", ["[odd]"]) == "[odd]"


def test_three_factors_nest():
    values = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1)]
    assert nested_plan(values) == (((0, 1), 2), (3, 4))
    assert nested_plan([(0,), (1,), (2,)]) == ((0, 1), 2)


@pytest.mark.parametrize(
    "order",
    [
        ["a", "b", "c, d", 'e"'],
        [["a", "b"], ["c, d", 'e"']],
        [["a", ["b", "c, d"]], 'e"'],
        ["a", ["b", ["c, d", 'e"']]],
    ],
)
def test_the_text_of_an_order_can_be_given_again(order):
    names = ["a", "b", "c, d", 'e"']
    assert parse_merge_order(plan_text(order), names) == parse_merge_order(order, names)
