"""The kinds of input: h5ad, zarr, and what Cell Ranger writes, each opened as an h5ad file is.

A kind is told by what is in the file or folder, not by its name.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from mnncorrect._adata.features import genes_among
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.pieces import Piece, write_pieces
from mnncorrect._adata.stored import PACKED, refuse_hollow
from mnncorrect._io import h5ad
from mnncorrect._io.probe import refuse_crashing
from mnncorrect._io.zarr_store import opened_zarr

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.stored import Scratch

    Kind: TypeAlias = Literal["h5ad", "zarr", "10x h5", "10x folder"]

# Files that tell a folder of zarr, of its versions 2 and 3.
ZARR = (".zgroup", "zarr.json")
ZIP_SIGNATURE = b"PK\x03\x04"
MATRIX = "matrix.mtx"
# The arrays of a sparse matrix in a file of Cell Ranger.
SPARSE = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Opened:
    """What an input holds.

    Attributes
    ----------
    adata
        Its cells and features; matrices may be in the file.
    kind
        What it is.
    genes
        Which features are genes; ``None``: all.
    """

    adata: AnnData
    kind: Kind
    genes: NDArray[np.bool_] | None = None


def kind_of(path: Path) -> Kind:
    """Tell what an input is; what is none of the others is taken for h5ad.

    Raises
    ------
    IsADirectoryError
        It is a folder of something else.
    """
    if path.is_dir():
        if any((path / name).exists() for name in ZARR):
            return "zarr"
        if _matrices(path):
            return "10x folder"
        msg = (
            f"{path} is a folder without {MATRIX} and without zarr data; give an h5ad file, a 10x "
            ".h5 file, a 10x matrix folder or a zarr folder"
        )
        raise IsADirectoryError(msg)
    if path.name.removesuffix(".gz").endswith(".mtx") and path.exists():
        msg = f"{path} is a matrix without names; give the folder that it is in: {path.parent}"
        raise ValueError(msg)
    if path.is_file() and _begins(path, ZIP_SIGNATURE):
        return "zarr"
    h5ad.check_readable(path)
    return "10x h5" if _tenx_group(path) is not None else "h5ad"


@contextlib.contextmanager
def opened(path: Path, scratch: Scratch) -> Iterator[Opened]:
    """Open an input of any kind; its matrices stay in it until the block ends.

    The genes of 10x data are called by their symbols, as scanpy has it, and ``var["gene_ids"]``
    has their identifiers. Features are marked that ``var["feature_types"]`` says are
    no genes. A matrix folder is read whole, and its matrix then stays in the scratch file.

    Parameters
    ----------
    path
        The file or folder.
    scratch
        Gives the file for a matrix that is text.

    Raises
    ------
    OSError, ValueError
        It is missing, damaged, empty, or none of these kinds.
    """
    kind = kind_of(path)
    if kind == "h5ad":
        with h5ad.opened(path) as adata:
            yield Opened(adata, kind, genes_among(adata.var, f"{path}: var"))
        return
    openers: dict[str, Any] = {"zarr": opened_zarr, "10x h5": _tenx_file}
    opener = openers.get(kind, partial(_tenx_folder, scratch=scratch))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        with opener(path) as adata:
            h5ad.refuse_unfit(adata, path)
            yield Opened(adata, kind, genes_among(adata.var, f"{path}: var", needed=kind != "zarr"))


@contextlib.contextmanager
def _tenx_file(path: Path) -> Iterator[AnnData]:
    """Open a file of Cell Ranger, whose genes x cells by columns are cells x genes by rows."""
    import anndata
    import h5py
    from anndata.io import sparse_dataset

    name = _tenx_group(path)
    with contextlib.ExitStack() as stack:
        with h5ad.reading(path, "10x data"):
            file = stack.enter_context(h5py.File(path, "r"))
            source = file[name]
            for part in set(source) - {"data", "indices"}:
                refuse_hollow(source[part])
            n_genes, n_cells = (int(n) for n in source["shape"][...])
            for array in SPARSE:
                _ = source[array].shape[0]  # what is no array is refused here
            obs = pd.DataFrame(index=pd.Index(_texts(source["barcodes"]), dtype=object))
            var = _features_of(source)
            # A file that calls the arrays by the names that anndata gives them.
            linked = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "linked.h5"
            with h5py.File(linked, "w") as made:
                matrix = made.create_group("X")
                for array in SPARSE:
                    matrix[array] = h5py.ExternalLink(str(path.absolute()), f"{name}/{array}")
                matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
                matrix.attrs["shape"] = np.array([n_cells, n_genes])
            values = sparse_dataset(stack.enter_context(h5py.File(linked, "r"))["X"])
            adata = anndata.AnnData(values, obs=obs, var=var)
        yield adata


@contextlib.contextmanager
def _tenx_folder(path: Path, scratch: Scratch) -> Iterator[AnnData]:
    import anndata
    import scipy.io
    import scipy.sparse as sp

    found = _matrices(path)
    if len(found) > 1:
        msg = (
            f"{path} holds several matrices: {listed(file.name for file in found)}; give each a "
            "folder of its own, with its features and barcodes"
        )
        raise ValueError(msg)
    prefix = found[0].name.removesuffix(".gz").removesuffix(MATRIX)
    barcodes = _table(path, prefix, "barcodes.tsv")[0]
    features = _table(path, prefix, "features.tsv", "genes.tsv")
    with h5ad.reading(found[0], "Matrix Market data"):
        n_genes, n_cells, n_entries, _, kind, _ = scipy.io.mminfo(found[0])
    if (n_cells, n_genes) != (len(barcodes), len(features)):
        msg = (
            f"{found[0]} has {n_genes} genes x {n_cells} cells, but beside it are "
            f"the names of {len(features)} genes and {len(barcodes)} cells; are these its own?"
        )
        raise ValueError(msg)
    with h5ad.reading(found[0], "Matrix Market data"):
        if kind == "complex" or n_entries > found[0].stat().st_size * PACKED:
            msg = f"it says that it holds {n_entries:,} {kind} numbers"
            raise ValueError(msg)
        refuse_crashing(found[0], scipy.io.mmread)
        matrix: Any = sp.csr_matrix(scipy.io.mmread(found[0]).T)
    # Whole numbers of counts are exact as float32 too, and half as large.
    matrix = matrix.astype(np.float32)
    var = pd.DataFrame({"gene_ids": features[0].to_numpy()})
    if features.shape[1] > 2:
        var["feature_types"] = features[2].to_numpy()
    var.index = pd.Index(features[min(1, features.shape[1] - 1)].to_numpy(), dtype=object)
    values = write_pieces([Piece(matrix, str(found[0]))], scratch)
    del matrix
    yield anndata.AnnData(values, obs=pd.DataFrame(index=barcodes.to_numpy()), var=var)


def _begins(path: Path, signature: bytes) -> bool:
    """Return whether a file begins with some bytes; one that cannot be read does not."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(signature)) == signature
    return False


