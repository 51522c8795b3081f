"""Leiden clusters of a corrected embedding, by scanpy's igraph flavor."""

import importlib.util

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import tl
from mnncorrect._io.example import make_example
from mnncorrect._wording import UsageError
from mnncorrect.cli.app import app

needs_igraph = pytest.mark.skipif(
    importlib.util.find_spec("igraph") is None, reason="igraph is not installed"
)


@pytest.fixture
def embedded(rng):
    adata = anndata.AnnData(np.zeros((90, 1)))
    adata.obsm["X_mnn"] = rng.normal(size=(90, 4))
    adata.obsm["X_mnn"][:30] += 20
    adata.obs["leiden"] = "mine"
    return adata


@pytest.mark.slow
@needs_igraph
def test_clusters_are_those_of_scanpy_on_this_packages_neighbors(embedded):
    import scanpy as sc

    tl.leiden(embedded, resolution=0.7, random_state=3)
    sc.pp.neighbors(embedded, use_rep="X_mnn", transformer=tl.NeighborsTransformer(15))
    sc.tl.leiden(
        embedded,
        resolution=0.7,
        flavor="igraph",
        directed=False,
        n_iterations=2,
        random_state=3,
        key_added="theirs",
    )
    both = embedded.obs[["mnn_leiden", "theirs"]].drop_duplicates()
    assert len(both) == both["theirs"].nunique() == both["mnn_leiden"].nunique() > 2
    sizes = embedded.obs["mnn_leiden"].value_counts(sort=False)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert embedded.uns["mnn_leiden"]["params"]["resolution"] == 0.7
    assert set(embedded.obs["leiden"]) == {"mine"}


@pytest.mark.slow
@needs_igraph
def test_run_adds_leiden_clusters_on_the_shell_as_in_python(tmp_path):
    path, output = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    make_example().write_h5ad(path)
    words = ["run", path, "-b", "batch", "-o", output, "--leiden", "0.5", "--n-comps", "10"]
    done = CliRunner().invoke(app, [*map(str, words), "--no-gmm"])
    assert done.exit_code == 0, done.output
    made = mnncorrect.run(make_example(), "batch", n_comps=10, gmm=False, leiden=0.5, copy=True)
    written = anndata.read_h5ad(output)
    assert list(written.obs["mnn_leiden"]) == list(made.obs["mnn_leiden"])
    assert written.obs["mnn_leiden"].nunique() > 1
    told = CliRunner().invoke(app, ["info", str(output)]).stdout
    n_clusters = written.obs["mnn_leiden"].nunique()
    assert f"Leiden clusters mnn_leiden: {n_clusters} at resolution 0.5" in told
    assert f"0 ({(written.obs['mnn_leiden'] == '0').sum()})" in told
    # A new correction removes what it makes stale.
    mnncorrect.run(written, "batch", n_comps=9, gmm=False)
    assert "mnn_leiden" not in written.obs


@needs_igraph
def test_the_plan_names_leiden_clusters_and_no_column_is_overwritten():
    adata = make_example()
    steps = mnncorrect.plan(adata, "batch", gmm=False, leiden=0.5).describe()
    assert "Leiden" in steps[-1]
    assert "0.5" in steps[-1]
    adata.obs["mnn_leiden"] = "mine"
    with pytest.raises(ValueError, match="mnn_leiden"):
        mnncorrect.run(adata, "batch", gmm=False, leiden=0.5)
    assert set(adata.obs["mnn_leiden"]) == {"mine"}


@pytest.mark.parametrize("resolution", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_resolution_that_is_none_is_refused(resolution):
    with pytest.raises(UsageError, match="leiden"):
        mnncorrect.plan(make_example(), "batch", leiden=resolution)


def test_leiden_without_igraph_is_refused_before_any_work(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "igraph" else find(name, *more),
    )
    path, output = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    make_example().write_h5ad(path)
    words = ["run", path, "-b", "batch", "-o", output, "--leiden", 1]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 1
    assert "pip install igraph" in done.stderr
    assert "--leiden" in done.stderr
    assert not output.exists()
