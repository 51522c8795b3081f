"""Layers written block by block are those that anndata writes."""

from __future__ import annotations

import tracemalloc

import anndata
import h5py
import numpy as np
import pytest

from mnncorrect._io import h5ad
from mnncorrect._io.layer_writer import add_layer
from mnncorrect.core.methods.low_rank import low_rank_blocks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_in_blocks_is_the_layer(rng, tmp_path, dtype):
    adata = anndata.AnnData(rng.normal(size=(200, 7)).astype(dtype))
    values = rng.normal(size=(200, 7)).astype(dtype)
    h5ad.write(adata, tmp_path / "blocks.h5ad")
    parts = [slice(0, 64), slice(64, 128), slice(128, 200)]
    add_layer(
        tmp_path / "blocks.h5ad", "mnn", values.shape, values.dtype,
        ((part, values[part]) for part in parts),
    )  # fmt: skip
    back = anndata.read_h5ad(tmp_path / "blocks.h5ad")
    np.testing.assert_array_equal(back.layers["mnn"], values)
    np.testing.assert_array_equal(back.X, adata.X)
    adata.layers["mnn"] = values
    h5ad.write(adata, tmp_path / "whole.h5ad")
    with (
        h5py.File(tmp_path / "blocks.h5ad") as blocks,
        h5py.File(tmp_path / "whole.h5ad") as whole,
    ):
        ours, theirs = blocks["layers/mnn"], whole["layers/mnn"]
        assert dict(ours.attrs) == dict(theirs.attrs)
        assert ours.dtype == theirs.dtype
        assert ours.compression == theirs.compression


def test_memory_does_not_grow_with_cells_times_genes(rng, tmp_path):
    path, shape = tmp_path / "large.h5ad", (2000, 6000)
    h5ad.write(anndata.AnnData(shape=shape), path)
    scores, rotation = rng.normal(size=(2000, 5)).astype(np.float32), np.ones((6000, 5))
    tracemalloc.start()
    add_layer(path, "mnn", shape, scores.dtype, low_rank_blocks(scores, rotation, n_jobs=1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The layer is 48 MB; a block is 8 MB in float64 and 4 MB as it is written.
    assert peak < 24e6
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["layers/mnn"][1999, 3], scores[1999].sum(), rtol=1e-5)


def test_a_disk_that_fails_is_told(rng, tmp_path):
    path = tmp_path / "a.h5ad"
    h5ad.write(anndata.AnnData(rng.normal(size=(4, 3))), path)

    def failing():
        yield slice(0, 2), np.zeros((2, 3))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"could not be written in .*: No space left"):
        add_layer(path, "mnn", (4, 3), np.dtype(float), failing())
