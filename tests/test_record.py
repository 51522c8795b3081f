"""Results that belong together: what is ours, what is stale, and what a failed call leaves."""

from __future__ import annotations

import ast
import copy
import dataclasses
import itertools
import json
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import mnncorrect
from mnncorrect import pp, tl
from mnncorrect._adata import Draft, Keys
from mnncorrect._adata.record import entries, is_current, is_derived, kind_of_entry, take_record
from mnncorrect._adata.result_places import results_of


@pytest.fixture(scope="module")
def counts():
    """Log values of two batches of two kinds of cells."""
    rng = np.random.default_rng(0)
    kind, batch = np.arange(80) % 2, np.arange(80) // 40
    values = rng.gamma(2.0, size=(80, 20)) + 3 * np.eye(2)[kind].repeat(10, axis=1)
    values[batch == 1, ::3] += 1.0
    adata = anndata.AnnData(values.astype(np.float32))
    adata.obs["batch"] = pd.Categorical(np.array(["a", "b"])[batch])
    adata.obs["kind"] = pd.Categorical(np.array(["x", "y"])[kind])
    adata.obsm["X_pca"] = values[:, :6].astype(np.float32)
    return adata


@pytest.fixture
def adata(counts):
    return counts.copy()


QUICK = {"n_jobs": 1}
DERIVED = ("gmm", "mnn_evaluation", "mnn_abundance")


def corrected(adata, method="calibrated", **more):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="replaced")
        if method != "classic":
            more = {"n_comps": 5, **more}
        getattr(pp, f"mnn_{method}")(adata, "batch", **QUICK, **more)
    return adata


def derive(adata):
    """Compute what follows from a correction, but for a map, which takes long."""
    tl.gmm(adata, n_components=[1, 2], **QUICK)
    tl.evaluate(adata, "batch", n_splits=0, **QUICK)
    tl.cluster_abundance(adata, "batch", clusters="gmm")
    return adata


def state(adata):
    """All that an object holds, to be compared."""
    whole = {"obs": adata.obs, "var": adata.var}
    for slot in ("layers", "obsm", "varm", "obsp", "uns"):
        whole |= {f"{slot}/{name}": value for name, value in getattr(adata, slot).items()}
    return copy.deepcopy(whole)


def assert_same_state(adata, before):
    assert_same(state(adata), before)


def assert_same(now, before):
    assert type(now) is type(before)
    if isinstance(before, dict):
        assert list(now) == list(before)
        for name, value in before.items():
            assert_same(now[name], value)
    elif isinstance(before, pd.DataFrame):
        pd.testing.assert_frame_equal(now, before)
    elif hasattr(before, "toarray"):
        np.testing.assert_array_equal(now.toarray(), before.toarray())
    else:
        np.testing.assert_equal(now, before)


# --------------------------------------------------------------------------------------- digests


def test_equal_corrections_have_equal_digests_and_others_have_not(adata):
    first = corrected(adata.copy()).uns["mnn"]["digest"]
    assert corrected(adata.copy()).uns["mnn"]["digest"] == first
    assert corrected(adata.copy(), n_comps=4).uns["mnn"]["digest"] != first
    adata.X[3, 3] += 0.5
    assert corrected(adata).uns["mnn"]["digest"] != first


def test_what_is_derived_carries_the_digest_of_its_correction(adata):
    derive(corrected(adata))
    digest = adata.uns["mnn"]["digest"]
    for name in DERIVED:
        assert adata.uns[name]["correction"] == digest
        assert is_current(adata.uns, name, "mnn")
    other = corrected(adata.copy(), "classic")
    pp.pca(other, n_comps=3)
    assert other.uns["mnn_pca"]["correction"] == other.uns["mnn"]["digest"] != digest


