"""Cells removed by their counts, genes and mitochondrial share, as scanpy does."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import pp
from mnncorrect.cli.app import app

FILTERS = {"min_counts": 130, "min_genes": 45, "max_mito": 12}
FLAGS = [word for name, n in FILTERS.items() for word in (f"--{name.replace('_', '-')}", str(n))]


def counted(seed=0, n_cells=120, n_genes=80, prefix="MT-"):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.6, 2.2, (n_cells, 1))
    mean = rng.gamma(1.0, 1.4, n_genes) * depth
    mean[:, :6] *= rng.uniform(0.3, 4, (n_cells, 1))
    names = [f"{prefix}ND{i}" if i < 6 else f"MTOR{i}" for i in range(n_genes)]
    return anndata.AnnData(
        sp.csr_matrix(rng.poisson(mean).astype(np.float32)),
        obs=pd.DataFrame(
            {"batch": np.where(np.arange(n_cells) % 3 == 0, "a", "b")},
            index=[f"c{seed}-{i}" for i in range(n_cells)],
        ),
        var=pd.DataFrame(index=names),
    )


def by_scanpy(adata, symbols=None):
    adata = adata.copy()
    adata.X = adata.X.toarray()  # for sparse values scanpy compiles loops
    names = adata.var_names if symbols is None else adata.var[symbols]
    adata.var["mt"] = names.str.upper().str.startswith("MT-")
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    adata = adata[adata.obs["pct_counts_mt"] <= FILTERS["max_mito"]].copy()
    sc.pp.filter_cells(adata, min_counts=FILTERS["min_counts"])
    sc.pp.filter_cells(adata, min_genes=FILTERS["min_genes"])
    return list(adata.obs_names)


def shell(*words, code=0):
    found = CliRunner().invoke(app, list(map(str, words)))
    assert found.exit_code == code, found.output
    return found.stdout


def scaled(adata):
    adata.X = adata.X.toarray()
    sc.pp.scale(adata)


@pytest.fixture
def path(tmp_path):
    counted().write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


@pytest.mark.slow  # scanpy compiles its own loops
def test_the_cells_of_scanpys_filters_are_kept_and_counted_by_batch():
    adata = counted()
    kept = by_scanpy(adata)
    assert 40 < len(kept) < 110
    made = mnncorrect.run(adata, "batch", n_comps=5, gmm=False, copy=True, **FILTERS)
    assert list(made.obs_names) == kept
    done = made.uns["mnn"]["prepared"]
    assert {name: done[name] for name in FILTERS} == FILTERS
    assert done["n_removed"] == 120 - len(kept)
    left = made.obs["batch"].value_counts()
    sizes = adata.obs["batch"].value_counts()
    expected = [[name, int(sizes[name] - left[name]), int(sizes[name])] for name in "ab"]
    assert json.loads(done["removed"]) == expected


def test_filtered_cells_are_corrected_as_if_they_were_all():
    adata = counted()
    alone = adata[by_scanpy(adata)].copy()
    mnncorrect.run(alone, "batch", n_comps=5, gmm=False)
    made = mnncorrect.run(adata, "batch", n_comps=5, gmm=False, copy=True, **FILTERS)
    np.testing.assert_array_equal(made.obsm["X_mnn"], alone.obsm["X_mnn"])


@pytest.mark.slow
def test_plan_check_and_run_remove_the_same_cells(path, tmp_path):
    kept = by_scanpy(counted())
    common = [path, "-b", "batch", *FLAGS]
    output = tmp_path / "out.h5ad"
    plan = json.loads(shell("run", *common, "-o", output, "--dry-run", "--json"))
    check = json.loads(shell("check", *common, "--json"))
    assert plan["n_cells"] == check["n_cells"] == len(kept)
    assert f"{120 - len(kept)} of 120" in " ".join(plan["steps"])
    assert all(word in check["next"] for word in FLAGS)
    shell("run", *common, "-o", output, "--n-comps", 5, "--no-gmm", "--report", tmp_path / "r.html")
    assert list(anndata.read_h5ad(output).obs_names) == kept
    text = (tmp_path / "r.html").read_text()
    assert f"{120 - len(kept)} cells" in text
    assert "min_genes 45" in shell("info", output)


def test_each_file_is_filtered_over_all_its_genes(tmp_path):
    files = {name: counted(seed) for seed, name in enumerate(("one", "two"))}
    files["two"] = files["two"][
        :, 3:
    ].copy()  # Mitochondrial genes that are not shared count as well.
    for name, adata in files.items():
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    made = mnncorrect.run(
        [tmp_path / "one.h5ad", tmp_path / "two.h5ad"], n_comps=5, gmm=False, **FILTERS
    )
    expected = [cell for adata in files.values() for cell in by_scanpy(adata)]
    assert list(made.obs_names) == expected


def test_filters_and_subset_hold_together(path, tmp_path):
    adata = counted()
    adata.obs["lane"] = pd.Categorical(np.arange(120) % 2 == 0).rename_categories(["x", "y"])
    made = mnncorrect.run(
        adata, "batch", subset="lane=x", n_comps=5, gmm=False, copy=True, **FILTERS
    )
    assert list(made.obs_names) == by_scanpy(adata[adata.obs["lane"] == "x"])


def test_symbols_in_a_column_name_mitochondrial_genes():
    adata = counted(prefix="mt-")
    adata.var["symbol"] = list(adata.var_names)
    adata.var_names = [f"ENSMUSG{i:011d}" for i in range(adata.n_vars)]
    with pytest.raises(ValueError, match=r"max_mito.*gene_key='symbol'"):
        mnncorrect.run(adata, "batch", max_mito=12, copy=True)
    made = mnncorrect.run(
        adata, "batch", gene_key="symbol", n_comps=5, gmm=False, copy=True, **FILTERS
    )
    assert list(made.obs_names) == by_scanpy(adata, "symbol")


def test_raw_is_filtered_over_the_genes_of_raw():
    adata = counted()
    kept = by_scanpy(adata)
    adata.raw = adata
    adata = adata[:, 10:].copy()
    made = mnncorrect.run(adata, "batch", use_raw=True, n_comps=5, gmm=False, copy=True, **FILTERS)
    assert list(made.obs_names) == kept


@pytest.mark.parametrize("copy", [False, True])
def test_prepare_filters_as_run_does(copy):
    adata = counted()
    kept = by_scanpy(adata)
    made = pp.prepare(adata, "batch", copy=copy, **FILTERS)
    made = made if copy else adata
    assert list(made.obs_names) == kept
    assert adata.n_obs == (120 if copy else len(kept))
    assert made.layers["mnn_log1p"].shape == made.shape
    pp.mnn_calibrated(made, "batch", layer="mnn_log1p", mask_var="mnn_genes", n_comps=5)
    assert made.uns["mnn"]["prepared"]["n_removed"] == 120 - len(kept)


def test_filters_that_remove_nothing_leave_the_object_in_place():
    adata = counted()
    mnncorrect.run(adata, "batch", min_counts=1, n_comps=5, gmm=False)
    assert adata.uns["mnn"]["prepared"]["n_removed"] == 0


@pytest.mark.parametrize(
    ("change", "filters", "words"),
    [
        (lambda a: None, {"min_counts": 1e6}, ["no cell is left", "min_counts"]),
        (sc.pp.log1p, {"min_counts": 10}, ["log values", "min_counts"]),
        (sc.pp.log1p, {"max_mito": 50}, ["log values", "max_mito"]),
        (scaled, {"min_genes": 2}, ["scaled", "min_genes"]),
        (lambda a: None, {"max_mito": 101}, ["max_mito", "100"]),
        (lambda a: None, {"min_genes": -1}, ["min_genes"]),
        (lambda a: None, {"min_counts": float("nan")}, ["min_counts"]),
    ],
)
@pytest.mark.parametrize("call", [mnncorrect.run, mnncorrect.plan, pp.prepare])
def test_filters_that_cannot_be_applied_are_refused(change, filters, words, call):
    adata = counted()
    change(adata)
    before = adata.shape
    with pytest.raises(ValueError, match=words[0]) as error:
        call(adata, "batch", **filters)
    assert all(word in str(error.value) for word in words)
    assert adata.shape == before
    assert "mnn" not in adata.uns


def test_a_value_that_is_not_finite_is_refused_and_not_removed():
    adata = counted()
    adata.X.data[5] = np.nan
    with pytest.raises(ValueError, match="finite"):
        mnncorrect.run(adata, "batch", min_counts=1, copy=True)


def test_a_batch_of_which_nothing_is_left_is_warned_of(caplog):
    adata = counted()
    adata.obs["batch"] = np.where(np.arange(120) < 4, "poor", adata.obs["batch"])
    adata.X = sp.csr_matrix(
        np.where(np.arange(120)[:, None] < 4, adata.X.toarray() > 2, adata.X.toarray())
    )
    mnncorrect.run(adata, "batch", min_counts=100, n_comps=5, gmm=False, copy=True)
    assert "poor" in caplog.text


def test_filters_are_refused_for_an_embedding():
    adata = counted()
    adata.obsm["X_pca"] = np.zeros((120, 3))
    with pytest.raises(ValueError, match="min_counts"):
        mnncorrect.run(adata, "batch", use_rep="X_pca", min_counts=5)


@pytest.mark.slow
def test_cells_removed_are_numbers_for_programs_and_words_in_a_report(path, tmp_path):
    kept = by_scanpy(anndata.read_h5ad(path))
    words = [path, "-b", "batch", *FLAGS, "-o", tmp_path / "out.h5ad"]
    facts = json.loads(shell("run", *words, "--dry-run", "--json"))["removed"]
    assert facts["n_removed"] == 120 - len(kept)
    assert sum(removed for _, removed, _ in facts["removed"]) == facts["n_removed"]
    assert facts["min_counts"] == FILTERS["min_counts"]
    assert facts == json.loads(shell("check", *words[:-2], "--json"))["removed"]
    page = tmp_path / "out.html"
    shell("run", *words, "--report", page, "--no-gmm", "--n-comps", 10)
    removed = next(n for name, n, _ in facts["removed"] if name == "a")
    told = f"{removed} of 40 in a"
    # In the methods paragraph, and in the table of parameters.
    assert page.read_text().count(told) >= 2
    assert f"removed {told}" in shell("info", tmp_path / "out.h5ad")
