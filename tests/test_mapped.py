"""An embedding that is mapped from a file is corrected out of core, to the same bits."""

from __future__ import annotations

import os
import tracemalloc
import warnings
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from test_zarr_outputs import counts

import mnncorrect
from mnncorrect import pp
from mnncorrect._adata.matrix import take_embedding
from mnncorrect._io.scratch import mapped_rows
from mnncorrect._prepare import limits
from mnncorrect.core.calibrated.neighborhoods import canonical_order
from mnncorrect.core.runtime import mapped
from mnncorrect.core.runtime.mapped import MapFiles
from mnncorrect.core.runtime.threads import copy_rows

N_DIMS = 8
LARGE = {"a": 8100, "b": 300}  # the first is corrected from representatives
SMALL = {"a": 300, "b": 300}


def labels(sizes):
    made = np.repeat(list(sizes), list(sizes.values()))
    return np.random.default_rng(1).permutation(made)


def embedding(batch, dtype=np.float32, n_dims=N_DIMS):
    rng = np.random.default_rng(0)
    shift = (batch[:, None] == "b") * 1.5
    types = rng.normal(size=(4, n_dims)) * 6
    values = types[rng.integers(4, size=len(batch))] + rng.normal(size=(len(batch), n_dims))
    return (values + shift).astype(dtype)


def on_disk(values, folder):
    path = folder / "embedding.dat"
    np.memmap(path, values.dtype, "w+", shape=values.shape)[...] = values
    return np.memmap(path, values.dtype, "r", shape=values.shape)


def held(values, batch):
    obs = pd.DataFrame({"batch": batch}, index=[f"c{n}" for n in range(len(batch))])
    return anndata.AnnData(np.ones((len(batch), 1), "f4"), obs=obs, obsm={"X_pca": values})


@pytest.mark.parametrize(("sizes", "dtype"), [(LARGE, np.float32), (SMALL, np.int16)])
def test_a_mapped_embedding_gives_a_mapped_result_of_the_same_bits(sizes, dtype, tmp_path):
    batch = labels(sizes)
    values = embedding(batch, dtype)
    expected, made = held(values, batch), held(on_disk(values, tmp_path), batch)
    for one in (expected, made):
        pp.mnn_integrate(one, "batch", n_jobs=2)
    result = made.obsm["X_mnn"]
    assert mapped.mapping_of(result) is not None
    assert mapped.mapping_of(expected.obsm["X_mnn"]) is None
    assert result.dtype == expected.obsm["X_mnn"].dtype
    np.testing.assert_array_equal(result, expected.obsm["X_mnn"])
    np.testing.assert_array_equal(made.obs["mnn_confidence"], expected.obs["mnn_confidence"])
    np.testing.assert_array_equal(made.obsm["X_pca"], values)  # the file is as it was
    assert [path.name for path in tmp_path.iterdir()] == ["embedding.dat"]


def test_a_mapped_array_alone_gives_a_mapped_one(tmp_path):
    batch = labels(SMALL)
    values = embedding(batch)
    made = pp.mnn_integrate(on_disk(values, tmp_path), batch)
    assert mapped.mapping_of(made) is not None
    np.testing.assert_array_equal(made, pp.mnn_integrate(values, batch))


@pytest.mark.slow
def test_a_result_with_maps_is_written(tmp_path):
    pytest.importorskip("zarr")
    batch = labels(SMALL)
    made = held(on_disk(embedding(batch), tmp_path), batch)
    for name in ("out.h5ad", "out.zarr"):
        out = tmp_path / name
        mnncorrect.run(made, "batch", use_rep="X_pca", gmm=False, output=out, pca=None, n_jobs=1)
        read = anndata.read_zarr(out) if name.endswith("zarr") else anndata.read_h5ad(out)
        np.testing.assert_array_equal(read.obsm["X_pca"], made.obsm["X_pca"])
        assert read.obsm["X_mnn"].shape == (600, N_DIMS)


def test_a_nan_in_a_mapped_embedding_is_found(tmp_path):
    batch = labels(SMALL)
    values = embedding(batch)
    values[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 values that are not finite.*'c17'.*dimension 3"):
        pp.mnn_integrate(held(on_disk(values, tmp_path), batch), "batch")


def test_no_copy_of_a_mapped_embedding_is_made_in_memory(tmp_path):
    batch = labels({"a": 30_000, "b": 30_000})
    given = on_disk(embedding(batch, n_dims=60), tmp_path)
    adata = held(given, batch)
    read = take_embedding(adata, "X_pca")
    assert np.shares_memory(read, given)
    tracemalloc.start()
    try:
        made = mapped.copy_of(take_embedding(adata, "X_pca"))
        rows = copy_rows(given, np.arange(0, 60_000, 600), n_jobs=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(rows, made[::600])
    assert peak < given.nbytes / 2


def test_each_block_of_a_mapped_array_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 400)
    values = np.arange(1000.0).reshape(200, 5)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(3, 150), 2))
    given = on_disk(values, tmp_path)
    np.testing.assert_array_equal(copy_rows(given, rows, n_jobs=1), values[rows])
    blocks = [rows[some] // 10 for some in mapped.near_rows(given, rows)]  # 10 rows have 400 bytes
    assert all(len(set(some)) == 1 for some in blocks)
    assert [some[0] for some in blocks] == list(range(15))
    assert copy_rows(given, np.zeros(0, int), n_jobs=1).shape == (0, 5)


def test_rows_are_read_in_blocks_of_whole_chunks(monkeypatch):
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 1000)
    read = []

    class Stored:
        values = np.arange(500.0).reshape(100, 5)
        shape, dtype, chunks, nbytes = values.shape, values.dtype, (7, 5), values.nbytes

        def __getitem__(self, rows):
            read.append((rows.start, rows.stop))
            return self.values[rows]

    np.testing.assert_array_equal(mapped_rows(Stored(), MapFiles()), Stored.values)
    assert read == [(0, 28), (28, 56), (56, 84), (84, 100)]


