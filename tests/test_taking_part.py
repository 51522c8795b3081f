"""Cells without values take no part: the others are corrected as if these were not there."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect import pp

METHODS = {
    "mnn_calibrated": {"n_comps": 5},
    "mnn_fast": {"n_comps": 5, "n_neighbors": 5},
    "mnn_classic": {"n_neighbors": 5},
    "mnn_cluster": {"clusters": "type"},
}


@pytest.fixture(scope="module")
def adata():
    """Two batches of two types, a batch of empty cells between them, and empty cells in each."""
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.5, 4.0, (2, 40)) + 0.2
    sizes = {"a": 60, "void": 12, "b": 50}
    batch = np.repeat(list(sizes), list(sizes.values()))
    kind = np.arange(len(batch)) % 2
    factors = np.where(batch == "b", 1, 0)[:, None] * rng.normal(0, 0.4, 40)
    x = np.log1p(rng.poisson(profiles[kind] * np.exp(factors)))
    x[batch == "void"] = 0
    x[[3, 9, 100]] = 0
    obs = pd.DataFrame(
        {"batch": batch, "type": kind.astype(str)}, index=[f"c{i}" for i in range(len(batch))]
    )
    return anndata.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=obs)


@pytest.mark.filterwarnings("ignore:.*no value above zero")
@pytest.mark.parametrize("name", METHODS)
def test_cells_without_values_change_nothing_for_the_others(name, adata):
    filled = adata.X.getnnz(1) > 0
    both, alone = adata.copy(), adata[filled].copy()
    for data in (both, alone):
        getattr(pp, name)(data, "batch", mask_var=None, n_jobs=1, **METHODS[name])
    slot, key = ("layers", "mnn") if name == "mnn_classic" else ("obsm", "X_mnn")
    found, want = getattr(both, slot)[key], getattr(alone, slot)[key]
    np.testing.assert_allclose(found[filled], want, atol=1e-5)
    before = 0 if name == "mnn_classic" else both.obsm["X_mnn_uncorrected"][~filled]
    np.testing.assert_array_equal(found[~filled], before + np.zeros_like(found[~filled]))
    if name != "mnn_cluster":
        assert both.obsp["mnn_pairs"][np.flatnonzero(~filled)].nnz == 0
        assert both.obsp["mnn_pairs"].nnz == alone.obsp["mnn_pairs"].nnz
    merges = both.uns["mnn"]["merges"]
    assert sorted([*merges["left"], *merges["right"]]) == ['["a"]', '["b"]']
    assert list(both.uns["mnn"]["batches"]) == ["a", "b", "void"]
    assert both.uns["mnn"]["lost_variance"].shape == (1, 3)


def test_their_confidence_is_0_and_they_are_warned_of(adata):
    data, filled = adata.copy(), adata.X.getnnz(1) > 0
    with pytest.warns(UserWarning, match="15 cells .* above zero.*'void'"):
        pp.mnn_calibrated(data, "batch", mask_var=None, n_comps=5, write_expression=True)
    assert (data.obs["mnn_confidence"][~filled] == 0).all()
    assert (data.obs["mnn_confidence"][filled] > 0).any()
    assert (data.layers["mnn"][~filled] == 0).all()


@pytest.mark.filterwarnings("ignore:.*no value above zero")
@pytest.mark.parametrize("order", ["a,void,b", "((a,void),b)", "void,b,a"])
def test_an_order_of_merges_may_name_batches_without_values(order, adata):
    data = adata.copy()
    pp.mnn_fast(data, "batch", mask_var=None, n_comps=5, n_neighbors=5, merge_order=order)
    (left,), (right,) = (data.uns["mnn"]["merges"][side] for side in ("left", "right"))
    assert [left, right] == (['["a"]', '["b"]'] if order != "void,b,a" else ['["b"]', '["a"]'])


def test_too_few_cells_with_values_are_refused(adata):
    data = adata.copy()
    x = data.X.tolil()
    x[60:] = 0
    data.X = x.tocsr()
    with pytest.raises(ValueError, match="two batches"):
        pp.mnn_calibrated(data, "batch", mask_var=None, n_comps=5)
    data.X = sp.csr_matrix(data.shape, dtype=np.float32)
    with (
        pytest.raises(ValueError, match="no value above zero"),
        pytest.warns(UserWarning, match="zeros only"),
    ):
        pp.mnn_fast(data, "batch", mask_var=None, n_comps=5, n_neighbors=5)


def test_a_reference_without_values_is_refused(adata):
    with (
        pytest.raises(ValueError, match="reference"),
        pytest.warns(UserWarning, match="no value above zero"),
    ):
        pp.mnn_calibrated(adata.copy(), "batch", mask_var=None, n_comps=5, reference="void")
