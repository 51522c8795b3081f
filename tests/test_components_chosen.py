"""How many components a correction takes: as many as stand out from noise, unless it is said."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest

import mnncorrect
from mnncorrect import pp
from mnncorrect._wording import UsageError
from mnncorrect.core.matrix.elbow import LEAST_COMPONENTS, components_above_noise


def make(n_strong: int) -> anndata.AnnData:
    """Cells of 400 genes in which so many directions vary more than noise."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(400, n_strong)))[0]
    x = rng.normal(size=(300, n_strong)) @ loadings.T * 9 + rng.normal(size=(300, 400))
    obs = pd.DataFrame({"batch": np.repeat(["a", "b"], 150)}, index=[f"c{i}" for i in range(300)])
    return anndata.AnnData((x / 20 + 3).astype(np.float32), obs=obs)


@pytest.mark.parametrize("n_strong", [3, 31])
def test_components_that_stand_out_are_kept_and_recorded(n_strong, caplog):
    adata = make(n_strong)
    with caplog.at_level(logging.INFO, logger="mnncorrect"):
        pp.mnn_calibrated(adata, "batch")
    n = adata.obsm["X_mnn"].shape[1]
    assert n == adata.uns["mnn"]["params"]["n_comps"]
    assert n == max(LEAST_COMPONENTS, n_strong)
    assert f"{n} of 50 components" in " ".join(caplog.messages)
    assert adata.varm["mnn_loadings"].shape == (400, n)
    assert len(adata.uns["mnn"]["components"]["variance"]) == n
    # They are the leading ones of those that are computed.
    more = make(n_strong)
    pp.mnn_calibrated(more, "batch", n_comps=50)
    np.testing.assert_array_equal(
        adata.obsm["X_mnn_uncorrected"], more.obsm["X_mnn_uncorrected"][:, :n]
    )


def test_few_components_are_all_kept():
    adata = make(3)[:, :12].copy()
    pp.mnn_calibrated(adata, "batch")
    assert adata.obsm["X_mnn"].shape[1] == 12
    assert components_above_noise(np.ones(20)) == 20
    assert components_above_noise(np.zeros(30)) == LEAST_COMPONENTS
    assert components_above_noise(np.ones(30), least=0) == 0


def test_the_reference_methods_take_fifty_unless_told():
    adata = make(3)
    pp.mnn_fast(adata, "batch")
    assert adata.obsm["X_mnn"].shape[1] == 50
    pp.mnn_fast(adata, "batch", n_comps="auto")
    assert adata.obsm["X_mnn"].shape[1] == LEAST_COMPONENTS


def test_a_word_other_than_auto_is_refused():
    adata = make(3)
    with pytest.raises((TypeError, ValueError), match="n_comps"):
        pp.mnn_calibrated(adata, "batch", n_comps="many")
    with pytest.raises(UsageError, match="n_comps"):
        mnncorrect.run(adata, "batch", method="classic", n_comps="auto")
