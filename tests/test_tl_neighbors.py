"""The neighbour search in the form of scanpy and scikit-learn, and the map that is drawn by it."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import anndata
import naive
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from mnncorrect import tl
from mnncorrect.tl._gmm import representation


@pytest.fixture
def points(rng):
    return rng.normal(size=(60, 4)).astype(np.float32)


def as_table(matrix):
    """Neighbours and distances of each row, as they are stored."""
    k = int(np.diff(matrix.indptr)[0])
    assert (np.diff(matrix.indptr) == k).all()
    return matrix.indices.reshape(-1, k), matrix.data.reshape(-1, k)


@pytest.mark.parametrize("engine", ["exact", "partition"])
def test_neighbours_are_the_nearest_points_itself_first(points, engine):
    search = tl.NeighborsTransformer(n_neighbors=6, neighbors=engine, n_jobs=1)
    indices, distances = as_table(search.fit_transform(points))
    expected, lengths = naive.nearest(points, points, 6)
    assert np.array_equal(indices, expected)
    assert np.allclose(distances, lengths, rtol=1e-6)
    assert np.array_equal(indices[:, 0], np.arange(60))
    assert (distances[:, 0] == 0).all()
    assert search.engine_ == engine


def test_points_in_one_place_are_each_their_own_first_neighbour():
    search = tl.NeighborsTransformer(n_neighbors=3, n_jobs=1)
    indices, distances = as_table(search.fit_transform(np.repeat([[0.0], [5.0]], 5, axis=0)))
    assert np.array_equal(indices[:, 0], np.arange(10))
    assert (distances == 0).all()
    assert all(len(set(row)) == 3 for row in indices.tolist())
    assert ((indices < 5) == (np.arange(10) < 5)[:, None]).all()


def test_other_points_are_looked_for_among_those_fitted(points, rng):
    query = rng.normal(size=(7, 4))
    search = tl.NeighborsTransformer(n_neighbors=5).fit(sp.csr_matrix(points))
    found = search.transform(query)
    assert found.shape == (7, 60)
    assert search.n_samples_fit_ == 60
    assert np.array_equal(as_table(found)[0], naive.nearest(query, points, 5)[0])


def test_scanpy_takes_it_and_finds_what_its_own_search_finds(points):
    import scanpy as sc

    adata = anndata.AnnData(np.zeros((60, 1)), obsm={"X_mnn": points})
    options = {"use_rep": "X_mnn", "n_neighbors": 7, "method": "gauss"}  # needs no umap-learn
    sc.pp.neighbors(adata, **options, key_added="scanpy")
    search = tl.NeighborsTransformer(n_neighbors=7)
    sc.pp.neighbors(adata, **options, key_added="own", transformer=search)
    one, other = (adata.obsp[f"{name}_distances"].toarray() for name in ("scanpy", "own"))
    # scanpy's distances of float32 are rounded products.
    assert np.allclose(one, other, atol=1e-3)
    assert adata.uns["own"]["params"]["n_neighbors"] == 7


# All of scikit-learn's checks pass; its data sets are too small for 15 neighbours.
CHECKS = parametrize_with_checks([tl.NeighborsTransformer(n_neighbors=3, n_jobs=1)]).mark
# The search is compiled once more for arrays that cannot be written to.
READ_ONLY = "readonly_memmap=True"


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(
            estimator, check,
            marks=pytest.mark.slow if READ_ONLY in CHECKS.kwargs["ids"](check) else (),
        )
        for estimator, check in CHECKS.args[1]
    ],
    ids=CHECKS.kwargs["ids"],
)  # fmt: skip
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_seed_may_be_a_generator_or_none(points):
    one, two = (
        tl.NeighborsTransformer(6, neighbors="partition", random_state=seed).fit_transform(points)
        for seed in (np.random.default_rng(0), None)
    )
    assert (one != two).nnz == 0  # so few points are found whatever the seed


def test_it_is_cloned_and_set_as_estimators_are():
    from sklearn.base import clone

    search = tl.NeighborsTransformer(n_neighbors=9, random_state=3)
    assert clone(search).get_params() == search.get_params()
    assert clone(search) is not search
    assert search.set_params(n_neighbors=4).n_neighbors == 4
    with pytest.raises(ValueError, match=r"Invalid parameter 'metric'.*'n_neighbors'"):
        search.set_params(metric="cosine")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 2)), "n_neighbors is 15, and there are 3 points"),
        (np.full((20, 2), np.nan), "X contains NaN"),
        (np.zeros(20), "Expected 2D array, got 1D"),
    ],
)
def test_what_is_no_set_of_points_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        tl.NeighborsTransformer().fit_transform(values)


def test_nothing_is_found_before_points_are_fitted(points):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        tl.NeighborsTransformer().transform(points)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* expecting 4"):
        tl.NeighborsTransformer().fit(points).transform(points[:, :3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 1}, "n_neighbors is 1; it must be from 2 up"),
        ({"spread": 0.0}, "spread is 0.0; it must be above 0"),
        ({"min_dist": 2.0}, "min_dist is 2.0; it must be from 0 up to spread, 1.0"),
        ({"maxiter": 0}, "maxiter is 0"),
        ({"neighbors": "faiss"}, "`neighbors` is 'faiss'"),
        ({"use_rep": "X_mnn"}, "needs 5 or more"),
    ],
)
def test_a_map_that_cannot_be_drawn_is_refused(points, options, message, caplog):
    few = {"X_mnn": points[:4]} if "use_rep" in options else {"X_mnn": points}
    adata = anndata.AnnData(np.zeros((len(few["X_mnn"]), 1)), obsm=few)
    with caplog.at_level(logging.INFO, "mnncorrect"), pytest.raises(ValueError, match=message):
        tl.umap(adata, **options)
    assert list(adata.obsm) == ["X_mnn"]
    assert not caplog.records  # nothing was begun


def test_a_map_is_of_the_correction_that_is_named(points):
    adata = anndata.AnnData(np.zeros((len(points), 1)), obsm={"X_mnn": points, "X_mine": points})
    assert representation(adata, "mine") == "X_mine"
    with pytest.raises(KeyError, match="no 'X_none' or 'X_none_pca'"):
        tl.umap(adata, key_added="none")


@pytest.mark.slow  # umap-learn is compiled in each process
def test_a_map_is_drawn_and_stored_where_scanpy_finds_it(blobs, tmp_path, caplog, capsys):
    import scanpy as sc

    x, _, truth = blobs(sizes=(60, 60), shift=0)
    adata = anndata.AnnData(np.zeros((120, 1)), obsm={"X_mnn": x})
    with caplog.at_level(logging.INFO, "mnncorrect"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tl.umap(adata, n_neighbors=10, n_jobs=1) is None
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")
    assert "10 neighbors each (exact)" in caplog.text
    drawn = adata.obsm["X_mnn_umap"]
    assert drawn.shape == (120, 2)
    assert drawn.dtype == np.float32
    # Populations lie apart: a cell's nearest other cell on the map is of its own.
    assert (truth[naive.nearest(drawn, drawn, 2)[0][:, 1]] == truth).all()
    again = tl.umap(adata, n_neighbors=10, n_jobs=2, copy=True)
    assert np.array_equal(again.obsm["X_mnn_umap"], drawn)
    other = tl.umap(adata, n_neighbors=10, random_state=1, copy=True)
    assert not np.array_equal(other.obsm["X_mnn_umap"], drawn)
    adata.write_h5ad(tmp_path / "drawn.h5ad")
    back = anndata.read_h5ad(tmp_path / "drawn.h5ad")
    assert back.uns["mnn_umap"]["params"]["n_neighbors"] == 10
    sc.tl.diffmap(back, neighbors_key="mnn_neighbors", n_comps=4)
    assert back.obsm["X_diffmap"].shape == (120, 4)


@pytest.mark.slow  # umap-learn is compiled in each process
def test_no_search_of_pynndescent_is_built():
    code = """
