"""Values prepared in Python as a run prepares them, and what was warned of on the way."""

from __future__ import annotations

import json
import warnings
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import mnncorrect
from mnncorrect import pp, tl
from mnncorrect._wording import UsageError


@pytest.fixture
def counts(rng: np.random.Generator) -> anndata.AnnData:
    """Counts of two populations in two batches."""
    profiles = rng.gamma(0.5, 4.0, size=(2, 40)) + 0.1
    x = rng.poisson(profiles[np.arange(90) % 2]).astype(np.float32)
    x[45:] = rng.poisson(x[45:] * np.exp(0.4 * rng.standard_normal(40)))
    obs = pd.DataFrame({"batch": ["a"] * 45 + ["b"] * 45}, index=[f"c{i}" for i in range(90)])
    return anndata.AnnData(sp.csr_matrix(x), obs=obs)


def noted(adata: anndata.AnnData) -> list[str]:
    texts: list[str] = json.loads(adata.uns["mnn"].get("warnings", "[]"))
    return texts


@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize("wish", [{}, {"n_top_genes": 15}, {"hvg": False, "normalize": False}])
def test_a_correction_of_prepared_values_is_that_of_a_run(
    counts: anndata.AnnData, logs: bool, wish: dict[str, Any]
) -> None:
    if logs:
        wish.pop("normalize", None)
        counts.X = sp.csr_matrix(np.log1p(counts.X.toarray() * 1e4 / counts.X.sum(1)))
    ran = mnncorrect.run(counts, "batch", n_comps=5, gmm=False, copy=True, **wish)
    assert ran is not None
    pp.prepare(counts, "batch", **wish)
    layer = None if logs else "mnn_log1p"
    pp.mnn_calibrated(counts, "batch", layer=layer, mask_var="mnn_genes", n_comps=5)
    np.testing.assert_allclose(counts.obsm["X_mnn"], ran.obsm["X_mnn"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(counts.var["mnn_genes"], ran.var["mnn_genes"])
    assert counts.uns["mnn"]["prepared"] == ran.uns["mnn"]["prepared"]
    assert noted(counts) == noted(ran)
    assert set(counts.layers) == set(ran.layers)
    if not logs:
        a, b = counts.layers["mnn_log1p"], ran.layers["mnn_log1p"]
        np.testing.assert_array_equal(a.toarray(), b.toarray())


def test_preparing_again_removes_what_was_made_of_it(counts: anndata.AnnData) -> None:
    mnncorrect.run(counts, "batch", n_comps=5, n_components=[1, 2])
    assert {"X_mnn", "gmm_proba"} <= set(counts.obsm)
    pp.prepare(counts, "batch")
    assert not {"X_mnn"} & set(counts.obsm)
    assert {"mnn_log1p"} == {name for name in counts.layers if name is not None}


def test_a_preparation_that_fails_leaves_the_object_as_it_was(counts: anndata.AnnData) -> None:
    counts.X.data[3] = np.inf
    before = set(counts.layers), set(counts.uns), set(counts.var)
    with pytest.raises(ValueError, match="not finite"):
        pp.prepare(counts, "batch")
    with pytest.raises(UsageError, match="n_top_genes"):
        pp.prepare(counts, "batch", n_top_genes=5, mask_var=None)
    assert (set(counts.layers), set(counts.uns), set(counts.var)) == before


def test_a_copy_is_prepared_and_the_object_is_not(counts: anndata.AnnData) -> None:
    copied = pp.prepare(counts, "batch", copy=True, key_added="other")
    assert copied is not None
    assert "other_log1p" in copied.layers
    assert not counts.layers
    assert "other" not in counts.uns


# -- Warnings of the input ------------------------------------------------------------------------


def test_shallow_batches_and_huge_counts_are_recorded_from_python(counts: anndata.AnnData) -> None:
    x = counts.X.toarray().astype(np.int64)
    x[45:] //= 4
    x[3, 5] = 2**24 + 3
    counts.X = x
    for made in (
        pp.prepare(counts, "batch", copy=True),
        mnncorrect.run(counts, "batch", n_comps=5, gmm=False, copy=True),
    ):
        assert made is not None
        told = " ".join(noted(made))
        assert "rounded" in told
        assert "few counts" in told


@pytest.mark.parametrize("method", ["calibrated", "fast", "classic"])
def test_a_method_records_what_it_warns_of_even_where_nobody_hears_it(
    counts: anndata.AnnData, method: str
) -> None:
    counts.X = np.log1p(counts.X.toarray())
    counts.obs["batch"] = ["NA"] * 45 + ["b"] * 45
    for _ in range(2):  # the second time, Python would not show a warning again
        adata = counts.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(pp, f"mnn_{method}")(adata, "batch")
        (text, *_) = noted(adata)
        assert "'NA'" in text
        assert "adata[" in text  # in the words of Python


def test_nothing_is_recorded_where_nothing_was_warned_of(counts: anndata.AnnData) -> None:
    pp.prepare(counts, "batch")
    assert "warnings" not in counts.uns["mnn"]
    pp.mnn_fast(counts, "batch", layer="mnn_log1p", n_comps=5)
    assert "warnings" not in counts.uns["mnn"]


def test_a_warning_names_the_line_of_the_caller(counts: anndata.AnnData) -> None:
    counts.obs["batch"] = ["NA"] * 45 + ["b"] * 45
    counts.X = np.log1p(counts.X.toarray())
    for call in (
        lambda: pp.mnn_calibrated(counts, "batch", n_comps=5),
        lambda: mnncorrect.run(counts, "batch", n_comps=5, gmm=False),
        lambda: pp.prepare(counts, "batch"),
    ):
        with pytest.warns(UserWarning, match="'NA'") as heard:
            call()
        assert {warning.filename for warning in heard} == {__file__}


def test_what_is_warned_of_after_a_run_is_not_noted_for_it(counts: anndata.AnnData) -> None:
    mnncorrect.run(counts, "batch", n_comps=5, gmm=False)
    before = dict(counts.uns["mnn"])
    with warnings.catch_warnings(action="ignore"):
        tl.gmm(counts, n_components=[3], max_iter=1)
    assert set(counts.uns["mnn"]) == set(before)
