"""Cell Ranger's .h5 files, and those of CellBender and others that keep to their layout."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import sparse_dataset
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.stored import refuse_hollow
from mnncorrect._io import h5ad

if TYPE_CHECKING:
    from anndata import AnnData

# The arrays of a sparse matrix.
SPARSE_ARRAYS = ("data", "indices", "indptr")


@contextlib.contextmanager
def opened_tenx(path: Path) -> Iterator[AnnData]:
    """Open a file of Cell Ranger, whose genes x cells by columns are cells x genes by rows."""
    name = matrix_group(path)
    with contextlib.ExitStack() as stack:
        with h5ad.reading(path, "10x data"):
            file = stack.enter_context(h5py.File(path, "r"))
            source = file[name]
            for part in set(source) - {"data", "indices"}:
                refuse_hollow(source[part])
            n_genes, n_cells = (int(n) for n in source["shape"][...])
            for array in SPARSE_ARRAYS:
                _ = source[array].shape[0]  # what is no array is refused here
            obs = pd.DataFrame(index=pd.Index(_texts(source["barcodes"]), dtype=object))
            var = _features_of(source)
            # A file that calls the arrays by the names that anndata gives them.
            linked = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "linked.h5"
            with h5py.File(linked, "w") as made:
                matrix = made.create_group("X")
                for array in SPARSE_ARRAYS:
                    matrix[array] = h5py.ExternalLink(str(path.absolute()), f"{name}/{array}")
                matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
                matrix.attrs["shape"] = np.array([n_cells, n_genes])
            values = sparse_dataset(stack.enter_context(h5py.File(linked, "r"))["X"])
            adata = anndata.AnnData(values, obs=obs, var=var)
        yield adata


def matrix_group(path: Path) -> str | None:
    """Return the group of a file that holds a matrix of Cell Ranger; ``None``: there is none."""
    found: list[str] = []
    # The reader of h5ad files reports damage of any kind.
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        names = [name for name in file if file.get(name, getclass=True) is h5py.Group]
        found = [name for name in names if {*SPARSE_ARRAYS, "barcodes", "shape"} <= set(file[name])]
    if len(found) > 1:
        raise ValueError(f"{path} holds several genomes: {listed(found)}; one is expected")
    return found[0] if found else None


def _features_of(group: h5py.Group) -> pd.DataFrame:
    """Read the features of a file of Cell Ranger, of version 3 and later or of earlier ones."""
    if "features" not in group:
        names = pd.Index(_texts(group["gene_names"]), dtype=object)
        return pd.DataFrame({"gene_ids": _texts(group["genes"])}, index=names)
    features = group["features"]
    columns = {"gene_ids": "id", "feature_types": "feature_type", "genome": "genome"}
    return pd.DataFrame(
        {name: _texts(features[key]) for name, key in columns.items() if key in features},
        index=pd.Index(_texts(features["name"]), dtype=object),
    )


def _texts(dataset: h5py.Dataset) -> NDArray[np.object_]:
    """Read texts as UTF-8, also those that HDF5 calls ASCII; numbers become texts."""
    if h5py.check_string_dtype(dataset.dtype) is None:
        return np.array([str(value) for value in dataset[...]], object)
    texts: NDArray[np.object_] = dataset.asstr("utf-8")[...]
    return texts
