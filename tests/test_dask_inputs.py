"""Sheets of files, and zarr in shards, are corrected on Dask to the bits of one process."""

from __future__ import annotations

import warnings

import pytest
from test_dask import HOW, small_blocks
from test_zarr_outputs import counts, read, same

import mnncorrect

distributed = pytest.importorskip("distributed")


def write_shards(adata, path):
    """Write zarr 3 whose matrices have several chunks in each of several shards."""
    import zarr
    from anndata.experimental import write_dispatched

    if zarr.__version__.startswith("2."):
        pytest.skip("zarr 2 has no shards")

    def write(write_elem, store, key, elem, dataset_kwargs, iospec):
        sizes = {"csr_matrix": ((500,), (2000,)), "csc_matrix": ((500,), (2000,))}
        if iospec.encoding_type in sizes:
            chunks, shards = sizes[iospec.encoding_type]
            dataset_kwargs = {**dataset_kwargs, "chunks": chunks, "shards": shards}
        write_elem(store, key, elem, dataset_kwargs=dataset_kwargs)

    write_dispatched(zarr.open_group(path, mode="w", zarr_format=3), "/", adata, callback=write)


def compared(cluster, folder, *data, **how):
    for name, more in (("one", {}), ("two", {"scheduler": cluster.scheduler_address})):
        mnncorrect.run(*data, output=folder / f"{name}.zarr", **HOW, **how, **more)
    same(read(folder / "one.zarr"), read(folder / "two.zarr"))


@pytest.mark.slow
def test_shards_are_read_by_workers(cluster, tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata, on the version of zarr
        write_shards(counts(), tmp_path / "in.zarr")
    compared(cluster, tmp_path, tmp_path / "in.zarr", "batch")


@pytest.mark.slow
def test_a_sheet_of_h5ad_and_shards_is_read_by_workers(cluster, tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    adata = counts()
    adata[:130].copy().write_h5ad(tmp_path / "first.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_shards(adata[130:].copy(), tmp_path / "second.zarr")
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("path\tbatch\tdose\nfirst.h5ad\tx\t1\nsecond.zarr\ty\t2\n")
    compared(cluster, tmp_path, sheet=sheet)
    assert read(tmp_path / "two.zarr").obs["dose"].nunique() == 2
