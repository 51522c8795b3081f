"""Commands read results in zarr as they read them in h5ad, and write both."""

from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pytest

pytest.importorskip("zarr")

FIT = ("--n-components", "2", "--n-init", "1")
WRITING = {
    "gmm": ("gmm", *FIT, "--force"),
    "umap": ("umap", "--maxiter", "2", "--force"),
    "pca": ("pca", "--layer", "mnn_log1p", "--n-comps", "5"),
    "evaluate": ("evaluate", "-b", "batch", "--n-splits", "0", "--force"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The same result as h5ad and as zarr."""
    import mnncorrect
    from mnncorrect._io.example import make_example

    folder = tmp_path_factory.mktemp("results")
    adata = make_example()[::3, ::8].copy()
    adata.obs = adata.obs[["batch"]]  # in zarr each column takes its time, however few the cells
    adata.write_h5ad(folder / "in.h5ad")
    for name in ("out.h5ad", "out.zarr"):
        mnncorrect.run(
            folder / "in.h5ad", "batch", n_comps=8, output=folder / name, n_components=2, n_jobs=1
        )
    return folder


def same(cli, results, *words, ending=()):
    """Run a command on both, and return what it prints on each, without the name of the file."""
    made = []
    for kind in ("h5ad", "zarr"):
        done = cli(*words, results / f"out.{kind}", *ending)
        assert done.code == 0, done.err
        made.append(done.out.replace(f"out.{kind}", "FILE"))
    return made


@pytest.mark.parametrize(
    "words", [("info",), ("info", "--json"), ("pairs",), ("evaluate", "--n-splits", "0", "--json")]
)
def test_what_is_printed_is_the_same(words, cli, results):
    of_h5ad, of_zarr = same(cli, results, *words)
    assert of_h5ad == of_zarr
    assert of_zarr


# umap-learn is compiled in each process; evaluate has been read from both above.
QUICK = [("gmm", "zarr")]


@pytest.mark.parametrize(("name", "kind"), [
    pytest.param(name, kind, marks=() if (name, kind) in QUICK else pytest.mark.slow)
    for name in WRITING
    for kind in ("h5ad", "zarr")
])  # fmt: skip
def test_zarr_is_changed_and_written_as_either(name, kind, cli, results, tmp_path):
    made = []
    for source in ("h5ad", "zarr"):
        out = tmp_path / f"of_{source}.{kind}"
        done = cli(*WRITING[name], results / f"out.{source}", "-o", out)
        assert done.code == 0, done.err
        made.append(anndata.read_zarr(out) if kind == "zarr" else anndata.read_h5ad(out))
    one, two = made
    assert list(one.obs) == list(two.obs)
    for slot in ("obsm", "layers", "obsp", "varm", "uns"):
        assert set(getattr(one, slot)) == set(getattr(two, slot)), slot
    for key in one.obsm:
        np.testing.assert_array_equal(one.obsm[key], two.obsm[key])
    for key in one.layers:
        assert (one.layers[key] != two.layers[key]).sum() == 0
    assert (one.X != two.X).sum() == 0


@pytest.mark.slow
def test_a_report_is_made_of_zarr(cli, results, tmp_path):
    quick = ("--no-markers", "--no-evaluate", "--no-umap", "-o")
    pages = []
    for kind in ("h5ad", "zarr"):
        page = tmp_path / f"{kind}.html"
        done = cli("report", results / f"out.{kind}", *quick, page)
        assert done.code == 0, done.err
        pages.append(page.read_text().replace(f"out.{kind}", "FILE"))
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_a_report_compares_h5ad_with_zarr(cli, results, tmp_path):
    quick = ("--no-markers", "--no-evaluate", "--no-umap", "-o", tmp_path / "both.html")
    done = cli("report", results / "out.h5ad", results / "out.zarr", *quick)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_model_of_zarr_places_cells_of_zarr(cli, results, tmp_path):
    models = [tmp_path / f"{kind}.mnn" for kind in ("h5ad", "zarr")]
    for kind, model in zip(("h5ad", "zarr"), models, strict=True):
        assert cli("model", results / f"out.{kind}", "-o", model).code == 0
    assert models[0].read_bytes() == models[1].read_bytes()
    query, out = results / "out.zarr", tmp_path / "placed.zarr"
    done = cli("project", query, "--model", models[1], "--key-added", "new", "-o", out)
    assert done.code == 0, done.err
    assert anndata.read_zarr(out).obsm["X_new"].shape[0] == len(anndata.read_zarr(query))


@pytest.mark.slow
def test_files_are_joined_into_zarr(cli, results, tmp_path):
    for kind in ("h5ad", "zarr"):
        done = cli(
            "concat", results / "in.h5ad", results / "out.zarr", "-o", tmp_path / f"a.{kind}"
        )
        assert done.code == 0, done.err
    one, two = anndata.read_h5ad(tmp_path / "a.h5ad"), anndata.read_zarr(tmp_path / "a.zarr")
    assert (one.X != two.X).sum() == 0
    assert one.obs.astype(str).equals(two.obs.astype(str))


def test_an_output_in_zarr_that_exists_is_refused_without_force(cli, results):
    done = cli("gmm", results / "out.h5ad", *FIT, "-o", results / "out.zarr")
    assert done.code == 1
    assert "--force" in done.err[-1]


def test_zarr_with_a_missing_chunk_is_refused_by_info(cli, results, tmp_path):
    broken = tmp_path / "broken.zarr"
    shutil.copytree(results / "out.zarr", broken)
    for path in (broken / "layers" / "mnn_log1p" / "data").rglob("*"):
        if path.is_file() and path.name not in {"zarr.json", ".zarray", ".zattrs"}:
            path.unlink()
    done = cli("info", broken, "--json")
    assert done.code == 1
    assert "broken.zarr" in done.err[0]
    assert len(done.err) == 1


def test_json_of_zarr_names_the_folder(cli, results):
    found = json.loads(cli("info", results / "out.zarr", "--json").out)
    assert found["file"].endswith("out.zarr")
    assert found["n_cells"] > 0