import numpy as np, anndata, pynndescent
def never(*args, **kwargs): raise AssertionError("pynndescent was asked")
pynndescent.NNDescent.__init__ = never
from mnncorrect import tl
x = np.random.default_rng(0).normal(size=(11_000, 3)).astype("f4")  # scanpy's own would take it
adata = anndata.AnnData(np.zeros((11_000, 1)), obsm={"X_mnn": x})
tl.umap(adata, maxiter=1)
assert adata.uns["mnn_umap"]["params"]["neighbors"] == "partition"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow  # umap-learn is compiled in each process
def test_run_draws_a_map_and_a_report_as_the_steps_do(tmp_path, blobs):
    from typer.testing import CliRunner

    from mnncorrect.cli.app import app

    def call(*words):
        result = CliRunner().invoke(app, [*map(str, words), "-q"])
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")

    x, codes, _ = blobs(sizes=(60, 60), n_features=24, positive=True)
    adata = anndata.AnnData(np.rint(x).astype(np.float32))
    adata.obs["batch"] = [f"b{code}" for code in codes]
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["run", tmp_path / "in.h5ad", "-b", "batch", "--n-comps", 5, "--n-components", 2]
    call(*words, "--umap", "--report", tmp_path / "run.html", "-o", tmp_path / "run.h5ad")
    call(*words, "-o", tmp_path / "plain.h5ad")
    call("umap", tmp_path / "plain.h5ad", "-o", tmp_path / "umap.h5ad")
    one, two = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("run", "umap"))
    assert np.array_equal(one.obsm["X_mnn_umap"], two.obsm["X_mnn_umap"])
    assert (one.obsp["mnn_neighbors_distances"] != two.obsp["mnn_neighbors_distances"]).nnz == 0
    call("report", tmp_path / "run.h5ad", "-o", tmp_path / "report.html")
    pages = [(tmp_path / f"{name}.html").read_text() for name in ("run", "report")]
    assert pages[0] == pages[1]
    assert "X_mnn_umap" in pages[0]