def test_a_new_correction_removes_what_followed_from_the_earlier_one(adata):
    derive(corrected(adata))
    tl.gmm(adata, use_rep="X_pca", key_added="of_pca", n_components=[2], **QUICK)
    corrected(adata, "fast")
    assert not set(DERIVED) & set(adata.uns)
    assert not {"gmm", "mnn_confidence"} & set(adata.obs)
    assert not {"gmm_proba"} & set(adata.obsm)
    assert "of_pca" in adata.uns  # it is of no correction
    assert {"of_pca", "batch", "kind"} <= set(adata.obs)


def test_scores_of_another_embedding_are_not_those_of_the_correction(adata):
    corrected(adata)
    tl.evaluate(adata, "batch", use_rep="X_pca", before="X_mnn", n_splits=0, **QUICK)
    assert is_current(adata.uns, "mnn_evaluation", "mnn")
    assert not is_derived(adata.uns, "mnn_evaluation", "mnn")
    tl.evaluate(adata, "batch", n_splits=0, **QUICK)
    assert is_derived(adata.uns, "mnn_evaluation", "mnn")


def test_what_followed_stays_where_the_correction_comes_out_the_same(adata):
    derive(corrected(adata))
    corrected(adata)
    assert set(DERIVED) <= set(adata.uns)


def test_every_result_is_listed_in_its_entry(adata):
    before = {(s, n) for s in ("obs", "var", "layers", "obsm", "varm", "obsp", "uns")
              for n in getattr(adata, s)}  # fmt: skip
    corrected(adata, write_expression=True)
    derive(adata)
    now = {(s, n) for s in ("obs", "var", "layers", "obsm", "varm", "obsp", "uns")
           for n in getattr(adata, s)}  # fmt: skip
    ours = {("uns", name) for name in adata.uns}
    for entry in adata.uns.values():
        ours |= set(results_of(entry))
    assert now - before == ours - before


# -------------------------------------------------------------------------------- whose they are


@pytest.mark.parametrize(
    "theirs",
    [
        {"params": {"groupby": "kind"}, "scores": np.array([(1.0,)], [("a", "f4")])},
        {"merges": 1, "params": {}, "batches": []},
        {"bic": pd.DataFrame(), "params": {}, "n_components": 2},
        {"variance_ratio": np.ones(3), "variance": np.ones(3), "params": {}},
        {"projected": {}, "params": {}, "model": {}, "batches": []},
        {"provenance": {"software": "another"}, "params": {}, "merges": 1, "batches": 1},
        "text", 3, np.ones(3), None,
    ],
)  # fmt: skip
def test_entries_that_look_like_ours_are_not_read_as_ours(theirs):
    assert kind_of_entry(theirs) is None
    kinds = ("correction", "projection", "components", "clusters", "evaluation", "other")
    assert entries({"mnn": theirs, "gmm": theirs}, *kinds) == {}


def test_values_of_the_user_are_replaced_with_a_warning_that_names_them(adata):
    adata.obs["gmm"] = "mine"
    adata.obsm["X_mnn"] = np.zeros((80, 2), np.float32)
    with pytest.warns(UserWarning, match=r"obsm\['X_mnn'\]"):
        pp.mnn_fast(adata, "batch", n_comps=5, **QUICK)
    with pytest.warns(UserWarning, match=r"obs\['gmm'\]"):
        tl.gmm(adata, n_components=[2], **QUICK)
    # From now on they are this package's.
    pp.mnn_fast(adata, "batch", n_comps=5, **QUICK)
    tl.gmm(adata, n_components=[2], **QUICK)


def test_an_entry_of_the_user_is_no_correction(adata):
    adata.uns["mnn"] = {"merges": [1], "params": {"key": "batch"}, "batches": ["a"]}
    with pytest.raises(KeyError, match="no correction"):
        take_record(adata, "mnn")
    with pytest.warns(UserWarning, match=r"uns\['mnn'\]"):
        pp.mnn_fast(adata, "batch", n_comps=5, **QUICK)
    assert take_record(adata, "mnn").batches == ("a", "b")


