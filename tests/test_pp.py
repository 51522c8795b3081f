"""Corrections on AnnData: the reference's numbers, and where results live."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from conftest import GOLDEN
from scipy import sparse

from mnncorrect import pp
from mnncorrect._adata import corrections
from mnncorrect.core.merging.plans import nested_names, parse_merge_order

CLASSIC = sorted(path.stem for path in GOLDEN.glob("classic_*.npz"))


def named_tree(order, names):
    """A merge order by numbers, as one by names."""
    if isinstance(order, int):
        return names[order]
    return [named_tree(child, names) for child in order]


@pytest.fixture
def adata(blobs):
    """Two batches of positive values, 70 cells by 12 genes, with something in every slot."""
    x, codes, truth = blobs(positive=True)
    data = anndata.AnnData(x.astype(np.float32))
    data.obs["batch"] = pd.Categorical.from_codes(codes, ["one", "two"])
    data.obs["population"] = pd.Categorical(truth.astype(str))
    data.var["highly_variable"] = np.arange(data.n_vars) % 3 > 0
    data.layers["other"] = sparse.csr_matrix(x)
    data.obsm["X_other"] = x[:, :2]
    data.uns["other"] = {"a": 1}
    data.raw = data.copy()
    return data


@pytest.fixture
def file_of(tmp_path):
    """Function from an object to the bytes of its h5ad file: equal objects have equal files."""

    def as_bytes(adata):
        adata.copy().write_h5ad(tmp_path / "compared.h5ad")
        return (tmp_path / "compared.h5ad").read_bytes()

    return as_bytes


def run(adata, **changed):
    """The correction of a copy, with few neighbours on one thread."""
    return pp.mnn_classic(
        adata, changed.pop("key", "batch"),
        **{"n_neighbors": 5, "n_jobs": 1, "copy": True, **changed},
    )  # fmt: skip


# ------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("name", CLASSIC)
def test_the_reference_is_reproduced(golden, name):
    file = golden(name)
    names = [f"batch {b}" for b in range(len(file.batches))]
    data = anndata.AnnData(file.x)
    data.obs["batch"] = pd.Categorical.from_codes(file.codes, names)
    params = dict(file.params)
    params["mask_var"] = params.pop("mask", None)
    if "merge_order" in params:
        params["merge_order"] = named_tree(params["merge_order"], names)
    pp.mnn_classic(data, "batch", neighbors="exact", **params)

    genes = data.var["mnn_corrected"].to_numpy()
    assert np.abs(data.layers["mnn"][:, genes] - file.corrected).max() < 1e-6
    assert not data.layers["mnn"][:, ~genes].any()
    merges = data.uns["mnn"]["merges"]
    assert [tuple(names.index(b) for b in json.loads(m)) for m in merges["left"]] == file.left
    assert [tuple(names.index(b) for b in json.loads(m)) for m in merges["right"]] == file.right
    expected = np.vstack(file.pairs)
    found = data.obsp["mnn_pairs"].tocoo()
    assert set(zip(found.col, found.row, strict=True)) == set(map(tuple, expected))
    assert merges["pairs"].tolist() == [len(table) for table in file.pairs]


def test_a_gene_mask_gives_what_the_cut_data_gives(adata):
    masked = run(adata)
    cut = run(adata[:, adata.var["highly_variable"]].copy(), mask_var=None)
    genes = adata.var["highly_variable"].to_numpy()
    assert np.array_equal(masked.layers["mnn"][:, genes], cut.layers["mnn"])
    assert not masked.layers["mnn"][:, ~genes].any()


@pytest.mark.parametrize(
    "container", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.asfortranarray]
)
def test_the_container_does_not_matter(adata, container):
    dense = run(adata)
    adata.X = container(adata.X)
    assert np.abs(run(adata).layers["mnn"] - dense.layers["mnn"]).max() < 1e-6


def test_where_values_are_read_does_not_matter(adata):
    expected = run(adata).layers["mnn"]
    adata.layers["values"] = adata.X
    adata.X = np.zeros_like(adata.X)
    assert np.array_equal(run(adata, layer="values").layers["mnn"], expected)
    assert np.array_equal(run(adata, use_raw=True).layers["mnn"], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("correct_all", [False, True])
def test_results_have_the_float_type_of_the_input(adata, dtype, correct_all):
    adata.X = adata.X.astype(dtype)
    assert run(adata, correct_all=correct_all).layers["mnn"].dtype == dtype


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16])
def test_other_numbers_become_float32(adata, dtype):
    counts = np.round(adata.X * 5)
    adata.X = counts.astype(dtype)
    with pytest.warns(UserWarning, match="whole numbers, which look like counts"):
        corrected = run(adata).layers["mnn"]
    adata.X = counts.astype(np.float32)
    with pytest.warns(UserWarning, match="whole numbers"):
        assert np.array_equal(run(adata).layers["mnn"], corrected)
    assert corrected.dtype == np.float32


def test_batch_columns_of_every_kind_give_the_same(adata):
    expected = run(adata).layers["mnn"]
    codes = adata.obs["batch"].cat.codes.to_numpy()
    for column in (codes, codes.astype(bool), codes.astype(str), codes.astype(float)):
        adata.obs["key"] = column
        assert np.array_equal(run(adata, key="key").layers["mnn"], expected)


def test_the_order_of_categories_is_the_order_of_merging(adata):
    adata.obs["batch"] = adata.obs["batch"].cat.reorder_categories(["two", "one"])
    merges = run(adata).uns["mnn"]["merges"]
    assert merges["left"].tolist() == ['["two"]']
    ordered = run(adata, merge_order=["one", "two"]).uns["mnn"]["merges"]
    assert ordered["left"].tolist() == ['["one"]']


def test_restriction_by_column_and_by_mask_give_the_same(adata):
    adata.obs["kept"] = adata.obs["population"] != "0"
    by_column = run(adata, restrict="kept")
    by_mask = run(adata, restrict=adata.obs["kept"].to_numpy())
    assert np.array_equal(by_column.layers["mnn"], by_mask.layers["mnn"])
    assert by_column.uns["mnn"]["params"]["restrict"] == "kept"
    n_kept = int(adata.obs["kept"].sum())
    assert by_mask.uns["mnn"]["params"]["restrict"] == f"a mask of {n_kept} of 70 cells"
    rows, columns = by_column.obsp["mnn_pairs"].nonzero()
    assert adata.obs["kept"].to_numpy()[np.concatenate([rows, columns])].all()


def test_smoothing_globally_moves_all_cells_alike(adata):
    flat = run(adata, smoothing="global", adjust_variance=False, cosine_norm_out=False)
    genes = adata.var["highly_variable"].to_numpy()
    moved = (flat.layers["mnn"] - adata.X)[:, genes][adata.obs["batch"] == "two"]
    assert np.abs(moved - moved[0]).max() < 1e-5
    assert np.abs(moved[0]).max() > 1e-3


# ----------------------------------------------------------------------------- where things live


def test_results_are_where_they_belong(adata):
    result = run(adata)
    genes = adata.var["highly_variable"].to_numpy()
    assert result.layers["mnn"].shape == result.shape
    assert np.array_equal(result.var["mnn_genes"], genes)
    assert np.array_equal(result.var["mnn_corrected"], genes)
    pairs = result.obsp["mnn_pairs"]
    assert pairs.format == "csr"
    assert pairs.dtype == np.float32
    assert (pairs.data == 1).all()
    rows, columns = pairs.nonzero()
    assert (adata.obs["batch"].iloc[rows] == "two").all()
    assert (adata.obs["batch"].iloc[columns] == "one").all()
    stored = result.uns["mnn"]
    assert stored["not_for_differential_expression"] is True
    assert stored["batches"].tolist() == ["one", "two"]
    assert list(stored["merges"].columns) == ["left", "right", "pairs", "batch_size", "skipped"]
    assert stored["merges"]["pairs"].tolist() == [pairs.nnz]
    assert stored["merges"]["left"].tolist() == ['["one"]']
    assert stored["merges"]["right"].tolist() == ['["two"]']
    assert stored["lost_variance"].shape == (1, 2)
    assert run(adata, correct_all=True).var["mnn_corrected"].all()


def test_nothing_else_is_touched(adata, file_of):
    result = run(adata)
    for name in ("mnn_corrected", "mnn_genes"):
        del result.var[name]
    del result.layers["mnn"], result.obsp["mnn_pairs"], result.uns["mnn"]
    assert file_of(result) == file_of(adata)


def test_parameters_are_recorded_as_resolved(adata):
    stored = run(adata, merge_order=["two", "one"]).uns["mnn"]
    assert stored["params"] == {
        "method": "classic", "key": "batch", "use_raw": False, "mask_var": "highly_variable",
        "correct_all": False, "n_neighbors": 5, "sigma": 0.1, "cosine_norm_in": True,
        "cosine_norm_out": True, "n_svd": 0, "adjust_variance": True,
        "merge_order": '["two", "one"]', "auto_merge": False, "smoothing": "local",
        "neighbors": "exact", "recall": 0.995,
    }  # fmt: skip
    assert stored["provenance"]["random_state"] == 0
    assert stored["provenance"]["packages"]["numpy"] == np.__version__
    automatic = run(adata, auto_merge=True).uns["mnn"]["params"]
    assert json.loads(automatic["merge_order"]) in (["one", "two"], ["two", "one"])


def test_a_recorded_merge_order_can_be_given_again(golden):
    file = golden("classic_tree")
    data = anndata.AnnData(file.x)
    data.obs["batch"] = [f"batch {code}" for code in file.codes]
    names = [f"batch {b}" for b in range(len(file.batches))]
    order = named_tree(file.params["merge_order"], names)
    recorded = run(data, merge_order=order).uns["mnn"]["params"]["merge_order"]
    plan = parse_merge_order(order, names)
    assert parse_merge_order(json.loads(recorded), names) == plan
    assert json.loads(recorded) == nested_names(plan, names)


def test_a_mask_that_is_no_column_is_kept_as_one(adata):
    mask = np.arange(adata.n_vars) < 7
    result = run(adata, mask_var=mask)
    column = result.uns["mnn"]["params"]["mask_var"]
    assert np.array_equal(result.var[column], mask)
    again = run(result, mask_var=column)
    assert np.array_equal(again.layers["mnn"], result.layers["mnn"])


def test_another_key_keeps_the_first_result(adata):
    first = run(adata)
    both = run(first, key_added="second", sigma=1.0)
    assert np.array_equal(both.layers["mnn"], first.layers["mnn"])
    assert both.uns["second"]["params"]["sigma"] == 1.0
    assert {"second_corrected", "second_genes"} <= set(both.var.columns)
    assert "second_pairs" in both.obsp


def test_results_survive_a_file_and_equal_runs_give_equal_files(adata, tmp_path):
    for name in ("a", "b"):
        result = run(adata)
        pp.pca(result, n_comps=3)
        result.write_h5ad(tmp_path / f"{name}.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(back.uns["mnn"]["merges"], result.uns["mnn"]["merges"])
    assert np.array_equal(back.layers["mnn"], result.layers["mnn"])
    assert (back.obsp["mnn_pairs"] != result.obsp["mnn_pairs"]).nnz == 0
    assert dict(back.uns["mnn"]["params"]) == result.uns["mnn"]["params"]
    assert back.uns["mnn"]["batches"].tolist() == ["one", "two"]


def test_two_threads_give_the_same_file_as_one(adata, tmp_path):
    for n_jobs in (1, 2):
        result = run(adata, n_jobs=n_jobs, neighbors="exact")
        pp.pca(result, n_comps=3, n_jobs=n_jobs)
        result.write_h5ad(tmp_path / f"{n_jobs}.h5ad")
    assert (tmp_path / "1.h5ad").read_bytes() == (tmp_path / "2.h5ad").read_bytes()


def test_pairs_are_cut_with_the_object(adata):
    result = run(adata)
    part = result[::2].copy()
    assert part.obsp["mnn_pairs"].shape == (35, 35)


def test_a_layer_of_few_genes_is_sparse_where_it_would_be_too_large(adata, monkeypatch):
    mask = np.arange(adata.n_vars) < 4
    dense = run(adata, mask_var=mask).layers["mnn"]
    monkeypatch.setattr(corrections, "DENSE_VALUES", 100)
    thin = run(adata, mask_var=mask).layers["mnn"]
    assert sparse.issparse(thin)
    assert thin.has_canonical_format
    assert thin.indices.dtype == thin.indptr.dtype == np.int32
    assert np.array_equal(thin.toarray(), dense)
    assert not sparse.issparse(run(adata).layers["mnn"])


# ---------------------------------------------------------------------------------- in place


def test_in_place_returns_nothing_and_a_copy_leaves_the_input(adata, file_of):
    before = file_of(adata)
    result = run(adata)
    assert file_of(adata) == before
    assert pp.mnn_classic(adata, "batch", n_neighbors=5, n_jobs=1) is None
    assert file_of(adata) == file_of(result)


def test_a_view_gets_its_results_and_its_parent_does_not(adata):
    parent = anndata.concat([adata, adata], index_unique="-", merge="same")
    view = parent[: adata.n_obs]
    pp.mnn_classic(view, "batch", n_neighbors=5, mask_var="highly_variable", n_jobs=1)
    assert np.array_equal(view.layers["mnn"], run(adata).layers["mnn"])
    assert "mnn" not in parent.layers
    other = parent[: adata.n_obs]
    assert np.array_equal(run(other).layers["mnn"], view.layers["mnn"])
    assert other.is_view


def test_a_failure_leaves_the_object_as_it_was(adata, monkeypatch, file_of):
    before = file_of(adata)
    monkeypatch.setattr("mnncorrect.core.methods.classic.average_vectors", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pp.mnn_classic(adata, "batch")
    assert file_of(adata) == before


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changed", "kind", "what"),
    [
        ({"key": "donor"}, KeyError, "obs has no 'donor'"),
        ({"layer": "counts"}, KeyError, "layers has no 'counts'; it has: 'other'"),
        ({"mask_var": "hvg"}, KeyError, "var has no 'hvg'"),
        ({"restrict": "kept"}, KeyError, "obs has no 'kept'"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors is 0"),
        ({"prop_neighbors": 0.0}, ValueError, "prop_neighbors is 0.0"),
        ({"prop_neighbors": 1.5}, ValueError, "prop_neighbors is 1.5"),
        ({"sigma": 0.0}, ValueError, "sigma is 0.0"),
        ({"sigma": float("nan")}, ValueError, "sigma is nan"),
        ({"n_svd": -1}, ValueError, "n_svd is -1"),
        ({"smoothing": "none"}, ValueError, "choose 'local' or 'global'"),
        ({"neighbors": "annoy"}, ValueError, "`neighbors` is 'annoy'; choose one of"),
        ({"n_jobs": 0}, ValueError, "n_jobs is 0"),
        ({"merge_order": ["one"]}, ValueError, "leaves out 'two'"),
        ({"merge_order": "one,two", "auto_merge": True}, ValueError, "exclude one another"),
    ],
)
def test_bad_parameters_are_refused_in_a_line_and_nothing_is_written(
    adata, changed, kind, what, file_of
):
    before = file_of(adata)
    with pytest.raises(kind, match=what) as caught:
        pp.mnn_classic(adata, changed.pop("key", "batch"), **changed)
    assert "\n" not in str(caught.value)
    assert file_of(adata) == before


def test_values_that_are_not_finite_are_refused(adata):
    adata.X[3, 2] = np.nan
    with pytest.raises(ValueError, match="X has 1 values that are not finite"):
        run(adata)


def test_progress_is_told(adata):
    told = []
    run(adata, progress=lambda stage, share: told.append((stage, share)))
    assert ("merges", 1.0) in told
    assert all(0 <= share <= 1 for _, share in told)


def test_the_log_says_what_was_done(adata, caplog):
    with caplog.at_level(logging.INFO, "mnncorrect"):
        result = run(adata)
    assert "correcting 70 cells in 2 batches (one: 30, two: 40)" in caplog.text
    assert "distances on 8 of 12 genes (var['highly_variable'])" in caplog.text
    assert f"two to one by {result.obsp['mnn_pairs'].nnz} pairs" in caplog.text


def test_importing_the_package_brings_no_scanpy_and_a_correction_what_it_computes_with():
    code = (
        "import sys, mnncorrect; assert 'numpy' not in sys.modules; mnncorrect.pp; mnncorrect.tl;"
        "heavy = {'scanpy', 'numba', 'pynndescent', 'sklearn'} & set(sys.modules);"
        "assert not heavy, heavy;"
        # A correction brings what it computes with.
        "mnncorrect.pp.mnn_fast;"
        "assert {'numba', 'mnncorrect.core.methods.fast'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------ cosine normalisation


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_cells_are_scaled_to_length_one_and_zero_cells_stay_zero(adata, container):
    values = adata.X.copy()
    values[4] = 0
    adata.X = container(values)
    scaled = pp.cosine_normalize(adata, copy=True)
    assert np.array_equal(
        np.asarray(scaled.layers["other"].todense()), adata.layers["other"].toarray()
    )
    dense = scaled.X.toarray() if sparse.issparse(scaled.X) else scaled.X
    assert scaled.X.dtype == np.float32
    assert np.allclose(np.linalg.norm(np.delete(dense, 4, axis=0), axis=1), 1, atol=1e-6)
    assert not dense[4].any()
    assert type(scaled.X) is type(adata.X)


def test_normalised_values_replace_what_was_read_or_go_to_a_layer(adata):
    expected = adata.X / np.linalg.norm(adata.X, axis=1, keepdims=True)
    assert pp.cosine_normalize(adata, key_added="cosine") is None
    assert np.allclose(adata.layers["cosine"], expected, atol=1e-6)
    assert np.array_equal(adata.X, adata.raw.X)
    pp.cosine_normalize(adata, layer="other")
    assert np.allclose(adata.layers["other"].toarray(), expected, atol=1e-6)
    view = adata[:10]
    pp.cosine_normalize(view)
    assert np.allclose(view.X, expected[:10], atol=1e-6)
    assert np.array_equal(adata.X, adata.raw.X)


# ------------------------------------------------------------------------ principal components


def test_components_are_stored_in_scanpys_layout(adata):
    result = run(adata)
    pp.pca(result, n_comps=4)
    genes = result.var["mnn_corrected"].to_numpy()
    values = result.layers["mnn"][:, genes].astype(np.float64)
    centred = values - values.mean(axis=0)
    u, d, _ = np.linalg.svd(centred, full_matrices=False)
    scores, loadings = result.obsm["X_mnn_pca"], result.varm["mnn_pca"]
    assert scores.shape == (70, 4)
    assert loadings.shape == (12, 4)
    assert not loadings[~genes].any()
    assert np.allclose(np.abs(scores), np.abs(u * d)[:, :4], atol=1e-5)
    assert np.allclose(centred @ loadings[genes], scores, atol=1e-5)
    variance = d**2 / (len(values) - 1)
    assert np.allclose(result.uns["mnn_pca"]["variance"], variance[:4], rtol=1e-4)
    ratio = result.uns["mnn_pca"]["variance_ratio"]
    assert np.allclose(ratio, (variance / variance.sum())[:4], rtol=1e-4)
    params = result.uns["mnn_pca"]["params"]
    assert params == {
        "layer": "mnn", "mask_var": "mnn_corrected", "n_comps": 4, "zero_center": True,
    }  # fmt: skip


def test_the_largest_loading_of_a_component_is_positive(adata):
    pp.pca(adata, layer=None, n_comps=5)
    loadings = adata.varm["mnn_pca"]
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(5)] > 0).all()


def test_sparse_values_give_the_same_components(adata):
    dense = pp.pca(adata, layer=None, n_comps=4, copy=True)
    adata.X = sparse.csr_matrix(adata.X)
    thin = pp.pca(adata, layer=None, n_comps=4, copy=True)
    assert np.allclose(dense.obsm["X_mnn_pca"], thin.obsm["X_mnn_pca"], atol=1e-4)


def test_values_without_variance_have_components_without_any(adata):
    adata.X = np.ones_like(adata.X)
    pp.pca(adata, layer=None, n_comps=2)
    np.testing.assert_array_equal(adata.uns["mnn_pca"]["variance_ratio"], 0)


def test_more_components_than_there_are_become_as_many_with_a_warning(adata):
    result = run(adata)
    with pytest.warns(UserWarning, match="n_comps is 50, but 70 cells x 8 genes have only 7"):
        pp.pca(result)
    assert result.obsm["X_mnn_pca"].shape == (70, 7)
    assert result.uns["mnn_pca"]["params"]["n_comps"] == 7


@pytest.mark.parametrize("n_comps", [0, -3, 1.5])
def test_a_number_of_components_that_cannot_be_is_refused(adata, n_comps):
    with pytest.raises(ValueError, match="n_comps is"):
        pp.pca(adata, layer=None, n_comps=n_comps)


def test_components_without_a_correction_are_refused(adata):
    with pytest.raises(KeyError, match="layers has no 'mnn'; it has: 'other'"):
        pp.pca(adata)
