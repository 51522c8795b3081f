"""Turn real data into an embedding: normalize counts, take principal components."""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--comps", type=int, default=50)
    parser.add_argument("--batch-key", default="batch")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    adata = anndata.read_h5ad(arguments.input)
    head = adata.X[:100].toarray() if hasattr(adata.X, "toarray") else adata.X[:100]
    if np.array_equal(head, np.round(head)):
        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=min(2000, adata.n_vars))
    sc.pp.pca(adata, n_comps=arguments.comps)
    codes = adata.obs[arguments.batch_key].astype("category").cat.codes.to_numpy(np.int32)
    np.savez(arguments.output, x=adata.obsm["X_pca"].astype(np.float32), batch=codes)


if __name__ == "__main__":
    main()