FORGED = {
    "merges": [None, "x", pd.DataFrame({"left": ["["]}), pd.DataFrame()],
    "batches": [None, 3, np.ones((2, 2)), np.array(["a"], object)],
    "lost_variance": ["x", np.ones((7, 7)), np.array([["a", "b"]], object)],
    "components": [None, {}, {"variance": "x", "variance_ratio": [1.0]}],
    "params": [{}, {"method": 3, "key": "batch"}, {"method": "fast"}, {"method": {}, "key": "b"}],
    "expression": [{}, 3],
}


@pytest.mark.parametrize("field", FORGED)
def test_a_forged_record_is_refused_with_its_name(adata, field):
    corrected(adata, "fast")
    whole = adata.uns["mnn"]
    for value in FORGED[field]:
        adata.uns["mnn"] = {**whole, field: value}
        for use in (
            lambda: take_record(adata, "mnn"),
            lambda: pp.mnn_expression(adata),
            lambda: tl.fit_model(adata),
            lambda: tl.evaluate(adata, "batch", n_splits=0, **QUICK),
            lambda: mnncorrect.pl.merges(adata, show=False),
        ):
            with pytest.raises(ValueError, match=r"uns\['mnn'\] is no valid record"):
                use()


# ------------------------------------------------------------------------------------ one step

CALLS = {
    "calibrated": lambda a: corrected(a, n_comps=4),
    "with expression": lambda a: corrected(a, n_comps=4, write_expression=True),
    "integrate": lambda a: pp.mnn_integrate(a, "batch", **QUICK),
    "fast": lambda a: corrected(a, "fast"),
    "classic": lambda a: pp.mnn_classic(a, "batch", **QUICK),
    "cluster": lambda a: pp.mnn_cluster(a, "batch", clusters="kind", **QUICK),
    "expression": pp.mnn_expression,
    "multibatch_pca": lambda a: pp.multibatch_pca(a, "batch", n_comps=3),
    "rescale": lambda a: pp.rescale_batches(a, "batch"),
    "regress": lambda a: pp.regress_batches(a, "batch"),
    "cosine": lambda a: pp.cosine_normalize(a, key_added="cosine"),
    "cosine of X": pp.cosine_normalize,
    "pca": lambda a: pp.pca(a, layer=None, n_comps=3),
    "gmm": lambda a: tl.gmm(a, n_components=[2], **QUICK),
    "evaluate": lambda a: tl.evaluate(a, "batch", n_splits=0, **QUICK),
    "abundance": lambda a: tl.cluster_abundance(a, "batch", clusters="gmm"),
    "delta variance": tl.delta_variance,
    "project": lambda a: tl.project(a, a.copy(), counts=False, **QUICK),
}


