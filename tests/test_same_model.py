"""A reference and cells placed in it are joined with their embeddings, if the model is the same."""

import json

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import tl
from mnncorrect._io.example import make_example
from mnncorrect.cli.app import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reference of two batches, and new cells of the third placed in it."""
    folder = tmp_path_factory.mktemp("joined")
    adata = make_example()
    is_new = (adata.obs["batch"] == "lane3").to_numpy()
    for name, n_comps in (("reference", 10), ("other", 8)):
        made = adata[~is_new].copy()
        mnncorrect.run(made, "batch", n_comps=n_comps, gmm=False)
        made.write_h5ad(folder / f"{name}.h5ad")
        if name == "reference":
            model = tl.fit_model(made)
    new = adata[is_new].copy()
    tl.project(new, model, key="batch")
    new.write_h5ad(folder / "new.h5ad")
    adata[is_new].copy().write_h5ad(folder / "plain.h5ad")
    return folder


def join(folder, *names, output, more=()):
    words = ["concat", *(str(folder / f"{name}.h5ad") for name in names), "-o", str(output), *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return anndata.read_h5ad(output), done.stderr


@pytest.mark.slow
def test_reference_and_placed_cells_keep_their_embeddings(folder, tmp_path):
    made, said = join(folder, "reference", "new", output=tmp_path / "all.h5ad")
    parts = [anndata.read_h5ad(folder / f"{name}.h5ad") for name in ("reference", "new")]
    for name in ("X_mnn", "X_mnn_uncorrected"):
        expected = np.concatenate([part.obsm[name] for part in parts])
        np.testing.assert_array_equal(made.obsm[name], expected)
    # What is kept is not among what is left out.
    left_out = [line for line in said.splitlines() if "/varm/mnn_loadings" in line]
    assert not any("X_mnn" in line or "mnn_confidence" in line for line in left_out)
    assert len(left_out) == 1
    confidence = np.concatenate([part.obs["mnn_confidence"] for part in parts])
    np.testing.assert_array_equal(made.obs["mnn_confidence"], confidence)
    assert json.loads(made.uns["mnn_concat"]["params"]["models"]) == {
        "mnn": parts[1].uns["mnn"]["model"]["digest"]
    }


def test_a_subset_of_them_keeps_the_places_of_its_cells(folder, tmp_path):
    more = ["--subset", "batch!=lane1"]
    made, _ = join(folder, "new", "reference", output=tmp_path / "some.h5ad", more=more)
    whole, _ = join(folder, "new", "reference", output=tmp_path / "all.h5ad")
    whole = whole[whole.obs["batch"] != "lane1"]
    assert 0 < made.n_obs == whole.n_obs
    np.testing.assert_array_equal(made.obsm["X_mnn"], whole.obsm["X_mnn"])


@pytest.mark.parametrize("second", ["other", "plain"])
def test_cells_of_another_model_lose_their_embeddings_with_the_reason(folder, tmp_path, second):
    made, said = join(folder, "new", second, output=tmp_path / "all.h5ad")
    assert "X_mnn" not in made.obsm
    assert second in said
    assert "left out" in said


def test_corrections_alone_are_joined_as_before(folder, tmp_path):
    made, said = join(folder, "reference", "other", output=tmp_path / "all.h5ad")
    assert not made.obsm
    assert "model" not in said
