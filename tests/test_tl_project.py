"""Models and projection on AnnData: what is read, written, said and refused."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.sparse as sp

from mnncorrect import pp, tl
from mnncorrect.core.model.fit import Model

N_GENES = 40


def make_cells(n, *, batch, seed, effect=0.0, n_types=3):
    """Counts of some types in a batch whose genes are captured differently."""
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.4, 6.0, size=(4, N_GENES)) + 0.2
    factors = np.exp(effect * rng.standard_normal(N_GENES))
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % n_types
    counts = rng.poisson(profiles[kind] * factors * rng.uniform(0.7, 1.4, (n, 1)))
    obs = pd.DataFrame(
        {"batch": batch, "type": kind.astype(str)}, index=[f"{batch}{i}" for i in range(n)]
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    return anndata.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


def logged(adata, total=300.0):
    adata = adata.copy()
    scanpy.pp.normalize_total(adata, target_sum=total)
    scanpy.pp.log1p(adata)
    return adata


@pytest.fixture(scope="module")
def counts():
    parts = [make_cells(140, batch="a", seed=1), make_cells(120, batch="b", seed=2, effect=0.5)]
    return anndata.concat(parts)


@pytest.fixture(scope="module")
def corrected(counts):
    adata = logged(counts)
    adata.var["mnn_genes"] = np.arange(N_GENES) != 3
    pp.mnn_calibrated(adata, "batch", mask_var="mnn_genes", n_comps=6)
    return adata


@pytest.fixture(scope="module")
def model(corrected):
    return tl.fit_model(corrected)


def more_counts():
    """Too few cells of each batch to be compared with its training cells, which takes time."""
    parts = [make_cells(27, batch="b", seed=3, effect=0.5), make_cells(30, batch="a", seed=4)]
    return anndata.concat(parts)


@pytest.fixture(scope="module")
def more():
    return logged(more_counts())


def test_training_cells_come_out_where_they_were(corrected, model):
    adata = corrected.copy()
    del adata.obsm, adata.uns["mnn"]
    del adata.obs["mnn_confidence"]
    tl.project(adata, model)
    np.testing.assert_array_equal(
        adata.obsm["X_mnn_uncorrected"], corrected.obsm["X_mnn_uncorrected"]
    )
    np.testing.assert_allclose(adata.obsm["X_mnn"], corrected.obsm["X_mnn"], atol=1e-5)
    np.testing.assert_allclose(
        adata.obs["mnn_confidence"], corrected.obs["mnn_confidence"], atol=1e-6
    )


def test_more_cells_of_known_batches_mix_as_if_corrected_together(corrected, model, more):
    tl.project(more, model)
    types = corrected.obs["type"].to_numpy()
    gaps = []
    for kind in "012":
        near = corrected.obsm["X_mnn"][types == kind].mean(0)
        gaps.append(more.obsm["X_mnn"][more.obs["type"] == kind].mean(0) - near)
    before = []
    for kind in "012":
        near = corrected.obsm["X_mnn_uncorrected"][types == kind].mean(0)
        of = (more.obs["type"] == kind) & (more.obs["batch"] == "b")
        before.append(more.obsm["X_mnn_uncorrected"][of].mean(0) - near)
    assert np.linalg.norm(gaps, axis=1).mean() < 0.5 * np.linalg.norm(before, axis=1).mean()
    assert more.obsm["X_mnn"].dtype == np.float32


def test_results_tell_what_was_done(model, more):
    new = more.copy()
    new.obs.loc[new.obs["batch"] == "b", "batch"] = "z"
    with pytest.warns(UserWarning, match=r"fewer than 31 cells cannot be corrected.*'z'"):
        tl.project(new, model, max_missing=0.5)
    record = new.uns["mnn"]
    table = record["projected"]
    assert table["batch"].tolist() == ["a", "z"]
    assert table["n_obs"].tolist() == [30, 27]
    assert table["known"].tolist() == [True, False]
    assert table["skipped"].tolist() == [False, True]
    assert record["model"]["digest"] == model.digest
    assert record["model"]["n_obs"] == 260
    assert record["model"]["method"] == "calibrated"
    assert record["params"] == {
        "method": "project", "key": "batch", "as_new": False, "use_raw": False, "counts": False,
        "max_missing": 0.5, "neighbors": "auto", "recall": 0.995, "adjusted_basis": "X_mnn",
    }  # fmt: skip
    few = (new.obs["batch"] == "z").to_numpy()
    assert not new.obs["mnn_confidence"][few].any()
    np.testing.assert_array_equal(new.obsm["X_mnn"][few], new.obsm["X_mnn_uncorrected"][few])


def test_what_the_model_kept_is_not_kept_in_new_batches_with_a_warning(counts, more):
    adata = logged(counts)
    adata.obs["condition"] = np.where(np.arange(adata.n_obs) % 2, "ctrl", "stim")
    pp.mnn_calibrated(adata, "batch", keep="condition", n_comps=6)
    model = tl.fit_model(adata)
    assert model.about["keep"] == "condition"
    new = logged(make_cells(90, batch="new", seed=9, effect=0.8))
    with pytest.warns(UserWarning, match=r"kept 'condition'.*not.*from 'new'"):
        tl.project(new, model, key="batch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tl.project(more.copy(), model)  # more cells of batches that the model has


def test_a_model_a_file_and_a_corrected_object_give_the_same(corrected, model, more, tmp_path):
    tl.save_model(corrected, tmp_path / "cells.mnn")
    found = [
        tl.project(more, source, copy=True)
        for source in (model, tmp_path / "cells.mnn", str(tmp_path / "cells.mnn"), corrected)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.obsm["X_mnn"], found[0].obsm["X_mnn"])
        assert other.uns["mnn"]["model"]["digest"] == model.digest
    with pytest.raises(FileExistsError, match="exists"):
        tl.save_model(model, tmp_path / "cells.mnn")
    tl.save_model(model, tmp_path / "cells.mnn", force=True)
    assert isinstance(tl.read_model(tmp_path / "cells.mnn"), Model)


def test_results_survive_a_file(model, more, tmp_path):
    made = tl.project(more, model, copy=True)
    made.write_h5ad(tmp_path / "x.h5ad")
    found = anndata.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(found.obsm["X_mnn"], made.obsm["X_mnn"])
    pd.testing.assert_frame_equal(
        found.uns["mnn"]["projected"], made.uns["mnn"]["projected"], check_dtype=False
    )


@pytest.mark.parametrize("form", ["dense", "csc", "float64", "genes", "layer", "raw", "cells"])
def test_the_form_and_order_of_the_input_do_not_matter(model, more, form):
    want = tl.project(more, model, copy=True).obsm["X_mnn"]
    other, options, order = more.copy(), {}, np.arange(more.n_obs)
    if form == "dense":
        other.X = other.X.toarray()
    elif form == "csc":
        other.X = other.X.tocsc()
    elif form == "float64":
        other.X = other.X.astype(np.float64)
    elif form == "genes":
        other = other[:, np.random.default_rng(0).permutation(N_GENES)].copy()
    elif form == "layer":
        other.layers["logged"] = other.X.copy()
        other.X = other.X * 2
        options["layer"] = "logged"
    elif form == "raw":
        other.raw = other
        other.X = other.X * 2
        options["use_raw"] = True
    else:
        order = np.random.default_rng(0).permutation(more.n_obs)
        other = other[order].copy()
    tl.project(other, model, **options)
    if form == "float64":
        np.testing.assert_allclose(other.obsm["X_mnn"], want, atol=1e-6)
    else:
        np.testing.assert_array_equal(other.obsm["X_mnn"], want[order])


def test_missing_genes_are_counted_bounded_and_told(model, more, caplog):
    whole = tl.project(more, model, copy=True)
    some = more[:, [i for i in range(N_GENES) if i not in (3, 5, 7)]].copy()
    with caplog.at_level(logging.INFO, logger="mnncorrect"):
        tl.project(some, model)
    assert re.search("2 of the 39 genes .*missing", caplog.text)
    assert some.uns["mnn"]["model"]["missing"].tolist() == ["gene5", "gene7"]
    share = some.uns["mnn"]["model"]["missing_share"]
    assert 0 < share < 0.2
    moved = np.linalg.norm(some.obsm["X_mnn"] - whole.obsm["X_mnn"], axis=1)
    assert moved.mean() < 0.5 * np.linalg.norm(whole.obsm["X_mnn"], axis=1).mean()
    with pytest.raises(ValueError, match=r"2 of the 39 genes .* at most 0\.1 % may be missing"):
        tl.project(some, model, max_missing=0.001)
    with pytest.raises(ValueError, match="max_missing is 2; it must be a share"):
        tl.project(some, model, max_missing=2)
    some.var_names = [f"ENSG{i}" for i in range(37)]
    with pytest.raises(ValueError, match=r"no gene .* 'gene0', 'gene1' .*'ENSG0', 'ENSG1'"):
        tl.project(some, model, max_missing=1)


def test_genes_can_be_named_by_a_column(corrected, model, more):
    want = tl.project(more, model, copy=True).obsm["X_mnn"]
    other = more.copy()
    other.var["symbol"] = other.var_names.to_numpy()
    other.var_names = [f"ENSG{i}" for i in range(N_GENES)]
    tl.project(other, model, gene_key="symbol")
    np.testing.assert_array_equal(other.obsm["X_mnn"], want)
    with pytest.raises(KeyError, match="var has no 'names'"):
        tl.project(other, model, gene_key="names")
    named = corrected.copy()
    named.var["id"] = [f"ENSG{i}" for i in range(N_GENES)]
    tl.project(other, tl.fit_model(named, gene_key="id"))
    np.testing.assert_array_equal(other.obsm["X_mnn"], want)


def test_doubled_genes_are_refused(corrected, model, more):
    names = [f"gene{i}" for i in range(N_GENES)]
    other = more.copy()
    other.var_names = [*names[:-1], "gene0"]
    with pytest.raises(ValueError, match="model occur more than once: 'gene0'"):
        tl.project(other, model)
    other.var_names = [*names[:3], "gene0", *names[4:]]
    trained = corrected.copy()
    trained.var_names = [*names[:-1], "gene0"]
    with pytest.raises(ValueError, match="genes occur more than once: 'gene0'"):
        tl.fit_model(trained)


# -- Counts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["normalize", "normalise"])
def of_counts(corrected, request):
    """The model of a correction that had normalized counts itself, of new and older files."""
    trained = corrected.copy()
    done = {"counts": True, request.param: True, "log1p": True, "hvg": False, "total": 300.0}
    trained.uns["mnn"]["prepared"] = done
    return tl.fit_model(trained)


def test_counts_are_normalised_as_the_training_data_were(of_counts, model, more):
    want = tl.project(more, model, copy=True)
    new = more_counts()
    tl.project(new, of_counts)
    # scanpy rounds to float32 in between.
    np.testing.assert_allclose(new.obsm["X_mnn"], want.obsm["X_mnn"], atol=1e-5)
    assert new.uns["mnn"]["params"]["counts"]
    # Log values are taken as they are.
    tl.project(more_copy := more.copy(), of_counts)
    np.testing.assert_array_equal(more_copy.obsm["X_mnn"], want.obsm["X_mnn"])


def test_counts_are_refused_where_the_model_does_not_know_what_to_make_of_them(model, counts):
    unknown = replace(model, scaling=None)
    with pytest.raises(ValueError, match=r"X holds counts.*trained on values"):
        tl.project(counts.copy(), unknown)
    taken = more_counts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cells are not familiar
        tl.project(taken, model, counts=False)
    assert taken.uns["mnn"]["params"]["counts"] is False


def relogged(adata, total, base):
    adata = adata.copy()
    scanpy.pp.normalize_total(adata, target_sum=total)
    scanpy.pp.log1p(adata, base=base)
    return adata


OTHERS = {
    "counts": lambda new: new,
    "another total": lambda new: relogged(new, 8000.0, None),
    "log2": lambda new: relogged(new, 300.0, 2),
    "log10 of another total": lambda new: relogged(new, 1e4, 10),
    "CPM": lambda new: scanpy.pp.normalize_total(new, target_sum=1e6, copy=True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_values_of_another_kind_are_brought_to_those_of_the_training_data(
    name, model, more, caplog
):
    want, new = more.copy(), OTHERS[name](more_counts())
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, "mnncorrect"):
        warnings.simplefilter("ignore")  # the cells are not familiar
        tl.project(want, model)
        caplog.clear()
        tl.project(new, model)
    np.testing.assert_allclose(new.obsm["X_mnn"], want.obsm["X_mnn"], atol=1e-4)
    assert "the training data" in caplog.text


def test_scaled_values_and_mixtures_are_refused_before_they_are_projected(model, more):
    scaled = more.copy()
    scaled.X = more.X.toarray() - more.X.toarray().mean(0)
    with pytest.raises(ValueError, match="scaled values"):
        tl.project(scaled, model)
    mixed = anndata.concat([more[:27], more_counts()[27:]])
    with pytest.raises(ValueError, match=r"counts in 'a'.*log values.*in 'b'|log values.*'b'.*'a'"):
        tl.project(mixed, model)


def test_what_training_was_told_of_its_values_holds_for_new_ones(counts):
    """Values that could be either are taken for what they were taken for in training."""
    unclear = counts.copy()
    unclear.X = (counts.X > 0).astype(np.float32)
    model = replace(
        tl.fit_model(corrected_by(logged(counts))), about={"told": False, "values": "unclear"}
    )
    new = unclear[::3].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tl.project(new, model)
    assert new.uns["mnn"]["params"]["counts"] is False
    with pytest.raises(ValueError, match="zeros and ones"):
        tl.project(new, replace(model, about={}))


def corrected_by(adata):
    pp.mnn_calibrated(adata, "batch", mask_var=None, n_comps=4)
    return adata


def test_new_cells_without_values_stay_where_they_are_with_confidence_0(model, more):
    new, empty = more.copy(), np.zeros(more.n_obs, bool)
    empty[[0, 5, 40]] = True
    new.X = sp.csr_matrix(np.where(empty[:, None], 0, more.X.toarray()))
    with pytest.warns(UserWarning, match="3 cells .* above zero"):
        tl.project(new, model)
    np.testing.assert_array_equal(new.obsm["X_mnn"][empty], new.obsm["X_mnn_uncorrected"][empty])
    assert (new.obs["mnn_confidence"][empty] == 0).all()
    only = more[~empty].copy()
    tl.project(only, model)
    np.testing.assert_array_equal(new.obsm["X_mnn"][~empty], only.obsm["X_mnn"])


@pytest.mark.filterwarnings("ignore:the cells of 'a' differ")
def test_a_part_of_the_genes_is_no_total(of_counts):
    few = make_cells(20, batch="a", seed=5)[:, :15].copy()
    says = "counts of 15 genes are scaled to the total of 40"
    with pytest.warns(UserWarning, match=says):
        tl.project(few, of_counts, max_missing=1)


# -- Batches --------------------------------------------------------------------------------------


def test_cells_without_the_column_are_one_new_batch(model, caplog):
    new = logged(make_cells(70, batch="c", seed=6, effect=-0.5))
    del new.obs["batch"]
    with caplog.at_level(logging.INFO, logger="mnncorrect"):
        tl.project(new, model)
    assert "obs has no 'batch'" in caplog.text
    (row,) = new.uns["mnn"]["projected"].to_dict("records")
    assert (row["batch"], row["known"], row["n_obs"]) == ("all cells", False, 70)
    with pytest.raises(KeyError, match="obs has no 'donor'"):
        tl.project(new, model, key="donor")


def test_batches_may_be_combinations_of_columns(model):
    new = logged(make_cells(80, batch="c", seed=6))
    new.obs["lane"] = np.arange(80) % 2
    tl.project(new, model, key=["batch", "lane"])
    assert new.uns["mnn"]["projected"]["batch"].tolist() == ["c/0", "c/1"]
    assert new.uns["mnn"]["params"]["key"] == '["batch", "lane"]'


def test_cells_without_a_batch_are_refused(model, more):
    other = more.copy()
    other.obs.loc[other.obs_names[0], "batch"] = None
    with pytest.raises(ValueError, match="is missing for 1 of 57 cells"):
        tl.project(other, model)


def test_another_batch_of_a_known_name_is_doubted(model):
    other = logged(make_cells(120, batch="a", seed=7, effect=-0.5))
    with pytest.warns(UserWarning, match=r"cells of 'a' differ from .* `as_new=True`"):
        tl.project(other, model)
    tl.project(other, model, as_new=True)
    assert not other.uns["mnn"]["projected"]["known"].any()


# -- Other models ---------------------------------------------------------------------------------


def test_a_model_does_not_depend_on_the_types_of_recorded_values(corrected, model):
    # anndata 0.11 reads truth values and numbers of uns as numpy's.
    adata = corrected.copy()
    params = adata.uns["mnn"]["params"]
    plain = {name: value for name, value in params.items() if isinstance(value, bool | int | float)}
    assert any(isinstance(value, bool) for value in plain.values())
    params.update({name: np.array(value)[()] for name, value in plain.items()})
    assert tl.fit_model(adata).digest == model.digest


# anndata 0.11 warns of an object without genes as of names that are no text.
@pytest.mark.filterwarnings("ignore:Transforming to str index")
@pytest.mark.parametrize("method", ["mnn_fast", "mnn_calibrated"])
def test_a_model_of_an_embedding_takes_that_embedding(corrected, method):
    trained = anndata.AnnData(obs=corrected.obs[["batch"]].copy())
    trained.obsm["X_own"] = corrected.obsm["X_mnn_uncorrected"]
    trained.var_names = []
    new = trained[::3].copy()
    getattr(pp, method)(trained, "batch", use_rep="X_own")
    model = tl.fit_model(trained)
    assert model.components is None
    tl.project(new, model)
    np.testing.assert_allclose(new.obsm["X_mnn"], trained.obsm["X_mnn"][::3], atol=1e-5)
    assert "X_mnn_uncorrected" not in new.obsm
    new.obsm["X_own"] = new.obsm["X_own"][:, :4]
    with pytest.raises(ValueError, match=r"obsm\['X_own'\] has 4 dimensions and the model has 6"):
        tl.project(new, model)
    del new.obsm["X_own"]
    with pytest.raises(KeyError, match="obsm has no 'X_own'"):
        tl.project(new, model)


@pytest.mark.parametrize("method", ["fast", "cluster"])
def test_a_model_of_another_method_places_training_cells(counts, more, method):
    trained = logged(counts)
    options = {"clusters": "type"} if method == "cluster" else {"n_comps": 6}
    getattr(pp, f"mnn_{method}")(trained, "batch", mask_var=None, **options)
    again = tl.project(logged(counts)[::9].copy(), trained, copy=True)
    np.testing.assert_allclose(again.obsm["X_mnn"], trained.obsm["X_mnn"][::9], atol=1e-5)
    made = tl.project(more, trained, copy=True)
    assert made.uns["mnn"]["model"]["method"] == method
    assert made.obs["mnn_confidence"].max() == pytest.approx(1)
    assert made.obs["mnn_confidence"].between(0, 1).all()


def test_a_method_without_a_model_says_so(counts):
    classic = logged(counts)[::4].copy()
    pp.mnn_classic(classic, "batch", mask_var=None)
    with pytest.raises(ValueError, match="method classic corrects expression, and has no model"):
        tl.fit_model(classic)
    with pytest.raises(KeyError, match="uns has no 'mnn'"):
        tl.fit_model(logged(counts))
    projected = tl.project(classic, tl.fit_model(corrected_small(counts)), copy=True)
    with pytest.raises(ValueError, match="holds no correction"):
        tl.fit_model(projected)


def corrected_small(counts):
    trained = logged(counts)[::2].copy()
    pp.mnn_calibrated(trained, "batch", mask_var=None, n_comps=4)
    return trained


def test_a_model_keeps_cells_and_places_go_beside_what_they_are_made_of(corrected):
    with pytest.raises(ValueError, match=r"max_cells is 0; .* from 2"):
        tl.fit_model(corrected, max_cells=0)
    adata = corrected.copy()
    adata.obsm["X_pca"] = adata.obsm["X_mnn_uncorrected"]
    pp.mnn_fast(adata, "batch", use_rep="X_pca", n_neighbors=5)
    with pytest.raises(ValueError, match="would take the place of"):
        tl.project(adata, tl.fit_model(adata), adjusted_basis="X_pca")


def test_what_was_removed_since_is_missed(corrected):
    for slot, name, says in (
        ("obsm", "X_mnn_uncorrected", "where the cells lay before the correction"),
        ("obsm", "X_mnn", "obsm has no 'X_mnn'"),
        ("varm", "mnn_loadings", "varm has no 'mnn_loadings'"),
        ("obs", "mnn_confidence", "obs has no 'mnn_confidence'"),
        ("obs", "batch", "obs has no 'batch'"),
    ):
        broken = corrected.copy()
        del getattr(broken, slot)[name]
        with pytest.raises(KeyError, match=says):
            tl.fit_model(broken)
    broken = corrected.copy()
    broken.obsm["X_mnn"] = broken.obsm["X_mnn"][:, :2]
    with pytest.raises(ValueError, match="replaced since"):
        tl.fit_model(broken)


def _forge_variance(adata):
    adata.uns["mnn"]["components"]["variance"][1] = np.nan


FORGED_CORRECTIONS = {
    "variance": _forge_variance,
    "metadata": lambda adata: adata.uns["mnn"]["params"].__setitem__("n_comps", np.inf),
    "rotation": lambda adata: adata.varm["mnn_loadings"].__setitem__((5, 0), np.inf),
    "center": lambda adata: adata.var.__setitem__("mnn_center", np.nan),
    "confidence": lambda adata: adata.obs.__setitem__("mnn_confidence", 3.0),
}


@pytest.mark.parametrize("what", FORGED_CORRECTIONS)
def test_a_forged_correction_makes_no_model(what, corrected):
    broken = corrected.copy()
    FORGED_CORRECTIONS[what](broken)
    with pytest.raises(ValueError, match=rf"uns\['mnn'\].*{what}.*correct again"):
        tl.fit_model(broken)


@pytest.mark.filterwarnings("ignore:.*overflow:RuntimeWarning")
def test_a_model_of_immense_numbers_is_refused_before_cells_are_placed(model, more):
    rotation = model.components.rotation * 1e150
    components = replace(model.components, rotation=rotation, center=rotation[:, 0])
    other = more.copy()
    with pytest.raises(ValueError, match="not finite"):
        tl.project(other, replace(model, components=components), key_added="placed")
    assert "X_placed" not in other.obsm


def test_projecting_again_replaces_what_was_there(corrected, model):
    adata = corrected.copy()
    tl.project(adata, model, adjusted_basis="X_first")
    assert "X_mnn" not in adata.obsm
    assert "mnn_pairs" not in adata.obsp
    assert "mnn_loadings" not in adata.varm
    tl.project(adata, model)
    assert set(adata.obsm) == {"X_mnn", "X_mnn_uncorrected"}
    pp.mnn_fast(adata, "batch", mask_var=None, n_comps=3)
    assert "mnn_confidence" not in adata.obs


def test_values_that_are_not_finite_are_refused(model, more):
    other = more.copy()
    other.X[3, 4] = np.nan
    with pytest.raises(ValueError, match="X has 1 values that are not finite"):
        tl.project(other, model)


def test_genes_of_a_model_are_matched_without_versions(model):
    renamed = logged(make_cells(60, batch="a", seed=11))
    names = renamed.var_names.to_list()
    ids = {name: f"ENSG{i:011d}" for i, name in enumerate(names)}
    versioned = replace(
        model,
        components=replace(
            model.components, genes=tuple(f"{ids[name]}.3" for name in model.components.genes)
        ),
    )
    renamed.var_names = [f"{ids[name]}.{1 + i % 2}" for i, name in enumerate(names)]
    with pytest.raises(ValueError, match=r"`strip_versions=True`"):
        tl.project(renamed.copy(), versioned)
    matched = renamed.copy()
    tl.project(matched, versioned, strip_versions=True)
    expected = renamed.copy()
    expected.var_names = names
    tl.project(expected, model)
    np.testing.assert_array_equal(matched.obsm["X_mnn"], expected.obsm["X_mnn"])
