"""Correction by clusters on AnnData."""

from __future__ import annotations

import json

import anndata
import naive
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp


@pytest.fixture
def adata(blobs):
    """Three batches of positive values, each of three clusters with labels of its own order."""
    x, codes, truth = blobs(sizes=(30, 36, 33), positive=True, shift=1.5)
    data = anndata.AnnData(x)
    data.obs["batch"] = pd.Categorical.from_codes(codes, ["one", "two", "three"])
    data.obs["cluster"] = pd.Categorical(np.array(["x", "y", "z"])[(truth + codes) % 3])
    data.obs["truth"] = truth
    data.var["highly_variable"] = np.arange(data.n_vars) % 4 != 1
    return data


def cluster(adata, **changed):
    return pp.mnn_cluster(
        adata, "batch", **{"clusters": "cluster", "n_jobs": 1, "copy": True, **changed}
    )


def of_oracle(adata, **options):
    parts = [adata[adata.obs["batch"] == name] for name in adata.obs["batch"].cat.categories]
    labels = [part.obs["cluster"].astype(str).tolist() for part in parts]
    return naive.mnn_cluster([part.X for part in parts], labels, **options)


OPTIONS = {
    "default": {},
    "order": {"merge_order": ["three", "one", "two"]},
    "tree": {"merge_order": ["one", ["three", "two"]]},
    "automatic": {"auto_merge": True},
    "skipping": {"min_batch_size": 1.01},
    "not_normalised": {"cosine_norm": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_it_gives_what_the_oracle_gives(adata, name):
    options = OPTIONS[name]
    found = cluster(adata, mask_var=None, **options)
    number = {"one": 0, "two": 1, "three": 2}
    theirs = dict(options)
    if "merge_order" in theirs:
        theirs["merge_order"] = [
            number[b] if isinstance(b, str) else [number[c] for c in b]
            for b in theirs["merge_order"]
        ]
    expected = of_oracle(adata, **theirs)
    signs = np.sign((found.varm["mnn_loadings"] * expected.rotation).sum(0))
    np.testing.assert_allclose(found.obsm["X_mnn"] * signs, expected.corrected, atol=1e-9)
    stored = found.uns["mnn"]
    assert stored["merges"]["skipped"].tolist() == [merge.skipped for merge in expected.merges]
    lost = [merge.lost_variance for merge in expected.merges]
    np.testing.assert_allclose(stored["lost_variance"], lost, atol=1e-9)
    table = stored["clusters"]
    assert table["cluster"].tolist() == expected.cluster
    assert [number[b] for b in table["batch"]] == expected.batch.tolist()
    assert table["meta"].tolist() == list(expected.meta)


def test_min_batch_size_has_its_effect(adata):
    moved = cluster(adata).uns["mnn"]["merges"]
    still = cluster(adata, min_batch_size=1.01).uns["mnn"]["merges"]
    assert not moved["skipped"].any()
    assert still["skipped"].all()
    assert (moved["batch_size"] > 0).all()


def test_meta_clusters_are_the_populations(adata):
    table = cluster(adata).uns["mnn"]["clusters"]
    truth = {
        (batch, label): str(part["truth"].iloc[0])
        for (batch, label), part in adata.obs.groupby(["batch", "cluster"], observed=True)
    }
    found = {
        (truth[batch, label], meta)
        for batch, label, meta in zip(table["batch"], table["cluster"], table["meta"], strict=True)
    }
    assert len(found) == 3
    assert table["n_cells"].sum() == adata.n_obs


def test_results_are_where_they_belong(adata):
    found = cluster(adata, correct_all=True)
    assert found.obsm["X_mnn"].shape == (99, 8)
    assert set(found.obsp) == set()
    assert set(found.var) == {"highly_variable", "mnn_genes", "mnn_center"}
    assert found.varm["mnn_loadings"].all(1).all()
    stored = found.uns["mnn"]
    pairs = stored["cluster_pairs"]
    assert list(pairs.columns) == ["merge", "left", "right"]
    assert np.bincount(pairs["merge"]).tolist() == stored["merges"]["pairs"].tolist()
    batch = stored["clusters"]["batch"].to_numpy()
    for merge, left, right in pairs.itertuples(index=False):
        sides = stored["merges"].iloc[merge]
        assert batch[left] in json.loads(sides["left"])
        assert batch[right] in json.loads(sides["right"])
    assert stored["params"] == {
        "method": "cluster", "key": "batch", "auto_merge": False, "use_raw": False,
        "merge_order": '["one", "two", "three"]', "mask_var": "highly_variable",
        "correct_all": True, "clusters": "cluster", "adjusted_basis": "X_mnn",
        "cosine_norm": True, "min_batch_size": 0.0,
    }  # fmt: skip


def test_results_survive_a_file(adata, tmp_path):
    found = cluster(adata)
    found.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    for name in ("clusters", "cluster_pairs", "merges"):
        pd.testing.assert_frame_equal(
            back.uns["mnn"][name],
            found.uns["mnn"][name],
            check_dtype=False,
            check_categorical=False,
        )


def test_centroids_are_of_the_cells_that_count(adata):
    adata.obs["kept"] = np.arange(99) % 4 != 0
    found = cluster(adata, restrict="kept")
    assert found.uns["mnn"]["clusters"]["n_cells"].sum() == adata.obs["kept"].sum()
    assert np.isfinite(found.obsm["X_mnn"]).all()


def test_numbers_of_clusters_are_in_their_order(adata):
    adata.obs["cluster"] = adata.obs["cluster"].cat.codes.to_numpy() * 5 + 5
    table = cluster(adata).uns["mnn"]["clusters"]
    assert table["cluster"].tolist() == ["5", "10", "15"] * 3


def test_identical_batches_stay_as_they_are(adata):
    one = adata[adata.obs["batch"] == "one"].copy()
    same = anndata.concat({"a": one, "b": one}, label="batch", index_unique="-")
    same.obs["batch"] = same.obs["batch"].astype("category")
    found = cluster(same)
    halves = np.split(found.obsm["X_mnn"], 2)
    assert np.isfinite(found.obsm["X_mnn"]).all()
    np.testing.assert_allclose(halves[0], halves[1], atol=1e-9)


def test_clusters_of_one_cell_and_batches_of_one_cluster_are_fine(adata):
    labels = adata.obs["cluster"].astype(str).to_numpy()
    labels[0] = "alone"
    labels[adata.obs["batch"] == "two"] = "all"
    adata.obs["cluster"] = labels
    assert np.isfinite(cluster(adata).obsm["X_mnn"]).all()


@pytest.mark.parametrize(
    ("changed", "kind", "what"),
    [
        ({"clusters": "louvain"}, KeyError, "obs has no 'louvain'; it has"),
        ({"clusters": "partly"}, ValueError, r"obs\['partly'\] is missing for 1 of 99 cells"),
        ({"merge_order": ["one", "two"]}, ValueError, "leaves out 'three'"),
        ({"min_batch_size": -1.0}, ValueError, "min_batch_size is -1.0"),
    ],
)
def test_bad_parameters_are_refused(adata, changed, kind, what):
    adata.obs["partly"] = adata.obs["cluster"].astype(object)
    adata.obs.iloc[4, adata.obs.columns.get_loc("partly")] = None
    with pytest.raises(kind, match=what):
        cluster(adata, **changed)


def test_batches_of_one_cell_are_refused(adata):
    with pytest.raises(ValueError, match="batches of one cell"):
        cluster(adata[np.r_[0:66, 98]].copy())
