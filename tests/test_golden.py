"""Every stored output of the reference implementation, to 1e-6 at the worst."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import naive
import numpy as np
import pytest
from naive import fast_of_genes

import mnncorrect
from mnncorrect.core.matrix.pca import multibatch_pca
from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.methods.cluster import mnn_cluster
from mnncorrect.core.methods.fast import mnn_reduced
from mnncorrect.core.runtime.compute import ComputeOptions

FILES = sorted(path.stem for path in (Path(__file__).parent / "golden").glob("*.npz"))
CLASSIC, REDUCED, FAST, CLUSTER, PCA = (
    [name for name in FILES if name.startswith(f"{family}_")]
    for family in ("classic", "reduced", "fast", "cluster", "pca")
)

# What agreement with the reference is asked for; what is seen is near 1e-13.
TOLERANCE = 1e-6
DIAGNOSTICS = 1e-9


def assert_same_merges(merges, case):
    """The same nodes in the same order, and the same pairs in the same order."""
    assert [merge.left for merge in merges] == case.left
    assert [merge.right for merge in merges] == case.right
    for merge, pairs in zip(merges, case.pairs, strict=True):
        np.testing.assert_array_equal(np.column_stack([merge.pairs.left, merge.pairs.right]), pairs)


def assert_same_diagnostics(merges, case):
    np.testing.assert_allclose([m.lost_variance for m in merges], case.lost_var, atol=DIAGNOSTICS)
    np.testing.assert_allclose([m.batch_size for m in merges], case.batch_size, atol=DIAGNOSTICS)
    assert [m.skipped for m in merges] == case.result["skipped"]


def align(rotation, like):
    """Signs of components, which are arbitrary."""
    return np.sign((rotation * like).sum(axis=0))


def core_params(case):
    """Parameters as floor 1 takes them: a merge order is nested pairs of batch numbers."""
    params = dict(case.params)
    for name in ("get_variance", "clusters"):
        params.pop(name, None)
    if "batch_weights" in params:
        params["batch_weights"] = np.array(params["batch_weights"])
    if "merge_order" in params:
        params["merge_order"] = chain(params["merge_order"])
    return params


def chain(order):
    """Nested lists as nested pairs."""
    if isinstance(order, int):
        return order
    tree, *rest = [chain(child) for child in order]
    for child in rest:
        tree = (tree, child)
    return tree


def test_all_files_are_there():
    counts = [len(family) for family in (CLASSIC, REDUCED, FAST, CLUSTER, PCA)]
    assert counts == [14, 7, 8, 2, 3]
    assert len(FILES) == 38


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_agrees_with_the_reference(golden, name):
    case = golden(name)
    result = mnn_classic(case.x, case.codes, compute=ComputeOptions("exact"), **core_params(case))
    np.testing.assert_allclose(result.corrected, case.corrected, rtol=0, atol=TOLERANCE)
    assert_same_merges(result.merges, case)
    assert result.corrected.dtype == np.float64
    assert result.engines == ("exact",)


def as_anndata(case):
    """The case as a user has it, batches named by their numbers."""
    adata = anndata.AnnData(case.x.copy())
    adata.obs["batch"] = case.codes
    return adata


def user_params(case):
    """Parameters under the names of floor 2."""
    params = dict(case.params)
    mask = params.pop("mask", None)
    if not case.method.startswith("reduced"):
        params["mask_var"] = mask
    for name in ("get_variance", "clusters"):
        params.pop(name, None)
    return params


def assert_stored_table(adata, case):
    """The table of merges, as it is kept in the object, with lost variance where measured."""
    stored = adata.uns["mnn"]
    table = stored["merges"]
    for side in ("left", "right"):
        batches = [tuple(int(name) for name in json.loads(names)) for names in table[side]]
        assert batches == getattr(case, side)
    assert table["pairs"].tolist() == case.result["n_pairs"]
    if hasattr(case, "lost_var"):
        np.testing.assert_allclose(stored["lost_variance"], case.lost_var, atol=DIAGNOSTICS)
        np.testing.assert_allclose(table["batch_size"], case.batch_size, atol=DIAGNOSTICS)
        assert table["skipped"].tolist() == case.result["skipped"]


def assert_stored_merges(adata, case):
    """The table of merges and the pairs of all of them, as they are kept in the object."""
    assert_stored_table(adata, case)
    pairs = adata.obsp["mnn_pairs"].tocoo()
    stored = set(zip(pairs.col.tolist(), pairs.row.tolist(), strict=True))
    assert stored == {tuple(pair) for pairs in case.pairs for pair in pairs.tolist()}


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_on_anndata_agrees_with_the_reference(golden, name):
    case = golden(name)
    adata = as_anndata(case)
    mnncorrect.pp.mnn_classic(adata, "batch", neighbors="exact", n_jobs=1, **user_params(case))
    layer = adata.layers["mnn"]
    corrected = adata.var["mnn_corrected"].to_numpy()
    np.testing.assert_allclose(layer[:, corrected], case.corrected, rtol=0, atol=TOLERANCE)
    assert (layer[:, ~corrected] == 0).all()
    assert_stored_merges(adata, case)
    np.testing.assert_array_equal(adata.X, case.x)


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_agrees_with_the_reference(golden, name):
    case = golden(name)
    result = mnn_reduced(case.x, case.codes, compute=ComputeOptions("exact"), **core_params(case))
    np.testing.assert_allclose(result.corrected, case.corrected, rtol=0, atol=TOLERANCE)
    assert_same_merges(result.merges, case)
    assert_same_diagnostics(result.merges, case)


@pytest.mark.parametrize("name", FAST)
def test_fast_agrees_with_the_reference(golden, name):
    case = golden(name)
    result, components = fast_of_genes(
        case.x, case.codes, compute=ComputeOptions("exact"), **core_params(case)
    )
    signs = align(components.rotation, case.rotation)
    np.testing.assert_allclose(result.corrected * signs, case.corrected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(components.rotation * signs, case.rotation, atol=TOLERANCE)
    np.testing.assert_allclose(components.center, case.centers, atol=TOLERANCE)
    reconstructed = result.corrected @ components.rotation.T
    np.testing.assert_allclose(reconstructed, case.reconstructed, atol=TOLERANCE)
    assert_same_merges(result.merges, case)
    assert_same_diagnostics(result.merges, case)
    if "var_explained" in case.result:
        np.testing.assert_allclose(components.variance, case.result["var_explained"], rtol=1e-6)
        assert components.total_variance == pytest.approx(case.result["var_total"])


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("call", ["mnn_fast", "mnn_integrate"])
def test_an_embedding_on_anndata_agrees_with_the_reference(golden, name, call):
    case = golden(name)
    adata = as_anndata(case)
    adata.obsm["X_pca"] = case.x.copy()
    given = {"use_rep": "X_pca"} if call == "mnn_fast" else {"method": "fast"}
    correct = getattr(mnncorrect.pp, call)
    correct(adata, "batch", neighbors="exact", n_jobs=1, **given, **user_params(case))
    np.testing.assert_allclose(adata.obsm["X_mnn"], case.corrected, rtol=0, atol=TOLERANCE)
    assert_stored_merges(adata, case)
    np.testing.assert_array_equal(adata.obsm["X_pca"], case.x)


def assert_stored_components(adata, case):
    """The corrected components and the loadings of the genes that the reference gives."""
    stored = adata.uns["mnn"]["params"]
    genes = adata.var["mnn_genes"].to_numpy() | stored["correct_all"]
    loadings = adata.varm["mnn_loadings"]
    assert not loadings[~genes].any()
    signs = align(loadings[genes], case.rotation)
    corrected = adata.obsm["X_mnn"]
    np.testing.assert_allclose(corrected * signs, case.corrected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(loadings[genes] * signs, case.rotation, atol=TOLERANCE)
    if hasattr(case, "centers"):
        np.testing.assert_allclose(adata.var["mnn_center"][genes], case.centers, atol=TOLERANCE)
    if hasattr(case, "reconstructed"):
        mnncorrect.pp.mnn_expression(adata)
        layer = adata.layers["mnn"]
        np.testing.assert_allclose(layer[:, genes], case.reconstructed, atol=TOLERANCE)
        assert not layer[:, ~genes].any()


@pytest.mark.parametrize("name", FAST)
def test_fast_on_anndata_agrees_with_the_reference(golden, name):
    case = golden(name)
    adata = as_anndata(case)
    mnncorrect.pp.mnn_fast(adata, "batch", neighbors="exact", n_jobs=1, **user_params(case))
    assert_stored_components(adata, case)
    assert_stored_merges(adata, case)
    np.testing.assert_array_equal(adata.X, case.x)
    if "var_explained" in case.result:
        components = adata.uns["mnn"]["components"]
        np.testing.assert_allclose(components["variance"], case.result["var_explained"], rtol=1e-6)


@pytest.mark.parametrize("name", PCA)
def test_multibatch_pca_agrees_with_the_reference(golden, name):
    case = golden(name)
    params = core_params(case)
    params["weights"] = params.pop("batch_weights", None)
    found = multibatch_pca(case.x, case.codes, n_jobs=1, **params)
    signs = align(found.rotation, case.rotation)
    np.testing.assert_allclose(found.rotation * signs, case.rotation, atol=TOLERANCE)
    np.testing.assert_allclose(found.center, case.centers, atol=TOLERANCE)
    scores = np.vstack([case.pcs1, case.pcs2, case.pcs3])
    np.testing.assert_allclose(found.scores * signs, scores, atol=TOLERANCE)
    if "var_explained" in case.result:
        np.testing.assert_allclose(found.variance, case.result["var_explained"], rtol=1e-6)
        assert found.total_variance == pytest.approx(case.result["var_total"])


@pytest.mark.parametrize("name", CLUSTER)
def test_cluster_agrees_with_the_reference(golden, name):
    case = golden(name)
    clusters = np.concatenate(case.params["clusters"])
    result, components, found = mnn_cluster(case.x, case.codes, clusters, **core_params(case))
    signs = align(components.rotation, case.rotation)
    np.testing.assert_allclose(result.corrected * signs, case.corrected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(components.rotation * signs, case.rotation, atol=TOLERANCE)
    table = case.result["clusters"]
    np.testing.assert_array_equal(found.label.astype(str), table["cluster"])
    np.testing.assert_array_equal(found.batch, table["batch"])
    np.testing.assert_array_equal(found.meta + 1, table["meta"])
    assert [merge.left for merge in result.merges] == case.left
    assert [merge.right for merge in result.merges] == case.right
    # Later pairs are told up to centroids that coincide: the number is the same.
    assert [len(merge.pairs) for merge in result.merges] == case.result["n_pairs"]
    first = result.merges[0].pairs
    np.testing.assert_array_equal(np.column_stack([first.left, first.right]), case.pairs[0])
    assert_same_diagnostics(result.merges, case)


@pytest.mark.parametrize("name", CLUSTER)
def test_cluster_on_anndata_agrees_with_the_reference(golden, name):
    case = golden(name)
    adata = as_anndata(case)
    adata.obs["cluster"] = np.concatenate(case.params["clusters"])
    params = user_params(case)
    mnncorrect.pp.mnn_cluster(adata, "batch", clusters="cluster", n_jobs=1, **params)
    assert_stored_components(adata, case)
    assert_stored_table(adata, case)
    stored, expected = adata.uns["mnn"]["clusters"], case.result["clusters"]
    assert stored["cluster"].tolist() == expected["cluster"]
    assert stored["batch"].astype(int).tolist() == expected["batch"]
    assert (stored["meta"] + 1).tolist() == expected["meta"]
    pairs = adata.uns["mnn"]["cluster_pairs"]
    # Later pairs are told up to centroids that coincide.
    first = pairs.loc[pairs["merge"] == 0, ["left", "right"]]
    np.testing.assert_array_equal(first, case.pairs[0])


# -- The oracles ----------------------------------------------------------------------------------


def naive_params(case):
    """Parameters as the oracles take them: a restriction is one mask a batch."""
    params = {name: value for name, value in case.params.items() if name != "get_variance"}
    if "restrict" in params:
        ends = np.cumsum([len(batch) for batch in case.batches])
        params["restrict"] = np.split(params["restrict"], ends[:-1])
    return params


def oracle_of(case):
    """What the oracle of the case's method gives."""
    params = naive_params(case)
    if case.method == "multiBatchPCA":
        weights = params.pop("batch_weights", None)
        return naive.multibatch_pca(case.batches, weights=weights, **params)
    function = {
        "mnnCorrect": naive.mnn_classic,
        "reducedMNN": naive.mnn_reduced,
        "fastMNN": naive.mnn_fast,
        "clusterMNN": naive.mnn_cluster,
        "multiBatchNorm": naive.multibatch_normalize,
        "rescaleBatches": naive.rescale_batches,
        "regressBatches": naive.regress_batches,
    }[case.method]
    return function(case.batches, **params)