@pytest.mark.parametrize(("source", "out"), [
    ("in.h5ad", "out.h5ad"),
    pytest.param("in.h5ad", "out.zarr", marks=pytest.mark.slow),
    pytest.param("in.zarr", "out.h5ad", marks=pytest.mark.slow),
    pytest.param("in.zarr", "out.zarr", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_file_that_exceeds_the_limit_is_corrected_out_of_core(
    source, out, tmp_path, monkeypatch, caplog
):
    if source.endswith("zarr") or out.endswith("zarr"):
        pytest.importorskip("zarr")
    batch = labels(SMALL)
    adata = held(embedding(batch), batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which version of zarr anndata writes
        (adata.write_zarr if source.endswith("zarr") else adata.write_h5ad)(tmp_path / source)
    how = {"use_rep": "X_pca", "gmm": False, "n_jobs": 1}
    results = []
    for least in (limits.LEAST_MEMORY, 1000):
        monkeypatch.setattr(limits, "LEAST_MEMORY", least)
        target = tmp_path / f"{least}{out}"
        limit = "16M" if least > 1000 else "0.01M"
        with caplog.at_level("INFO", logger="mnncorrect"):
            mnncorrect.run(tmp_path / source, "batch", output=target, memory_limit=limit, **how)
        read = anndata.read_zarr if out.endswith("zarr") else anndata.read_h5ad
        results.append(read(target))
    assert sum("memory limit" in line for line in caplog.messages) == 1
    for name in ("X_pca", "X_mnn"):
        np.testing.assert_array_equal(results[0].obsm[name], results[1].obsm[name])


def test_components_that_take_much_memory_are_mapped_while_they_are_corrected(
    tmp_path, monkeypatch
):
    counts().write_h5ad(tmp_path / "in.h5ad")
    made, results = mapped.mapped_array, []
    for share in (limits.LARGE, 1 << 30):
        monkeypatch.setattr(limits, "LARGE", share)
        shapes = []
        monkeypatch.setattr(
            mapped,
            "mapped_array",
            lambda shape, *how, to=shapes, **more: (to.append(shape), made(shape, *how, **more))[1],
        )
        target = tmp_path / f"{share}.h5ad"
        how = {"n_comps": 5, "gmm": False, "n_jobs": 1, "memory_limit": "16M"}
        mnncorrect.run(tmp_path / "in.h5ad", "batch", output=target, **how)
        results.append((shapes, anndata.read_h5ad(target).obsm))
    (none, expected), (both, found) = results
    assert not none
    assert both == [(240, 5)] * 2  # before and after the correction
    for name in ("X_mnn", "X_mnn_uncorrected"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_plan_tells_whether_all_cells_of_a_large_embedding_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LEAST_MEMORY", 1000)
    batch = labels(SMALL)
    adata = held(embedding(batch), batch)
    adata.obs["type"] = "one"
    adata.write_h5ad(tmp_path / "in.h5ad")
    atlas = {"cells": 10**7, "largest": 5 * 10**5, "dims": 50, "in_file": 2 * 10**9}

    def told(**how):
        how = {"memory_limit": "0.01M", "use_rep": "X_pca", "gmm": False} | how
        plan = mnncorrect.plan(tmp_path / "in.h5ad", "batch", output=tmp_path / "o.h5ad", **how)
        plan = replace(plan, size=replace(plan.size, **atlas))
        return " ".join(plan.describe()), plan.estimate().memory_mb

    text, memory = told()
    assert "temporary file" in text
    assert 1500 < memory < 6000  # 10 million cells in 20 batches took 2,946 MB
    for more in ({"method": "fast"}, {"label_key": "type", "guide": True}):
        text, memory = told(**more)
        assert "all cells in memory" in text
        assert memory > 10_000
    assert "memory" not in told(memory_limit="16G")[0]


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    batch = labels(SMALL)
    adata = held(on_disk(embedding(batch), tmp_path), batch)
    with pytest.raises(OSError, match="No space left") as told:
        pp.mnn_integrate(adata, "batch")
    assert str(tmp_path) in str(told.value)
    assert "X_mnn" not in adata.obsm


def test_changes_that_a_map_keeps_in_memory_are_not_lost(tmp_path):
    values = on_disk(embedding(labels(SMALL)), tmp_path)
    changed = np.memmap(values.filename, values.dtype, "c", shape=values.shape)
    changed[0] = 7
    assert mapped.mapping_of(changed) is None
    mapped.let_go(changed)
    assert (changed[0] == 7).all()


def test_tied_cells_are_ordered_by_all_keys():
    rng = np.random.default_rng(0)
    for seed in range(50):
        n, n_dims = rng.integers(1, 80), rng.integers(1, 4)
        x = rng.integers(-1, 2, size=(n, n_dims)).astype(float)
        batch, names = rng.integers(2, size=n), ["b", "a"]
        cells = rng.permutation([f"c{k}" for k in range(n)]) if seed % 2 else None
        last = [] if cells is None else [cells]
        rank = np.array([1, 0])[batch]
        keys = [*last, rank, *x.T[::-1]]
        np.testing.assert_array_equal(canonical_order(x, batch, names, cells), np.lexsort(keys))
