"""Files as Cell Ranger writes them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse as sp

if TYPE_CHECKING:
    from pathlib import Path

    import anndata


def as_tenx_file(adata: anndata.AnnData, path: Path, *, kinds: list[str] | None = None) -> None:
    """Write a file as Cell Ranger does from version 3 on."""
    x = sp.csr_matrix(adata.X)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name, dtype in (("data", np.int32), ("indices", np.int64), ("indptr", np.int64)):
            group[name] = getattr(x, name).astype(dtype)
        group["shape"] = np.array(x.shape[::-1], np.int32)
        group["barcodes"] = np.array(adata.obs_names, "S")
        features = group.create_group("features")
        features["id"] = np.array([f"ID_{gene}" for gene in adata.var_names], "S")
        features["name"] = np.array(adata.var_names, "S")
        features["genome"] = np.array(["made"] * adata.n_vars, "S")
        kinds = ["Gene Expression"] * adata.n_vars if kinds is None else kinds
        features["feature_type"] = np.array(kinds, "S")


def as_old_tenx_file(adata: anndata.AnnData, path: Path) -> None:
    """Write a file as Cell Ranger did up to version 2."""
    x = sp.csr_matrix(adata.X)
    with h5py.File(path, "w") as file:
        group = file.create_group("made")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(x, name).astype(np.int64)
        group["shape"] = np.array(x.shape[::-1])
        group["barcodes"] = np.array(adata.obs_names, "S")
        group["genes"] = np.array([f"ID_{gene}" for gene in adata.var_names], "S")
        group["gene_names"] = np.array(adata.var_names, "S")


def as_folder(adata: anndata.AnnData, path: Path, *, prefix: str = "", old: bool = False) -> None:
    """Write a folder as Cell Ranger does."""
    path.mkdir(exist_ok=True)
    opener: Any = open if old else gzip.open
    end = "" if old else ".gz"
    with opener(path / f"{prefix}matrix.mtx{end}", "wb") as file:
        scipy.io.mmwrite(file, sp.coo_matrix(adata.X.T.astype(np.int64)))
    kind = "" if old else "\tGene Expression"
    features = "".join(f"ID_{gene}\t{gene}{kind}\n" for gene in adata.var_names)
    barcodes = "".join(f"{cell}\n" for cell in adata.obs_names)
    tables = {"genes" if old else "features": features, "barcodes": barcodes}
    for name, text in tables.items():
        with opener(path / f"{prefix}{name}.tsv{end}", "wt") as file:
            file.write(text)
