"""Corrected expression from corrected components, in memory."""

from __future__ import annotations

import tracemalloc

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp, tl
from mnncorrect.core.methods import low_rank as low_rank_module
from mnncorrect.core.methods.low_rank import BLOCK_ROWS, low_rank, low_rank_blocks


@pytest.fixture
def adata(blobs):
    """Two batches corrected in all of their components, of nine of twelve genes."""
    x, codes, truth = blobs(sizes=(40, 50), positive=True)
    data = anndata.AnnData(x)
    data.obs["batch"] = pd.Categorical.from_codes(codes, ["one", "two"])
    data.obs["clusters"] = pd.Categorical(truth.astype(str))
    data.var["highly_variable"] = np.arange(data.n_vars) % 4 != 1
    return data


def corrected(adata, **options):
    return pp.mnn_fast(
        adata, "batch", copy=True, **{"n_neighbors": 5, "n_comps": 5, "n_jobs": 1, **options}
    )


# ---------------------------------------------------------------------------------------- blocks


def test_blocks_put_together_are_the_whole(rng, monkeypatch):
    scores, rotation = rng.normal(size=(1000, 4)), rng.normal(size=(7, 4))
    center, norms = rng.normal(size=7), rng.gamma(2.0, size=1000)
    expected = (scores @ rotation.T + center) * norms[:, None]
    np.testing.assert_allclose(low_rank(scores, rotation, center, norms), expected)
    monkeypatch.setattr(low_rank_module, "BLOCK_VALUES", 1)
    many = rng.normal(size=(100, 4))
    for n_jobs in (1, 2):
        blocks = list(low_rank_blocks(scores, many, n_jobs=n_jobs))
        assert [rows.stop - rows.start for rows, _ in blocks] == [BLOCK_ROWS] * 15 + [40]
        found = np.concatenate([values for _, values in blocks])
        np.testing.assert_allclose(found, scores @ many.T, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_have_the_float_type_of_the_components(rng, dtype):
    scores = rng.normal(size=(5, 2)).astype(dtype)
    values = low_rank(scores, rng.normal(size=(3, 2)), np.ones(3), np.ones(5))
    assert values.dtype == dtype


def test_memory_does_not_grow_with_cells(rng):
    scores, rotation = rng.normal(size=(3000, 5)).astype(np.float32), rng.normal(size=(4000, 5))
    tracemalloc.start()
    for _, values in low_rank_blocks(scores, rotation, n_jobs=1):
        assert values.shape[1] == 4000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The whole would be 48 MB; a block takes 8 MB twice, in float64 and as it is given out.
    assert peak < 30e6


# ---------------------------------------------------------------------------------------- scales


def test_scales_are_the_formulas(adata):
    found = corrected(adata)
    genes = adata.var["highly_variable"].to_numpy()
    centred = found.obsm["X_mnn"] @ found.varm["mnn_loadings"].T
    cosine = centred + found.var["mnn_center"].to_numpy()
    log = cosine * np.linalg.norm(adata.X[:, genes], axis=1, keepdims=True)
    for scale, expected in {"centered": centred, "cosine": cosine, "log": log}.items():
        pp.mnn_expression(found, scale=scale)
        np.testing.assert_allclose(found.layers["mnn"][:, genes], expected[:, genes], atol=1e-12)
        assert not found.layers["mnn"][:, ~genes].any()
        assert found.uns["mnn"]["expression"] == {"scale": scale}
        assert found.uns["mnn"]["not_for_differential_expression"] is True
        np.testing.assert_array_equal(found.var["mnn_corrected"], genes)


def test_uncorrected_components_give_the_input_back(adata):
    # All components, and merges that are skipped: nothing is lost and nothing moves.
    found = corrected(adata, n_comps=12, min_batch_size=2.0, mask_var=None)
    pp.mnn_expression(found, scale="log")
    np.testing.assert_allclose(found.layers["mnn"], adata.X, atol=1e-9)
    plain = corrected(adata, n_comps=12, min_batch_size=2.0, mask_var=None, cosine_norm=False)
    assert "mnn_norm" not in plain.obs
    pp.mnn_expression(plain, scale="log")
    np.testing.assert_allclose(plain.layers["mnn"], adata.X, atol=1e-9)


def test_the_batches_come_together_and_values_stay_near_the_input(adata):
    found = corrected(adata, cosine_norm=False)
    pp.mnn_expression(found, scale="log")
    genes = adata.var["highly_variable"].to_numpy()
    two = (adata.obs["batch"] == "two").to_numpy()
    before, after = adata.X[:, genes], found.layers["mnn"][:, genes]
    gaps = [np.linalg.norm(x[two].mean(0) - x[~two].mean(0)) for x in (before, after)]
    assert gaps[1] < gaps[0] / 4
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_norms_go_with_a_part_of_the_cells(adata):
    found = corrected(adata)
    part = found[::3].copy()
    pp.mnn_expression(found, scale="log")
    pp.mnn_expression(part, scale="log")
    np.testing.assert_allclose(part.layers["mnn"], found.layers["mnn"][::3], atol=1e-12)


# ----------------------------------------------------------------------------------------- genes


def test_all_genes_with_correct_all_and_some_by_a_mask(adata):
    found = corrected(adata, correct_all=True)
    whole = pp.mnn_expression(found, copy=True)
    assert whole.var["mnn_corrected"].all()
    assert "mnn" not in found.layers
    some = np.arange(12) < 4
    part = pp.mnn_expression(found, mask_var=some, copy=True)
    np.testing.assert_array_equal(part.layers["mnn"][:, some], whole.layers["mnn"][:, some])
    assert not part.layers["mnn"][:, ~some].any()
    np.testing.assert_array_equal(part.var["mnn_corrected"], some)
    column = pp.mnn_expression(found, mask_var="highly_variable", copy=True)
    np.testing.assert_array_equal(column.var["mnn_corrected"], adata.var["highly_variable"])


def test_genes_without_loadings_are_refused(adata):
    found = corrected(adata)
    with pytest.raises(ValueError, match=r"3 genes of mask_var have no loadings: '1', '5', '9'"):
        pp.mnn_expression(found, mask_var=np.ones(12, bool))


# ------------------------------------------------------------------------------- what it is made of


def test_clusters_give_expression_too(adata):
    found = pp.mnn_cluster(adata, "batch", clusters="clusters", n_jobs=1, copy=True)
    pp.mnn_expression(found, scale="log")
    genes = adata.var["highly_variable"].to_numpy()
    expected = (
        found.obsm["X_mnn"] @ found.varm["mnn_loadings"].T + found.var["mnn_center"].to_numpy()
    )
    expected *= found.obs["mnn_norm"].to_numpy()[:, None]
    np.testing.assert_allclose(found.layers["mnn"][:, genes], expected[:, genes])


def test_names_are_followed(adata):
    found = corrected(adata, key_added="second", adjusted_basis="X_own")
    pp.mnn_expression(found, key_added="second")
    expected = found.obsm["X_own"] @ found.varm["second_loadings"].T
    np.testing.assert_allclose(found.layers["second"], expected, atol=1e-12)
    assert "second_corrected" in found.var


def test_the_layer_has_the_float_type_of_the_input(adata):
    adata.X = adata.X.astype(np.float32)
    found = corrected(adata)
    pp.mnn_expression(found)
    assert found.layers["mnn"].dtype == np.float32


def test_components_of_the_expression_are_found(adata):
    found = corrected(adata)
    pp.mnn_expression(found)
    pp.pca(found, n_comps=3)
    assert found.obsm["X_mnn_pca"].shape == (90, 3)


def _uncorrected(adata):
    return adata


def _of_an_embedding(adata):
    adata.obsm["X_pca"] = adata.X[:, :4]
    return corrected(adata, n_comps=50, use_rep="X_pca")


def _classic(adata):
    return pp.mnn_classic(adata, "batch", n_neighbors=5, n_jobs=1, copy=True)


def _without_loadings(adata):
    found = corrected(adata)
    del found.varm["mnn_loadings"]
    return found


def _without_norms(adata):
    found = corrected(adata)
    del found.obs["mnn_norm"]
    return found


def _other_loadings(adata):
    found = corrected(adata)
    found.varm["mnn_loadings"] = found.varm["mnn_loadings"][:, :3]
    return found


def _loadings_of_multibatch_pca(adata):
    """As many components as were corrected, of cells that were not scaled."""
    found = corrected(adata)
    pp.multibatch_pca(found, "batch", n_comps=5)
    return found


@pytest.mark.parametrize(
    ("make", "scale", "kind", "match"),
    [
        (_uncorrected, "log", KeyError, "uns has no 'mnn'"),
        (_of_an_embedding, "centered", ValueError, "no correction of components"),
        (_classic, "centered", ValueError, "no correction of components"),
        (_without_loadings, "log", KeyError, "varm has no 'mnn_loadings'"),
        (_without_norms, "log", KeyError, "obs has no 'mnn_norm'"),
        (_other_loadings, "log", ValueError, "has 3 components and obsm\\['X_mnn'\\] has 5"),
        (_loadings_of_multibatch_pca, "log", ValueError, "is of multibatch_pca, which was called"),
        (corrected, "raw", ValueError, "scale is 'raw'; choose one of centered, cosine, log"),
        (lambda a: corrected(a, cosine_norm=False), "cosine", ValueError, "cosine_norm=True"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(adata, make, scale, kind, match):
    with pytest.raises(kind, match=match):
        pp.mnn_expression(make(adata), scale=scale)


def test_loadings_of_multibatch_pca_and_of_a_correction_are_told_apart(adata, tmp_path):
    expected = pp.mnn_expression(corrected(adata), copy=True).layers["mnn"]
    pp.multibatch_pca(adata, "batch", n_comps=5)
    # A correction of its scores has no loadings of its own, and takes none for them.
    ours = adata.varm["mnn_loadings"]
    pp.mnn_fast(adata, "batch", use_rep="X_mnn_multibatch_pca", n_neighbors=5)
    assert tl.fit_model(adata).components is None
    with pytest.raises(ValueError, match="no correction of components"):
        pp.mnn_expression(adata)
    # One from genes puts its own in their place, and says so.
    found = corrected(adata)
    assert not found.uns["mnn_multibatch_pca"]["loadings_in_varm"]
    np.testing.assert_array_equal(pp.mnn_expression(found, copy=True).layers["mnn"], expected)
    # What follows is refused where they are replaced, in a file as well, and those replaced stay.
    pp.multibatch_pca(found, "batch", n_comps=5)
    found.write_h5ad(tmp_path / "both.h5ad")
    found = anndata.read_h5ad(tmp_path / "both.h5ad")
    with pytest.raises(ValueError, match="is of multibatch_pca"):
        tl.fit_model(found)
    pp.mnn_fast(found, "batch", use_rep="X_mnn_multibatch_pca", n_neighbors=5)
    np.testing.assert_array_equal(found.varm["mnn_loadings"], ours)
    assert "mnn_norm" not in found.obs


def test_an_older_spelling_of_the_scale_warns_and_does_the_same(adata):
    found = corrected(adata)
    pp.mnn_expression(found)
    expected = found.layers["mnn"].copy()
    with pytest.warns(FutureWarning, match="centered"):
        pp.mnn_expression(found, scale="centred")
    np.testing.assert_array_equal(found.layers["mnn"], expected)
    assert found.uns["mnn"]["expression"] == {"scale": "centered"}
