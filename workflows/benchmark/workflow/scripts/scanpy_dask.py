"""Read an atlas, normalize it, find components and write all of it, by scanpy on Dask.

What a correction comes on top of: counts, log values and 50 components of 2,000 genes are written,
as ``mnncorrect run`` writes them.

    python scanpy_dask.py atlas.zarr out.zarr --workers 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import scanpy
import zarr
from anndata.experimental import read_elem_lazy
from anndata.io import read_elem
from distributed import Client, LocalCluster

N_GENES, N_COMPONENTS = 2_000, 50


def opened(path: Path, rows: int) -> anndata.AnnData:
    """Open an atlas with X as a Dask array of so many rows a block."""
    group = zarr.open_group(str(path), mode="r")
    obs, var = read_elem(group["obs"]), read_elem(group["var"])
    x = read_elem_lazy(group["X"], chunks=(rows, len(var)))
    return anndata.AnnData(x, obs=obs, var=var)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=10_000, help="cells of a block")
    parser.add_argument("--batch-key", help="choose genes by batch")
    given = parser.parse_args()
    with (
        LocalCluster(n_workers=given.workers, threads_per_worker=1, dashboard_address=":0") as own,
        Client(own),
    ):
        adata = opened(given.atlas, given.rows)
        adata.layers["counts"] = adata.X.copy()
        scanpy.pp.normalize_total(adata)
        scanpy.pp.log1p(adata)
        scanpy.pp.highly_variable_genes(adata, n_top_genes=N_GENES, batch_key=given.batch_key)
        scanpy.pp.pca(adata, N_COMPONENTS, mask_var="highly_variable", svd_solver="covariance_eigh")
        adata.obsm["X_pca"] = adata.obsm["X_pca"].rechunk((given.rows, N_COMPONENTS))
        adata.write_zarr(given.output)


if __name__ == "__main__":
    main()