# The package is compared with each below: oracles change seldom.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if number % 3 else ())
        for number, name in enumerate(FILES)
    ],
)
def test_the_oracle_agrees_with_the_reference(golden, name):
    case = golden(name)
    found = oracle_of(case)
    signs = align(found.rotation, case.rotation) if hasattr(case, "rotation") else 1.0

    def assert_near(value, expected):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)

    if hasattr(case, "rotation"):
        assert_near(found.rotation * signs, case.rotation)
    if hasattr(case, "pcs1"):
        assert_near(found.scores * signs, np.vstack([case.pcs1, case.pcs2, case.pcs3]))
    elif hasattr(case, "out1"):
        assert_near(found.normalized, np.vstack([case.out1, case.out2, case.out3]))
        factors = [case.size_factors1, case.size_factors2, case.size_factors3]
        assert_near(found.size_factors, np.concatenate(factors))
    elif isinstance(found, np.ndarray):
        assert_near(found, case.corrected)
    else:
        assert_near(found.corrected * signs, case.corrected)
        assert [merge.left for merge in found.merges] == case.left
        assert [merge.right for merge in found.merges] == case.right
        for merge, pairs in zip(found.merges, case.pairs, strict=True):
            if hasattr(merge, "places"):
                naive.assert_same_pairs_up_to_ties(merge.pairs, pairs, merge.places)
            else:
                np.testing.assert_array_equal(merge.pairs, pairs)
        if hasattr(case, "lost_var"):
            assert_same_diagnostics(found.merges, case)


def test_only_pairs_of_the_same_length_count_as_ties():
    places = np.array([[0.0], [1e-12], [1.0], [3.0]])
    naive.assert_same_pairs_up_to_ties([(0, 2)], [(1, 2)], places)
    with pytest.raises(AssertionError, match="no counterpart"):
        naive.assert_same_pairs_up_to_ties([(0, 2)], [(0, 3)], places)