@pytest.fixture(scope="module")
def whole(counts):
    """An object with results of most calls."""
    return derive(corrected(counts.copy(), "fast"))


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_while_it_writes_leaves_the_object_as_it_was(whole, call, monkeypatch):
    from mnncorrect._adata import draft

    apply, put, tried = draft._apply, draft._set_place, []

    def interrupted(adata, removed, puts):
        """Fail at each step in turn, before everything is put where it belongs."""
        before = state(adata)
        for step in range(len(puts)):
            error, calls = (MemoryError, KeyboardInterrupt)[step % 2], itertools.count()

            def failing(adata, place, value, step=step, error=error, calls=calls):
                if next(calls) == step:
                    raise error
                put(adata, place, value)

            monkeypatch.setattr(draft, "_set_place", failing)
            with pytest.raises(error):
                apply(adata, removed, puts)
            assert_same_state(adata, before)
            tried.append(step)
        monkeypatch.setattr(draft, "_set_place", put)
        apply(adata, removed, puts)

    monkeypatch.setattr(draft, "_apply", interrupted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CALLS[call](whole.copy())
    assert tried


BAD = [
    lambda a: pp.mnn_integrate(a, "batch", neighbors="none"),
    lambda a: pp.mnn_integrate(a, "batch", random_state="x"),
    lambda a: pp.mnn_calibrated(a, "batch", adjusted_basis="X_mnn_uncorrected"),
    lambda a: pp.mnn_calibrated(a, "batch", layer="none"),
    lambda a: pp.mnn_fast(a, "batch", batch_weights={"a": "x"}),
    lambda a: tl.gmm(a, random_state="x"),
    lambda a: tl.gmm(a, n_components=[0]),
    lambda a: tl.evaluate(a, "batch", label_key="none"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_call_with_bad_arguments_leaves_the_object_as_it_was(whole, number):
    adata = whole.copy()
    before = state(adata)
    with pytest.raises((TypeError, ValueError, KeyError)):
        BAD[number](adata)
    assert_same_state(adata, before)


@pytest.mark.parametrize("slot", ["obsm", "layers", "obs"])
def test_results_that_are_not_finite_are_refused(adata, slot):
    values = np.full(80, np.nan) if slot == "obs" else np.full(adata.shape, np.inf, np.float32)
    before = state(adata)
    draft = Draft(adata, "mnn")
    draft.put("uns", "mnn", {"params": {}})
    draft.put(slot, "mnn", values)
    with pytest.raises(ValueError, match=rf"{slot}\['mnn'\].*not finite"):
        draft.commit()
    assert_same_state(adata, before)


def test_what_another_correction_has_read_is_kept_and_stays_listed(adata):
    adata.layers["mine"] = adata.X.copy()
    corrected(adata, "classic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.mnn_fast(adata, "batch", layer="mnn", n_comps=4, **QUICK)
    assert {"mine", "mnn"} <= set(adata.layers)
    assert ("layers", "mnn") in results_of(adata.uns["mnn"])
    assert json.loads(adata.uns["mnn"]["results"])
    assert Keys().embedding in adata.obsm


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize(
    "field",
    ["center", "rotation", "variance", "corrected", "uncorrected", "confidence", "spacing"],
)
def test_a_forged_model_writes_nothing_that_is_not_finite(whole, field, value):
    model = tl.fit_model(whole)
    of_genes = field in ("center", "rotation", "variance")
    source = model.components if of_genes else model
    forged = np.array(getattr(source, field))
    forged.flat[::7] = value
    changed = dataclasses.replace(source, **{field: forged})
    if of_genes:
        changed = dataclasses.replace(model, components=changed)
    adata = anndata.AnnData(whole.X[::2], obs=whole.obs[["batch"]][::2], var=whole.var[[]])
    adata.obs["batch"] = ["new"] * 40
    try:
        tl.project(adata, changed, counts=False, **QUICK)
    except (ValueError, FloatingPointError):
        assert not set(adata.obsm)
        assert "mnn" not in adata.uns
        return
    for name in ("X_mnn", "X_mnn_uncorrected"):
        assert np.isfinite(adata.obsm[name]).all()
    assert np.isfinite(adata.obs["mnn_confidence"]).all()


# What reads entries of uns: the record itself, and what puts results into an object; the last two
# read what scanpy has put into an object of theirs.
READERS = {"_adata/record.py", "_adata/draft.py", "tl/_umap.py", "report/collect/markers.py"}


def test_entries_of_uns_are_read_by_the_record_alone():
    found = []
    package = Path(mnncorrect.__file__).parent
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_read = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)
            is_got = isinstance(node, ast.Attribute) and node.attr == "get"
            if (is_read or is_got) and name not in READERS:
                of_uns = isinstance(node.value, ast.Attribute) and node.value.attr == "uns"
                found += [f"{name}:{node.lineno}"] if of_uns else []
    assert found == [], "ask mnncorrect._adata.record"


def test_delta_variance_needs_a_record_of_a_correction(counts):
    adata = counts.copy()
    adata.uns["mnn"] = {"merges": 1, "params": {"key": "batch"}, "batches": ["a"]}
    adata.obsp["mnn_pairs"] = sp.csr_matrix((adata.n_obs, adata.n_obs))
    with pytest.raises(KeyError, match="no correction 'mnn'"):
        tl.delta_variance(adata)
