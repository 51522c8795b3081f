"""Arrays of Dask and of graphics cards are taken, and come back as they were given."""

from __future__ import annotations

import sys
import types
import warnings

import anndata
import numpy as np
import pytest

from mnncorrect import pp, tl

BATCH = np.repeat(["a", "b"], 60)


def embedding():
    rng = np.random.default_rng(0)
    cells = np.repeat(rng.normal(size=(4, 6)) * 4, 30, axis=0)
    return (cells + rng.normal(size=(120, 6)) + (BATCH == "b")[:, None]).astype(np.float32)


def held(values):
    made = anndata.AnnData(np.ones((120, 1)), obsm={"X_pca": values})
    made.obs["batch"] = BATCH
    return made


class CardArray:
    """What CuPy's arrays have, in the memory of this machine."""

    __cuda_array_interface__: dict = {}  # noqa: RUF012

    def __init__(self, values):
        self._values = values

    def get(self):
        return self._values


@pytest.fixture
def card(monkeypatch):
    module = types.ModuleType("standin_card")
    module.asarray = CardArray
    monkeypatch.setitem(sys.modules, "standin_card", module)
    monkeypatch.setattr(CardArray, "__module__", "standin_card.core")
    return CardArray


@pytest.mark.parametrize("function", [pp.mnn_calibrated, pp.mnn_fast, pp.mnn_integrate])
def test_a_dask_embedding_comes_back_as_dask_in_the_same_blocks(function):
    arrays = pytest.importorskip("dask.array")
    values = embedding()
    how = {} if function is pp.mnn_integrate else {"use_rep": "X_pca"}
    plain, lazy = held(values), held(arrays.from_array(values, chunks=(50, 3)))
    function(plain, "batch", **how)
    function(lazy, "batch", **how)
    found = lazy.obsm["X_mnn"]
    assert isinstance(found, arrays.Array)
    assert found.chunks[0] == (50, 50, 20)
    np.testing.assert_array_equal(found.compute(), plain.obsm["X_mnn"])
    assert isinstance(lazy.obsm["X_pca"], arrays.Array)


def test_dask_counts_are_corrected_by_rows():
    arrays = pytest.importorskip("dask.array")
    import scipy.sparse as sp

    rng = np.random.default_rng(1)
    values = np.log1p(rng.poisson(1.0, size=(120, 40))).astype(np.float32)
    plain, lazy = held(embedding()), held(embedding())
    plain = anndata.AnnData(values, obs=plain.obs)
    blocks = arrays.from_array(values, chunks=(50, 40))
    for chunks in (blocks, blocks.map_blocks(sp.csr_matrix)):
        lazy = anndata.AnnData(chunks, obs=plain.obs.copy())
        made = pp.mnn_fast(plain, "batch", n_comps=5, copy=True)
        pp.mnn_fast(lazy, "batch", n_comps=5)
        np.testing.assert_allclose(lazy.obsm["X_mnn"], made.obsm["X_mnn"], atol=1e-5)
        assert isinstance(lazy.X, arrays.Array)


def test_a_dask_embedding_with_nan_is_refused():
    arrays = pytest.importorskip("dask.array")
    values = embedding()
    values[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        pp.mnn_calibrated(held(arrays.from_array(values, chunks=50)), "batch", use_rep="X_pca")


def test_a_dask_array_without_an_object_comes_back_as_one():
    arrays = pytest.importorskip("dask.array")
    values = embedding()
    lazy = pp.mnn_integrate(arrays.from_array(values, chunks=50), BATCH)
    np.testing.assert_array_equal(lazy.compute(), pp.mnn_integrate(values, BATCH))


def test_an_array_of_a_graphics_card_comes_back_as_one(card):
    values = embedding()
    on_card = pp.mnn_integrate(card(values), BATCH)
    assert isinstance(on_card, card)
    np.testing.assert_array_equal(on_card.get(), pp.mnn_integrate(values, BATCH))


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_an_object_that_is_read_lazily_gives_the_same_as_one_in_memory(kind, tmp_path):
    array = pytest.importorskip("dask.array")
    pytest.importorskip("xarray")
    if kind == "zarr":
        pytest.importorskip("zarr")
    path, whole = tmp_path / f"in.{kind}", held(embedding())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which version of zarr anndata writes, and that it tries
        getattr(whole, f"write_{kind}")(path)
        lazy = anndata.experimental.read_lazy(path)
        for each in (whole, lazy):
            pp.mnn_integrate(each, "batch", n_jobs=1)
            tl.evaluate(each, "batch", n_splits=0, n_jobs=1)
    assert isinstance(lazy.obsm["X_mnn"], array.Array)
    np.testing.assert_array_equal(lazy.obsm["X_mnn"].compute(), whole.obsm["X_mnn"])
    assert lazy.obs.equals(whole.obs)
    scores = (each.uns["mnn_evaluation"]["scores"] for each in (lazy, whole))
    assert next(scores).equals(next(scores))
