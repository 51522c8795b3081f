"""Covariates regressed out before a correction: several factors that add up, and quantities."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import pp, tl
from mnncorrect._prepare import covariates
from mnncorrect._wording import UsageError
from mnncorrect.cli.app import app

COVARIATES = ["chemistry", "pct_mito"]
METHODS = {"calibrated": {"n_comps": 10}, "fast": {"n_comps": 10}, "cluster": {"clusters": "type"}}


def counted(seed=0, n_cells=300, n_genes=60):
    rng = np.random.default_rng(seed)
    kind, batch, chemistry = (rng.integers(0, n, n_cells) for n in (3, 2, 3))
    mito = rng.gamma(2.0, 3.0, n_cells)
    own = np.random.default_rng(1)
    log_mean = np.log(own.gamma(2.0, 1.0, (3, n_genes)) + 0.2)[kind]
    log_mean += 0.5 * own.normal(size=n_genes) * batch[:, None]
    log_mean += 0.6 * own.normal(size=(3, n_genes))[chemistry]
    log_mean += 0.03 * own.normal(size=n_genes) * (mito - 6)[:, None]
    return anndata.AnnData(
        sp.csr_matrix(rng.poisson(np.exp(log_mean)).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "donor": np.array(["a", "b"])[batch],
                "chemistry": np.array(["v1", "v2", "v3"])[chemistry],
                "pct_mito": mito,
                "type": np.array(["x", "y", "z"])[kind],
            },
            index=[f"c{seed}-{i}" for i in range(n_cells)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]),
    )


def logged(**kind):
    adata = counted(**kind)
    adata.X = np.log1p(adata.X.toarray().astype(np.float64))
    return adata


def by_least_squares(adata, columns=COVARIATES, cells=slice(None)):
    """Subtract the fit of covariates, beside one intercept for each batch, from dense values."""
    coded = [
        adata.obs[[name]].astype(float)
        if pd.api.types.is_float_dtype(adata.obs[name])
        else pd.get_dummies(adata.obs[name]).astype(float)
        for name in columns
    ]
    design = np.concatenate([some.to_numpy() for some in coded], axis=1)
    batches = pd.get_dummies(adata.obs["donor"]).to_numpy(float)
    x = np.asarray(adata.X, np.float64)
    whole = np.concatenate([batches, design], axis=1)
    found = np.linalg.lstsq(whole[cells], x[cells], rcond=None)[0][batches.shape[1] :]
    return x - (design - design[cells].mean(0)) @ found


def by_record(adata, x):
    """Subtract the effects that are recorded from values."""
    table = adata.uns["mnn"]["regressed"]
    rows = zip(table["column"], table["quantity"], table["value"], strict=True)
    design = np.stack(
        [
            adata.obs[column] if quantity else (adata.obs[column].astype(str) == value)
            for column, quantity, value in rows
        ],
        1,
    ).astype(float)
    return x - (design - table["center"].to_numpy()) @ adata.varm["mnn_regressed"].T


def shell(*words, code=0):
    found = CliRunner().invoke(app, list(map(str, words)))
    assert found.exit_code == code, found.output
    return found


@pytest.fixture
def path(tmp_path):
    counted().write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


@pytest.mark.filterwarnings("ignore:X holds .* negative values")
@pytest.mark.parametrize("method", METHODS)
def test_components_are_those_of_explicit_residuals(method):
    adata = logged()
    call = getattr(pp, f"mnn_{method}")
    apart = adata.copy()
    apart.X = by_least_squares(adata)
    for some, how in ((adata, {"regress_out": COVARIATES}), (apart, {})):
        call(some, "donor", **METHODS[method], **how)
    for basis in ("X_mnn_uncorrected", "X_mnn"):
        np.testing.assert_allclose(adata.obsm[basis], apart.obsm[basis], atol=1e-8)


@pytest.mark.filterwarnings("ignore:X holds .* negative values")
def test_corrected_expression_is_that_of_explicit_residuals():
    for call, layer in ((pp.mnn_classic, "mnn"), (pp.mnn_calibrated, "mnn")):
        adata = logged()
        apart = adata.copy()
        apart.X = by_least_squares(adata)
        more = {"write_expression": True, "n_comps": 10} if call is pp.mnn_calibrated else {}
        call(adata, "donor", regress_out=COVARIATES, **more)
        call(apart, "donor", **more)
        np.testing.assert_allclose(adata.layers[layer], apart.layers[layer], atol=1e-8)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc", "file"])
def test_effects_are_those_of_least_squares_for_any_storage(kind, path, tmp_path):
    if kind == "file":
        how = {"output": tmp_path / "out.h5ad", "memory_limit": "16M", "n_comps": 10}
        mnncorrect.run(path, "donor", regress_out=COVARIATES, gmm=False, **how)
        made = anndata.read_h5ad(tmp_path / "out.h5ad")
        made.X = made.layers["mnn_log1p"].toarray()
        expected, tolerance = by_least_squares(made), 1e-5
    else:
        made = logged()
        expected, tolerance = by_least_squares(made), 1e-10
        if kind != "dense":
            made.X = sp.csr_matrix(made.X).asformat(kind)
        pp.mnn_calibrated(made, "donor", regress_out=COVARIATES, n_comps=10)
    x = made.X if isinstance(made.X, np.ndarray) else made.X.toarray()
    np.testing.assert_allclose(by_record(made, x), expected, atol=tolerance)


def test_the_effect_is_gone_and_the_batch_effect_stays():
    adata = logged()
    pp.mnn_calibrated(adata, "donor", regress_out=COVARIATES, n_comps=10)
    left = by_record(adata, np.asarray(adata.X))
    donors = adata.obs["donor"].to_numpy()
    chemistry = pd.get_dummies(adata.obs["chemistry"]).astype(float).to_numpy()
    within = [
        values - pd.DataFrame(values).groupby(donors).transform("mean").to_numpy()
        for values in (left, chemistry)
    ]
    assert np.abs(within[1].T @ within[0]).max() < 1e-9
    assert not adata.uns["mnn"]["merges"]["skipped"].any()


def test_several_columns_do_not_depend_on_their_order():
    adata, other = logged(), logged()
    pp.mnn_calibrated(adata, "donor", regress_out=COVARIATES, n_comps=10)
    pp.mnn_calibrated(other, "donor", regress_out=COVARIATES[::-1], n_comps=10)
    np.testing.assert_allclose(adata.obsm["X_mnn"], other.obsm["X_mnn"], atol=1e-8)


def test_genes_that_are_not_used_have_no_effects():
    adata = logged()
    adata.var["some"] = np.arange(adata.n_vars) < 40
    pp.mnn_calibrated(adata, "donor", regress_out="pct_mito", mask_var="some", n_comps=10)
    assert (adata.varm["mnn_regressed"][40:] == 0).all()
    assert (adata.varm["mnn_regressed"][:40] != 0).all()
    only = logged()[:, :40].copy()
    pp.mnn_calibrated(only, "donor", regress_out="pct_mito", mask_var=None, n_comps=10)
    np.testing.assert_allclose(adata.obsm["X_mnn"], only.obsm["X_mnn"], atol=1e-10)


def test_cells_without_values_do_not_count():
    adata = logged()
    adata.X[:20] = 0
    adata.obs.loc[adata.obs_names[:20], "pct_mito"] = 900.0
    with pytest.warns(UserWarning, match="20 cells have no value"):
        pp.mnn_calibrated(adata, "donor", regress_out=COVARIATES, n_comps=10)
    apart = logged()[20:].copy()
    pp.mnn_calibrated(apart, "donor", regress_out=COVARIATES, n_comps=10)
    np.testing.assert_allclose(adata.varm["mnn_regressed"], apart.varm["mnn_regressed"], atol=1e-10)


def confounded(adata):
    adata.obs["kit"] = np.where(adata.obs["donor"] == "a", "one", "two")
    adata.obs["age"] = np.where(adata.obs["donor"] == "a", 31.5, 60.0)


def missing(adata):
    adata.obs["kit"] = adata.obs["chemistry"].where(adata.obs["chemistry"] != "v1")
    adata.obs["age"] = adata.obs["pct_mito"].where(adata.obs["pct_mito"] > 5)


def constant(adata):
    adata.obs["kit"], adata.obs["age"] = "one", 3.0


@pytest.mark.parametrize("name", ["kit", "age"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (confounded, "confounded with the batch.*regress_out"),
        (missing, "is missing for .* of 300 cells"),
        (constant, "has one value"),
    ],
)
def test_what_no_cells_can_tell_is_refused(name, change, said):
    adata = logged()
    change(adata)
    before = list(adata.uns), list(adata.varm)
    with pytest.raises(ValueError, match=f"{name}.*{said}"):
        pp.mnn_calibrated(adata, "donor", regress_out=["pct_mito", name])
    assert (list(adata.uns), list(adata.varm)) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"regress_out": "nowhere"}, "nowhere"),
        ({"regress_out": ["pct_mito", "pct_mito"]}, "more than once"),
        ({"regress_out": "barcode"}, "300 effects.*allow 60"),
        ({"regress_out": "donor"}, "confounded with the batch"),
        ({"regress_out": "chemistry", "keep": "chemistry"}, "`keep` keeps"),
        ({"regress_out": "type", "label_key": "type"}, "`label_key` keeps"),
        ({"regress_out": "chemistry", "use_rep": "X_pca"}, "regress_out.*use_rep|use_rep.*genes"),
        ({"regress_out": "endless"}, "infinite for 2 cells"),
        ({"regress_out": {"pct_mito"}}, "`regress_out`.*list of names"),
        ({"regress_out": 3}, "`regress_out` is 3.*list of names"),
        ({"regress_out": "immense"}, "immense.*far apart"),
        ({"regress_out": "tiny"}, "tiny.*close"),
    ],
)
def test_what_means_nothing_is_refused(arguments, said):
    adata = logged()
    adata.obs["barcode"] = adata.obs_names.to_numpy()
    adata.obs["endless"] = [np.inf] * 2 + [1.0] * 298
    adata.obs["immense"], adata.obs["tiny"] = (
        scale * adata.obs["pct_mito"] for scale in (1e200, 1e-200)
    )
    adata.obsm["X_pca"] = np.asarray(adata.X[:, :5])
    with pytest.raises((ValueError, KeyError, TypeError), match=said):
        pp.mnn_calibrated(adata, "donor", **arguments)


def test_more_effects_than_memory_is_meant_for_are_refused(monkeypatch):
    monkeypatch.setattr(covariates, "MOST_EFFECTS", 3)
    adata = logged()
    with pytest.raises(ValueError, match=r"4 effects.*allow 3"):
        pp.mnn_calibrated(adata, "donor", regress_out=COVARIATES)


def test_columns_are_named_by_any_sequence():
    made = {}
    for kind in (list, tuple, np.array, pd.Index):
        made[kind] = logged()
        pp.mnn_calibrated(made[kind], "donor", regress_out=kind(COVARIATES), n_comps=10)
    one = made[list]
    for other in made.values():
        np.testing.assert_array_equal(one.obsm["X_mnn"], other.obsm["X_mnn"])
        assert one.uns["mnn"]["params"]["regress_out"] == other.uns["mnn"]["params"]["regress_out"]


def test_a_factor_confounded_in_part_is_named_and_the_rest_taken_out():
    adata = logged()
    adata.obs["lane"] = adata.obs["donor"] + adata.obs["chemistry"]
    with pytest.warns(UserWarning, match=r"lane.*confounded .* in part: 2 groups.*av1.*bv1"):
        pp.mnn_calibrated(adata, "donor", regress_out="lane", n_comps=10)
    x = np.asarray(adata.X)
    table = adata.uns["mnn"]["regressed"]
    lanes = np.stack([adata.obs["lane"] == value for value in table["value"]], 1).astype(float)
    left = x - (lanes - table["center"].to_numpy()) @ adata.varm["mnn_regressed"].T
    for donor in "ab":
        of_donor = adata.obs["donor"] == donor
        means = [
            left[of_donor & (adata.obs["chemistry"] == chemistry)].mean(0)
            for chemistry in ("v1", "v2", "v3")
        ]
        np.testing.assert_allclose(means[0], means[1], atol=1e-9)
        np.testing.assert_allclose(means[0], means[2], atol=1e-9)
        np.testing.assert_allclose(means[0], x[of_donor].mean(0), atol=1.0)


def test_the_type_of_a_column_decides_what_it_is():
    adata = logged()
    adata.obs["lane"] = adata.obs["chemistry"].str[1].astype(int)
    adata.obs["stressed"] = adata.obs["pct_mito"] > 6
    with pytest.warns(UserWarning, match=r"lane.*3 whole numbers.*text or categories"):
        pp.mnn_calibrated(adata, "donor", regress_out=["lane", "stressed"], n_comps=10)
    table = adata.uns["mnn"]["regressed"]
    assert table["quantity"].tolist() == [True, False, False]
    assert table["value"].tolist() == ["", "False", "True"]


def test_a_covariate_that_is_nearly_the_batch_is_warned_of():
    adata = logged()
    adata.obs["age"] = np.where(adata.obs["donor"] == "a", 30.0, 60.0)
    adata.obs.loc[adata.obs_names[:4], "age"] = 45.0
    with pytest.warns(UserWarning, match="age.*nearly the same"):
        pp.mnn_calibrated(adata, "donor", regress_out="age", n_comps=10)


@pytest.mark.slow
def test_a_model_takes_the_same_effects_out_of_new_cells(tmp_path):
    adata = counted()
    mnncorrect.run(
        adata, "donor", regress_out=COVARIATES, gmm=False, save_model=tmp_path / "m.mnn", n_comps=10
    )
    assert (tmp_path / "m.mnn").read_bytes().startswith(b"mnncorrect model\nversion 3\n")
    assert "columns of obs: chemistry, pct_mito" in shell("info", tmp_path / "m.mnn").stdout
    model = tl.read_model(tmp_path / "m.mnn")
    assert model.digest == tl.fit_model(adata).digest
    some = counted()[::3].copy()
    some.obs["pct_mito"] = some.obs["pct_mito"].astype(np.float32)
    tl.project(some, tmp_path / "m.mnn")
    for basis in ("X_mnn_uncorrected", "X_mnn"):
        np.testing.assert_allclose(some.obsm[basis], adata.obsm[basis][::3], atol=1e-3)
    without = counted()[::3].copy()
    without.obs["pct_mito"] += 40
    tl.project(without, tmp_path / "m.mnn", as_new=True)
    assert np.abs(without.obsm["X_mnn_uncorrected"] - some.obsm["X_mnn_uncorrected"]).max() > 0.01


def test_new_cells_whose_effects_are_not_known_are_refused():
    adata = counted()
    mnncorrect.run(adata, "donor", regress_out=COVARIATES, gmm=False, n_comps=10)
    model = tl.fit_model(adata)
    new = counted(seed=5)
    new.obs["donor"] = "c"
    other = new.copy()
    other.obs["chemistry"] = other.obs["chemistry"].replace("v2", "v4")
    with pytest.raises(ValueError, match=r"'v4'.*obs\['chemistry'\].*knows 'v1'"):
        tl.project(other, model)
    with pytest.raises(KeyError, match=r"pct_mito.*need this column"):
        tl.project(drop(new, "pct_mito"), model)
    text = new.copy()
    text.obs["pct_mito"] = text.obs["pct_mito"].astype(str)
    with pytest.raises(TypeError, match="knows it as a quantity"):
        tl.project(text, model)
    tl.project(new, model)
    assert np.isfinite(new.obsm["X_mnn"]).all()


def drop(adata, column):
    adata = adata.copy()
    del adata.obs[column]
    return adata


def test_shell_and_python_agree_and_say_what_they_do(path, tmp_path):
    words = [path, "-b", "donor", "--regress-out", "chemistry", "--regress-out", "pct_mito"]
    words += ["--no-gmm", "-o", tmp_path / "out.h5ad"]
    plan = shell("run", *words, "--dry-run").stdout
    assert "/obs/chemistry (3 values)" in plan
    assert "/obs/pct_mito (quantity)" in plan
    steps = json.loads(shell("run", *words, "--dry-run", "--json").stdout)["steps"]
    assert any("pct_mito" in step for step in steps)
    checked = json.loads(shell("check", *words[:-2], "--json").stdout)
    assert checked["regressed"] == COVARIATES
    assert "--regress-out chemistry --regress-out pct_mito" in checked["next"]
    assert "pct_mito" in shell("run", *words).stderr
    made, adata = anndata.read_h5ad(tmp_path / "out.h5ad"), counted()
    mnncorrect.run(adata, "donor", regress_out=COVARIATES, gmm=False)
    assert (made.obsm["X_mnn"] == adata.obsm["X_mnn"]).all()
    assert json.loads(made.uns["mnn"]["params"]["regress_out"]) == COVARIATES
    given = json.loads(made.uns["mnn"]["call"])["arguments"]
    assert given["regress_out"] == COVARIATES


def test_faults_are_told_before_work_on_the_shell(path, tmp_path):
    said = shell(
        "run", path, "-b", "donor", "--regress-out", "donor", "-o", tmp_path / "out.h5ad", code=1
    ).stderr
    assert "confounded with the batch" in said
    assert "--regress-out" in said
    assert not (tmp_path / "out.h5ad").exists()
    both = ["--regress-out", "donor", "--regress-out", "chemistry", "--json"]
    found = json.loads(shell("check", path, "-b", "donor", *both, code=1).stdout)
    assert "--regress-out chemistry" in found["next"]
    assert "--regress-out donor" not in found["next"]


def test_check_proposes_to_leave_out_cells_without_a_value(tmp_path):
    adata = counted()
    adata.obs.loc[adata.obs_names[:9], "pct_mito"] = np.nan
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = [tmp_path / "in.h5ad", "-b", "donor", "--regress-out", "pct_mito"]
    found = json.loads(shell("check", *words, "--json", code=1).stdout)
    assert "--subset 'pct_mito!=nan'" in found["next"]
    assert "--regress-out pct_mito" in found["next"]
    words += ["--subset", "pct_mito!=nan", "-o", tmp_path / "out.h5ad", "--dry-run", "--json"]
    assert json.loads(shell("run", *words).stdout)["n_cells"] == 291


def test_a_later_correction_without_covariates_leaves_none_of_them():
    adata = logged()
    pp.mnn_calibrated(adata, "donor", regress_out=COVARIATES, n_comps=10)
    pp.mnn_calibrated(adata, "donor", n_comps=10)
    assert "mnn_regressed" not in adata.varm
    assert "regressed" not in adata.uns["mnn"]
    with pytest.raises(UsageError, match="regress_out"):
        mnncorrect.run(logged(), "donor", use_rep="X_mnn", regress_out="chemistry")


@pytest.mark.slow
def test_workers_give_the_same_bits(path, tmp_path):
    pytest.importorskip("distributed")
    how = {"regress_out": COVARIATES, "gmm": False, "n_comps": 10, "memory_limit": "16M"}
    mnncorrect.run(path, "donor", output=tmp_path / "one.zarr", **how)
    mnncorrect.run(path, "donor", output=tmp_path / "two.zarr", workers=2, **how)
    one, two = (anndata.read_zarr(tmp_path / name) for name in ("one.zarr", "two.zarr"))
    assert (one.obsm["X_mnn"] == two.obsm["X_mnn"]).all()


def test_the_report_names_what_was_regressed_out(tmp_path):
    from mnncorrect.report import report_of

    adata = counted()
    mnncorrect.run(adata, "donor", regress_out=COVARIATES, gmm=False, n_comps=10)
    page = report_of(adata, "in.h5ad", markers=False, evaluate=False)
    assert "Effects of chemistry and pct_mito were regressed out" in page


def test_known_labels_are_not_taken_out(tmp_path):
    counted().write_h5ad(tmp_path / "in.h5ad")
    words = ["run", tmp_path / "in.h5ad", "-b", "donor", "-o", tmp_path / "out.h5ad"]
    words += ["--regress-out", "type", "--label-key", "type", "--report", tmp_path / "page.html"]
    said = shell(*words, "--dry-run", code=2).output
    assert "--regress-out" in said
    assert "--label-key" in said