def _tenx_group(path: Path) -> str | None:
    """Return the group of a file that holds a matrix of Cell Ranger; ``None``: there is none."""
    import h5py

    found: list[str] = []
    # What is damaged, in whatever way, is told by those who read h5ad files.
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        names = [name for name in file if file.get(name, getclass=True) is h5py.Group]
        found = [name for name in names if {*SPARSE, "barcodes", "shape"} <= set(file[name])]
    if len(found) > 1:
        msg = f"{path} holds several genomes: {listed(found)}; one is expected"
        raise ValueError(msg)
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
    values = dataset[...]
    return np.array(
        [value.decode() if isinstance(value, bytes) else str(value) for value in values], object
    )


def _matrices(folder: Path) -> list[Path]:
    """Return the matrices of a folder; one that is there packed and not packed is one."""
    found = {
        entry.name.removesuffix(".gz"): entry
        for entry in sorted(folder.iterdir(), reverse=True)
        if entry.name.removesuffix(".gz").endswith(MATRIX)
    }
    return list(found.values())


def _table(folder: Path, prefix: str, *names: str) -> pd.DataFrame:
    """Read one of some tables of a folder, all as text."""
    for name in names:
        for path in (folder / f"{prefix}{name}", folder / f"{prefix}{name}.gz"):
            if not path.is_file():
                continue
            with h5ad.reading(path, "a table of names"):
                opener = gzip.open if path.suffix == ".gz" else open
                with opener(path, "rt", encoding="utf-8") as file:
                    return pd.read_csv(
                        file, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3
                    )
    msg = f"{folder} has {prefix}{MATRIX}, but no {' or '.join(prefix + name for name in names)}"
    raise FileNotFoundError(msg)
